"""What the parts between network and map promise: order of slabs, layers, targets, graphs, finite values, messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from torch import nn
from torch.nn import functional

from organcam.attention import attention_by_method, attention_maps
from organcam.attention.targets import parse_targets
from organcam.geometry import Layer, grid_of_layers
from organcam.networks import AxialNet

SLABS = (4, 3, 8, 12)


class SlabBySlab(nn.Module):
    """Runs its body once for each slab of the batch, and says nothing of it."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Tanh())
        self.fc = nn.Linear(5 * 4 * 6, 2)

    def forward(self, x):
        return torch.stack([self.fc(self.body(x[:, i]).flatten(1)) for i in range(x.shape[1])]).mean(0)


class AllSlabs(SlabBySlab):
    """The same in one call, the slabs of the first item first."""

    def forward(self, x):
        return self.fc(self.body(x.flatten(0, 1)).flatten(1)).unflatten(0, x.shape[:2]).mean(1)


def declared(kind, order):
    class Declared(kind):
        input_layout, input_shape, attention_layer, call_order = "slabs", (12, 8, 12), "body", order

        def feature_grid(self, input_shape):
            return grid_of_layers(input_shape, ([Layer(3, 3)], [Layer(3, 2, 1)], [Layer(3, 2, 1)]))

        def linear_head(self, x):
            return None

    torch.manual_seed(0)
    return Declared().double()


def undeclared(kind):
    torch.manual_seed(0)
    return kind().double()


def slabs(batch):
    return torch.randn(batch, *SLABS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def hirescam_by_hand(network, x):
    """Slab by slab from the weights: tanh features times the linear layer's weight, by one and the same slab."""
    maps = []
    for item in x:
        z = torch.stack([network.body(slab[None])[0] for slab in item])
        maps.append(torch.einsum("sfhw,mfhw->mshw", z, network.fc.weight.unflatten(1, (5, 4, 6))) / len(item))
    return torch.stack(maps)


@pytest.mark.parametrize(("kind", "order"), [(SlabBySlab, "slabs"), (AllSlabs, "items")])
def test_declared_order_gives_every_item_its_own_slabs(kind, order):
    network, x = declared(kind, order), slabs(2)
    found = attention_maps(network, x)
    torch.testing.assert_close(found.values, hirescam_by_hand(network, x), rtol=0, atol=1e-12)
    assert (found.layer, found.grid) == ("body", network.feature_grid((12, 8, 12)))


@pytest.mark.parametrize("kind", [SlabBySlab, AllSlabs])
def test_undeclared_order_is_refused_for_several_items_and_plain_for_one(kind):
    network, x = undeclared(kind), slabs(2)
    words = r"layer 'body' sees slabs as a batch \(8 rows in [14] calls for 2 items\).*give one item at a time"
    with pytest.raises(ValueError, match=words):
        attention_maps(network, x, layer="body")
    alone = torch.cat([attention_maps(network, one[None], layer="body").values for one in x])
    torch.testing.assert_close(alone, hirescam_by_hand(network, x), rtol=0, atol=1e-12)


def test_rows_that_are_neither_items_nor_slabs():
    class Patches(AllSlabs):
        def forward(self, x):
            rows = x.flatten(0, 1).unflatten(2, (2, 4)).movedim(2, 1).flatten(0, 1)
            return self.body(rows).flatten(1).unflatten(0, (len(x), -1)).sum(1)[:, :2]

    with pytest.raises(ValueError, match="8 rows .* neither the items of the batch nor their slabs"):
        attention_maps(undeclared(Patches), slabs(1), layer="body")


def densenet():
    torch.manual_seed(0)
    return DenseNet(3, 1, 3, init_features=4, growth_rate=4, block_config=(1, 1)).eval()


def test_a_layer_may_be_a_module_and_is_named_in_the_result():
    network, x = densenet(), torch.rand(2, 1, 32, 32, 32)
    by_name = attention_maps(network, x, layer="class_layers.relu")
    by_module = attention_maps(network, x, layer=network.class_layers.relu)
    assert torch.equal(by_name.values, by_module.values)
    assert by_module.layer == "class_layers.relu"
    assert by_module.grid.stride == (8, 8, 8)
    assert by_module.grid.shape == tuple(by_module.values.shape[2:])


def test_one_target_and_targets_as_tensor():
    network, x = densenet(), torch.rand(1, 1, 32, 32, 32)
    everything = attention_maps(network, x, layer="features")
    for targets in (2, [2], torch.tensor(2), torch.tensor([2]), np.int64(2), (np.int32(2),)):
        one = attention_maps(network, x, targets=targets, layer="features")
        assert one.targets == (2,)
        torch.testing.assert_close(one.values, everything.values[:, 2:])


@pytest.mark.parametrize("targets", ["ab", 1.5, [0.5], [None], {"a": 1}])
def test_targets_of_another_kind_are_refused(targets):
    with pytest.raises(
        TypeError,
        match="targets must be an index, a sequence of indices, a list for each item, .* or None for all, got",
    ):
        parse_targets(targets, 3)


class Tail(nn.Module):
    """Convolution, ReLU in place, and a head that is not linear; the encoder may run without gradients."""

    def __init__(self, frozen=False, closed=False):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.fc, self.frozen, self.closed = nn.Linear(3 * 16, 2), frozen, closed

    def forward(self, x):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            z = self.conv(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.closed):
            return torch.tanh(self.fc(self.relu(z).flatten(1)))


def tail(**options):
    torch.manual_seed(0)
    return Tail(**options).double()


def image():
    return torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_an_encoder_under_no_grad_is_no_obstacle():
    expected = attention_maps(tail(), image(), layer="conv")
    found = attention_maps(tail(frozen=True), image(), layer="conv")
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=0)
    assert not found.logits.requires_grad
    with pytest.raises(ValueError, match="do not depend on layer 'conv'"):
        attention_maps(tail(closed=True), image(), layer="conv")


@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
def test_a_loss_on_the_maps_reaches_head_and_backbone(method):
    network, x = tail(), image()
    weights = [network.conv.weight, network.fc.weight]

    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.given = network, {}

        def forward(self, x):
            return torch.func.functional_call(self.inner, self.given, (x,))

    bound = Bound()

    def loss(conv, fc):
        bound.given = {"conv.weight": conv, "fc.weight": fc, "conv.bias": network.conv.bias, "fc.bias": network.fc.bias}
        maps = attention_maps(bound, x, method=method, layer="inner.conv", create_graph=True)
        return maps.values.square().sum() + maps.logits.sum()

    assert torch.autograd.gradcheck(loss, [weight.detach().clone().requires_grad_() for weight in weights])


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("layer", [None, "head"])
def test_differentiable_maps_of_axialnet_are_its_own(layer, pooling):
    torch.manual_seed(0)
    network = (
        AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,), pooling=pooling).double().eval()
    )
    x = torch.randn(2, 2, 3, 16, 16, dtype=torch.float64)
    found = attention_maps(network, x, layer=layer, create_graph=True)
    assert torch.equal(found.values, found.values.detach())
    torch.testing.assert_close(found.values.detach(), attention_maps(network, x).values, rtol=0, atol=1e-12)
    found.values.abs().sum().backward()
    assert network.fc.weight.grad.abs().sum() > 0
    assert network.backbone.conv1.weight.grad.abs().sum() > 0
    assert not any(module._forward_hooks for module in network.modules())


def test_with_a_graph_the_network_runs_as_it_stands():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, 2)).double().train()
    attention_maps(network, image(), layer="0", create_graph=True)
    assert network[1].num_batches_tracked == 1
    attention_maps(network, image(), layer="0")
    assert network[1].num_batches_tracked == 1


@pytest.mark.parametrize("layer", [None, "head"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_and_named(layer, value):
    network = AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,)).eval()
    x = torch.zeros(3, 2, 3, 16, 16)
    x[1, 0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="^inputs hold NaN or infinity, first in item 1 of the batch$"):
        attention_maps(network, x, layer=layer)
    x[1, 0, 0, 0, 0] = 0
    with torch.no_grad():
        network.fc.bias[1] = value
    with pytest.raises(ValueError, match="^the network's logits hold NaN or infinity, first in item 0"):
        attention_maps(network, x, layer=layer)


def test_maps_that_are_not_finite_beside_finite_logits():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Identity()

        def forward(self, x):
            return self.body(x).sqrt().mean((2, 3))  # the slope at 0 is infinite

    x = torch.ones(2, 1, 4, 4)
    x[1, 0, 0, 0] = 0
    with pytest.raises(ValueError, match="^the hirescam maps of layer 'body' hold NaN or infinity, first in item 1"):
        attention_maps(Root(), x, layer="body")


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(1, 12, 4, stride=4)
        self.tokens, self.pair, self.linear_head = nn.Identity(), nn.LSTM(12, 4), nn.Linear(12, 2)

    def forward(self, x):
        tokens = self.tokens(self.stem(x).flatten(2).transpose(1, 2))
        self.pair(tokens)
        return self.linear_head(tokens.mean(1).tanh())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {"layer": "tokens"},
            ValueError,
            r"^layer 'tokens' gives \[2, 8, 12\] for inputs .* no map \[B, F, \*grid\].*layers: stem$",
        ),
        ({"layer": "pair"}, ValueError, "^layer 'pair' must return one tensor, got tuple"),
        ({"layer": 3}, TypeError, "^a layer is given by its name or as a module, got int$"),
        ({"layer": nn.ReLU()}, ValueError, "^the given ReLU is no layer of Encoder; its last spatial layers: stem$"),
        ({"layer": "qqqq"}, ValueError, "^Encoder has no layer 'qqqq'; its last spatial layers: stem$"),
        ({"layer": "sten"}, ValueError, "^Encoder has no layer 'sten'; did you mean 'stem'"),
        (
            {},
            ValueError,
            "^Encoder names no attention layer of its own, and its last linear layer 'linear_head' does not follow a "
            "feature map directly; give layer; its last spatial layers: stem$",
        ),
        ({"inputs": np.zeros((2, 1, 8, 8, 8))}, TypeError, "^inputs must be a tensor .* got ndarray$"),
        ({"inputs": torch.zeros(8, 8)}, ValueError, r"^inputs must be a batch .* got shape \[8, 8\]$"),
        ({"inputs": torch.zeros(0, 1, 8, 8, 8)}, ValueError, "^inputs must be a batch"),
        ({"layer": "stem", "targets": [2]}, ValueError, "^target 2 is out of range; the network has outputs 0 to 1$"),
    ],
    ids=str,
)
def test_messages_are_one_short_sentence(change, error, words):
    arguments = {"inputs": torch.rand(2, 1, 8, 8, 8), **change}
    with pytest.raises(error, match=words) as caught:
        attention_maps(Encoder(), **arguments)
    assert len(str(caught.value)) < 250


def test_a_big_network_prints_three_layers():
    network = DenseNet(2, 1, 2, init_features=4, growth_rate=4, block_config=(6, 6, 6))
    with pytest.raises(ValueError, match="has no layer 'class_layers.rel'; did you mean ") as caught:
        attention_maps(network, torch.rand(1, 1, 64, 64), layer="class_layers.rel")
    assert len(str(caught.value)) < 250


def test_unknown_methods_are_refused_before_the_network_runs():
    network = tail()
    network.register_forward_hook(lambda *_: pytest.fail("it ran"))
    with pytest.raises(ValueError, match="unknown attention method 'hires'"):
        attention_by_method(network, image(), methods=("gradcam", "hires"), layer="conv")


def test_max_pooling_needs_one_forward_pass():
    network = AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,), pooling="max").eval()
    attention_maps(network, torch.rand(1, 2, 3, 16, 16))  # the first time its closed form is checked, by one pass more
    runs = []
    network.backbone.register_forward_hook(lambda *_: runs.append(1))
    assert attention_maps(network, torch.rand(1, 2, 3, 16, 16)).closed_form
    assert len(runs) == 1


def test_grid_of_a_layer_that_has_merged_the_depth_is_left_out():
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(functional.relu(self.conv(x.mean(2))).mean((2, 3)))

    found = attention_maps(Flat(), torch.rand(2, 1, 5, 8, 8), layer="conv")
    assert found.values.shape == (2, 2, 6, 6)
    assert found.grid is None
