"""Checks of faithfulness: exact for HiResCAM before a linear layer, not for others, and each one can fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from organcam.attention import attention_by_method, attention_maps, closed_form_maps
from organcam.metrics import (
    completeness_gap,
    deletion_gaps,
    distance_to_used,
    method_agreement,
    randomisation_cascade,
    rank_correlation,
    sign_flips,
)
from organcam.networks import AxialNet

SIZE = (16, 24)


def slabs(batch=2):
    return torch.randn(batch, 3, 3, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def make(**options):
    torch.manual_seed(0)
    return AxialNet(4, backbone="small", input_shape=(9, *SIZE), head_channels=(6,), **options).double().eval()


def test_completeness_holds_for_hirescam_alone():
    network, x = make(), slabs()
    found = attention_by_method(network, x, methods=("hirescam", "gradcam"))
    bias = network.fc.bias.detach()
    assert completeness_gap(found["hirescam"].values, found["hirescam"].logits, bias).abs().max() < 1e-12
    assert completeness_gap(found["gradcam"].values, found["gradcam"].logits, bias).abs().max() > 1e-4


@pytest.mark.parametrize("options", [{}, {"chunk": 2}], ids=str)
def test_deletion_is_exact_for_hirescam_of_slabs(options):
    network, x = make(**options), slabs()
    maps = attention_maps(network, x, targets=[2, 0])
    places = [(0, 1, 2), (2, 0, 0)]
    gaps = deletion_gaps(network, x, maps, places)
    assert gaps.shape == (2, 2, 2)
    assert gaps.abs().max() < 1e-12
    coarse = attention_maps(network, x, method="gradcam", targets=[2, 0])
    assert deletion_gaps(network, x, coarse, places).abs().max() > 1e-5
    assert not any(module._forward_hooks for module in network.modules())


def test_deletion_is_not_exact_where_the_head_is_not_linear():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2), nn.Tanh()).double()
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    maps = attention_maps(network, x, layer="1")
    gaps = deletion_gaps(network, x, maps, [(1, 1)])
    assert gaps.abs().max() > 1e-6
    # by hand: the network without that place
    z = network[:2](x)
    z[:, :, 1, 1] = 0
    drop = network(x) - network[2:](z)
    torch.testing.assert_close(gaps[0], (drop - maps.values[:, :, 1, 1]).detach())


def test_places_outside_the_map_are_refused():
    network, x = make(), slabs(1)
    maps = attention_maps(network, x)
    with pytest.raises(ValueError, match=r"place \(3, 0, 0\) does not lie in maps of \(3, 2, 3\) cells"):
        deletion_gaps(network, x, maps, [(3, 0, 0)])
    with pytest.raises(ValueError, match=r"gives \(2, 2, 3\) cells for these inputs, the maps have \(3, 2, 3\)"):
        deletion_gaps(network, x[:, :2], maps, [(0, 0, 0)])


def test_distance_and_signs_are_those_of_the_paper():
    network, x = make(), slabs()
    with torch.no_grad():
        used = closed_form_maps(network.linear_head(x), "hirescam")
    found = attention_by_method(network, x, methods=("hirescam", "gradcam"))
    assert distance_to_used(found["hirescam"].values, used).max() < 1e-12
    assert distance_to_used(found["gradcam"].values, used).min() > 0.3
    assert sign_flips(found["hirescam"].values, used).max() == 0
    assert sign_flips(found["gradcam"].values, used).mean() > 0.2


def test_sign_flips_by_hand():
    used = torch.tensor([[[1.0, -2.0, 0.0, 4.0]]])
    assert sign_flips(torch.tensor([[[3.0, 1.0, -5.0, 0.0]]]), used).item() == pytest.approx(1 / 3)
    assert sign_flips(used, torch.zeros_like(used)).isnan().all()


def test_rank_correlation_is_scipys_with_ties():
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 4, (2, 3, 4, 5)).astype(float), rng.normal(size=(2, 3, 4, 5))
    found = rank_correlation(torch.from_numpy(left), torch.from_numpy(right))
    for item, label in np.ndindex(2, 3):
        expected = spearmanr(left[item, label].ravel(), right[item, label].ravel()).statistic
        assert found[item, label].item() == pytest.approx(expected, abs=1e-12)
    assert rank_correlation(torch.ones(1, 1, 3), torch.rand(1, 1, 3)).isnan().all()


def test_the_cascade_tells_a_map_of_the_network_from_one_of_the_image():
    network, x = make(), slabs()
    before = [value.clone() for value in network.state_dict().values()]
    random = torch.get_rng_state()
    left = randomisation_cascade(network, x)
    assert list(left) == ["fc", "head", "backbone"]
    assert all(value.shape == (2, 4) and value.abs().mean() < 0.6 for value in left.values())
    assert all(torch.equal(old, new) for old, new in zip(before, network.state_dict().values(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    again = randomisation_cascade(network, x)
    assert all(torch.equal(left[part], again[part]) for part in left)

    class Image(nn.Module):
        """Its head has weights, and its map is the image."""

        def __init__(self):
            super().__init__()
            self.keep, self.scale = nn.Identity(), nn.Linear(1, 1)

        def forward(self, x):
            return (self.keep(x) ** 2).sum((1, 2, 3))[:, None] + 0 * self.scale(x[:, 0, 0, :1])

    found = randomisation_cascade(Image().double(), torch.randn(1, 1, 4, 4).double(), layer="keep")
    assert found["scale"].item() == pytest.approx(1.0)


def test_parts_of_a_wrapped_network_and_parts_by_name():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2))).double()
    x = torch.randn(1, 1, 6, 6, dtype=torch.float64)
    assert list(randomisation_cascade(network, x, layer="0.1")) == ["0.3", "0.0"]
    assert list(randomisation_cascade(network, x, layer="0.1", parts=["0.0"])) == ["0.0"]
    with pytest.raises(ValueError, match="'0.1' holds no weights that can be made anew"):
        randomisation_cascade(network, x, layer="0.1", parts=["0.1"])


def test_agreement_of_methods():
    maps = {"a": torch.tensor([[[1.0, 2.0, 3.0]]]), "b": torch.tensor([[[3.0, 2.0, 1.0]]]), "c": torch.ones(1, 1, 3)}
    found = method_agreement(maps)
    assert found["a", "b"] == pytest.approx(-1)
    assert np.isnan(found["a", "c"])


@pytest.mark.parametrize("function", [distance_to_used, sign_flips, rank_correlation])
def test_maps_of_different_shapes_are_refused(function):
    with pytest.raises(ValueError, match=r"both maps must have the shape .* got \[1, 2, 3\] and \[1, 2, 4\]"):
        function(torch.ones(1, 2, 3), torch.ones(1, 2, 4))
    with pytest.raises(ValueError, match=r"completeness needs attention"):
        completeness_gap(torch.ones(1, 2, 3), torch.ones(1, 3), torch.ones(2))


def test_every_map_is_measured_by_itself():
    """Two items of two labels each; the maps of one are a thousand times as large."""
    attention = torch.tensor([[[2.0, 4.0], [0.0, 1.0]], [[3000.0, 0.0], [0.0, 0.0]]])
    used = torch.tensor([[[1.0, 0.5], [0.0, 7.0]], [[1.0, 0.0], [5.0, 0.0]]])
    expected = [[0.5**0.5, 0.0], [0.0, 1.0]]  # (0.5, 1) to (1, 0.5); alike; alike; nothing to all
    torch.testing.assert_close(distance_to_used(attention, used), torch.tensor(expected))
    assert completeness_gap(attention, torch.zeros(2, 2), torch.tensor([1.0, 2.0])).tolist() == [[7, 3], [3001, 2]]


def test_no_place_gives_no_gap():
    network, x = make(), slabs(1)
    assert deletion_gaps(network, x, attention_maps(network, x), []).shape == (0, 1, 4)
