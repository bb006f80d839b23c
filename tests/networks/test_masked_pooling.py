import math

import pytest
import torch

from organcam.attention import attention_by_method
from organcam.networks import NETWORKS, AxialNet, MaskedPooling, MaskedPoolingNetwork, NetworkContract, WithAllowed


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def head(**options):
    torch.manual_seed(0)
    module = MaskedPooling(4, 3, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return module


def masks(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(2)) < 0.4


@pytest.mark.parametrize("options", [{}, {"query": False}, {"inside": None}, {"inside": None, "query": False}], ids=str)
@pytest.mark.parametrize("grid", [(5,), (4, 5), (2, 4, 5)])
def test_weights_are_shares_and_cells_sum_to_the_logit(options, grid):
    module, features, allowed = head(**options), noise(2, 4, *grid), masks(2, 3, *grid)
    weights = module.pooling_weights(features, allowed)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.flatten(2).sum(-1), torch.ones(2, 3).double())
    logits = module(features, allowed)
    torch.testing.assert_close(module.contributions(features, allowed).flatten(2).sum(-1) + module.bias, logits)
    # pooling first and the linear layer after it, as the paper writes it
    pooled = torch.einsum("bf...,bm...->bmf", features, weights)
    torch.testing.assert_close((pooled * module.weight).sum(-1) + module.bias, logits)


def test_hard_mask_averages_inside_and_ignores_the_rest():
    module, features, allowed = head(inside=None, query=False), noise(2, 4, 3, 4), masks(2, 3, 3, 4)
    expected = torch.stack(
        [torch.stack([features[b][:, allowed[b, m]].mean(1) @ module.weight[m] for m in range(3)]) for b in range(2)]
    )
    torch.testing.assert_close(module(features, allowed), expected + module.bias)
    changed = torch.where(allowed.any(1, keepdim=True), features, noise(2, 4, 3, 4) * 100)
    torch.testing.assert_close(module(changed, allowed), module(features, allowed))


def test_inside_bias_is_the_odds_of_an_allowed_cell():
    module = MaskedPooling(4, 3, inside=4.0, query=False).double()
    allowed = torch.tensor([1, 0, 0, 1, 0]).expand(1, 3, 5)
    weights = module.pooling_weights(noise(1, 4, 5), allowed)
    torch.testing.assert_close(weights[0, 0, 0] / weights[0, 0, 1], torch.tensor(math.exp(4)).double())


@pytest.mark.parametrize("inside", [None, 4.0])
def test_label_without_organs_is_averaged_everywhere_with_gradients(inside):
    module, features = head(inside=inside, query=False), noise(1, 4, 6).requires_grad_()
    logits = module(features, torch.zeros(1, 3, 6))
    torch.testing.assert_close(logits, features.mean(-1) @ module.weight.T + module.bias)
    logits.sum().backward()
    assert features.grad.isfinite().all()


def test_query_learns_where_to_look():
    # One feature marks a cell, another says what is there: only a query can find it among equals.
    torch.manual_seed(0)
    features, labels = torch.zeros(64, 2, 10), (torch.arange(64) % 2).double()
    places = torch.randint(0, 10, (64,))
    features[torch.arange(64), 0, places] = 1
    features[:, 1] = torch.randn(64, 10)
    features[torch.arange(64), 1, places] = labels.float() * 2 - 1
    features, allowed = features.double(), torch.ones(64, 1, 10)
    found = {}
    for query in (True, False):
        module = MaskedPooling(2, 1, query=query).double()
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
        for _ in range(150):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(module(features, allowed)[:, 0], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found[query] = loss.item()
    assert found[True] < 0.3
    assert found[False] > 0.5


@pytest.mark.parametrize("options", [{}, {"decoder": "pylon"}, {"spatial_dims": 3}], ids=str)
def test_network(options):
    torch.manual_seed(0)
    network = MaskedPoolingNetwork(3, backbone="small", initial_bias=-1.0, **options).double().eval()
    volumes = network.input_layout == "volume"
    x = noise(2, 1, 16, 24, 32) if volumes else noise(2, 4, 3, 24, 32)
    grid = network.feature_grid((16 if volumes else 12, 24, 32))
    allowed = masks(2, 3, *grid.shape)
    out = network(x, allowed=allowed, attention=True)
    assert out["attention"].shape == (2, 3, *grid.shape)
    torch.testing.assert_close(out["attention"].flatten(2).sum(-1) - 1, out["logits"])
    torch.testing.assert_close(network(x, allowed=allowed), out["logits"])
    everywhere = network(x, allowed=torch.ones(2, 3, *grid.shape))
    torch.testing.assert_close(network.heatmap(x).flatten(2).mean(-1), everywhere)
    network.train()(x, allowed=allowed).sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert "masked_pooling" in NETWORKS.names()


@pytest.mark.parametrize("options", [{}, {"inside": None}, {"spatial_dims": 3, "query": False}], ids=str)
def test_explained_with_its_cells_the_maps_are_what_it_adds_up(options):
    torch.manual_seed(0)
    network = MaskedPoolingNetwork(3, backbone="small", initial_bias=-1.0, **options).double()
    volumes = network.input_layout == "volume"
    x = noise(2, 1, 16, 24, 32) if volumes else noise(2, 4, 3, 24, 32)
    grid = network.feature_grid((16 if volumes else 12, 24, 32))
    given = WithAllowed(torch.nn.DataParallel(network), masks(2, 3, *grid.shape))
    assert isinstance(given, NetworkContract)
    with torch.no_grad():
        own = network.eval()(x, attention=True, allowed=given.allowed)
    for found in attention_by_method(given.train(), x).values():
        assert (found.closed_form, found.grid) == (True, grid)
        torch.testing.assert_close(found.logits, own["logits"])
        torch.testing.assert_close(found.values, own["attention"])
    with pytest.raises(ValueError, match="AxialNet does not look at allowed cells"):
        WithAllowed(AxialNet(3, backbone="small", input_shape=(12, 24, 32)), masks(2, 3, *grid.shape))


def test_bad_input_is_refused():
    network = MaskedPoolingNetwork(3, backbone="small")
    x = torch.zeros(1, 2, 3, 24, 32)
    with pytest.raises(ValueError, match="masked pooling needs the allowed cells"):
        network(x)
    with pytest.raises(ValueError, match=r"allowed \[B, 3, \*grid\], got \[1, 64, 2, 3, 4\] and \[1, 3, 2, 3, 5\]"):
        network(x, allowed=torch.zeros(1, 3, 2, 3, 5))
    with pytest.raises(ValueError, match="unknown decoder 'pilon': did you mean 'pylon'"):
        MaskedPoolingNetwork(3, backbone="small", decoder="pilon")
    with pytest.raises(ValueError, match="inside above 0 or None"):
        MaskedPooling(4, 3, inside=0.0)
