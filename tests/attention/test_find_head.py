"""A linear head that nobody declared is found, gives the maps of the backward path, and is refused where none is."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet, resnet18
from torch import nn
from torch.nn import functional

from organcam.attention import LinearHead, attention_by_method, attention_maps
from organcam.geometry import Layer, grid_of_layers

METHODS_OF_LAYERS = ("hirescam", "gradcam", "gradcam_plus_plus", "xgradcam", "layercam")


class Body(nn.Module):
    """A convolution, ReLU as a module, and one of several heads."""

    def __init__(self, head, dims=2, relu=True, bias=True):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
        self.conv, self.act = conv(1, 4, 3, stride=2, padding=1), nn.ReLU() if relu else nn.Identity()
        self.kind, cells = head, 3**dims
        self.fc = nn.Linear(4 * cells if head == "flatten" else 4, 5, bias=bias)
        self.map = conv(4, 5, 1, bias=bias)
        self.window = conv(4, 5, 3, bias=bias)
        self.drop = nn.Dropout()

    def forward(self, x):
        z = self.act(self.conv(x))
        pooled = z.flatten(2).mean(-1)
        return {
            "flatten": lambda: self.fc(self.drop(z.flatten(1))),
            "pooled": lambda: self.fc(self.drop(pooled)),
            "map mean": lambda: self.map(z).flatten(2).mean(-1),
            "map max": lambda: self.map(z).flatten(2).amax(-1),
            "window": lambda: self.window(z).flatten(1),
            "functional relu": lambda: self.fc(functional.relu(z - 0.1).flatten(2).mean(-1)),
            "in place": lambda: self.fc(functional.relu(z.sub_(0.1), inplace=True).flatten(2).mean(-1)),
            "max pooled": lambda: self.fc(z.flatten(2).amax(-1)),
            "sigmoid": lambda: self.fc(pooled).sigmoid(),
            "two layers": lambda: self.fc(functional.relu(pooled @ torch.ones(4, 4, dtype=z.dtype))),
            "product": lambda: self.fc(pooled) * pooled.sum(1, keepdim=True),
            "beside": lambda: self.fc(pooled) + x.flatten(1)[:, :5],
        }[self.kind]()


def body(head, dims=2, **options):
    torch.manual_seed(0)
    return Body(head, dims, **options).double().train()


def batch(dims=2):
    return torch.randn(2, 1, *(6,) * dims, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("head", ["flatten", "pooled", "map mean", "map max", "window"])
def test_the_closed_form_is_the_backward_path(head, dims, bias):
    network, x = body(head, dims, bias=bias), batch(dims)
    closed = attention_by_method(network, x, methods=METHODS_OF_LAYERS)
    walked = attention_by_method(network, x, methods=METHODS_OF_LAYERS, layer="act")
    for method in METHODS_OF_LAYERS:
        assert (closed[method].closed_form, walked[method].closed_form) == (True, False)
        assert closed[method].layer == "act"
        torch.testing.assert_close(closed[method].values, walked[method].values, rtol=0, atol=1e-12)
        torch.testing.assert_close(closed[method].logits, walked[method].logits, rtol=0, atol=1e-12)
    some = attention_maps(network, x, targets=[[3], [1]])
    assert some.closed_form
    assert torch.equal(
        some.values[:, 0], torch.stack([closed["hirescam"].values[0, 3], closed["hirescam"].values[1, 1]])
    )


@pytest.mark.parametrize("head", ["functional relu", "in place", "max pooled", "two layers"])
def test_what_lies_between_is_noticed(head):
    with pytest.raises(
        ValueError, match="its last linear layer 'fc' does not follow a feature map directly; give layer"
    ):
        attention_maps(body(head), batch())


def test_an_input_too_small_for_places_is_told():
    network = resnet18(spatial_dims=3, n_input_channels=1, num_classes=2).eval()
    with pytest.raises(
        ValueError, match=r"have a single cell for inputs of \[16, 16, 16\], which says nothing of places"
    ):
        attention_maps(network, torch.zeros(1, 1, 16, 16, 16))
    assert attention_maps(network, torch.zeros(1, 1, 16, 16, 32)).values.shape == (1, 2, 1, 1, 2)


@pytest.mark.parametrize("head", ["sigmoid", "product", "beside"])
def test_what_comes_behind_is_noticed(head):
    with pytest.raises(
        ValueError, match="its logits are not what its last linear layer 'fc' gives.*; give layer; its last"
    ):
        attention_maps(body(head), batch())


def test_a_head_that_holds_for_the_first_item_only_falls_back_to_gradients():
    class Moody(Body):
        def forward(self, x):
            logits = super().forward(x)
            return logits if float(x.mean()) < 5 else logits**2

    torch.manual_seed(0)
    network, x = Moody("pooled").double(), batch()
    assert attention_maps(network, x).closed_form
    other = attention_maps(network, x + 10)
    assert not other.closed_form
    torch.testing.assert_close(other.values, attention_maps(network, x + 10, layer="act").values, rtol=0, atol=0)


def test_it_follows_new_weights_and_a_new_layer():
    network, x = body("pooled"), batch()
    attention_maps(network, x)
    with torch.no_grad():
        network.fc.weight.mul_(3)
    torch.testing.assert_close(attention_maps(network, x).values, attention_maps(network, x, layer="act").values)
    network.fc = nn.Linear(4, 2).double()
    assert attention_maps(network, x).values.shape == (2, 2, 3, 3)


def densenet(dims):
    return DenseNet(dims, 1, 3, init_features=4, growth_rate=4, block_config=(1, 1))


@pytest.mark.parametrize(
    ("make", "size", "layer", "bias"),
    [
        (lambda: densenet(3), (32, 32, 32), "class_layers.relu", "class_layers.out.bias"),
        (lambda: densenet(2), (64, 64), "class_layers.relu", "class_layers.out.bias"),
        (lambda: resnet18(spatial_dims=2, n_input_channels=1, num_classes=3), (64, 64), "layer4", "fc.bias"),
    ],
)
def test_networks_of_monai(make, size, layer, bias):
    torch.manual_seed(0)
    network, x = make().eval(), torch.randn(2, 1, *size)
    found = attention_maps(network, x)
    assert found.closed_form
    assert found.layer == layer
    walked = attention_maps(network, x, layer=layer)
    torch.testing.assert_close(found.values, walked.values, rtol=1e-5, atol=1e-6)
    total = found.values.flatten(2).sum(-1) + network.state_dict()[bias]
    torch.testing.assert_close(total, found.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", [None, "act"])
def test_cam_is_the_weights_on_what_is_pooled(layer):
    network, x = body("pooled"), batch()
    found = attention_maps(network, x, method="cam", layer=layer)
    expected = torch.einsum("mf,bfhw->bmhw", network.fc.weight, network.act(network.conv(x)))
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-12)
    assert found.closed_form == (layer is None)


@pytest.mark.parametrize(
    ("head", "layer", "words"),
    [
        (
            "flatten",
            None,
            "^cam needs a layer that global average pooling and one linear layer follow: .* a weight of its own",
        ),
        ("map max", None, "^cam needs"),
        ("two layers", "act", "does not follow a feature map directly; use hirescam$"),
        ("pooled", "conv", "it is that of 'act' here; use hirescam$"),
    ],
)
def test_cam_is_refused_elsewhere(head, layer, words):
    with pytest.raises(ValueError, match=words):
        attention_maps(body(head), batch(), method="cam", layer=layer)


@pytest.mark.parametrize("method", ["hirescam", "xgradcam"])
def test_a_loss_on_maps_of_a_found_head_reaches_head_and_backbone(method):
    network, x = body("pooled").eval(), batch()
    found = attention_maps(network, x, method=method, create_graph=True)
    assert found.closed_form
    found.values.square().sum().backward()
    assert network.fc.weight.grad.abs().sum() > 0
    assert network.conv.weight.grad.abs().sum() > 0


def test_looking_for_a_head_leaves_batch_statistics_alone_in_training():
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)
    ).double()
    attention_maps(network.train(), batch(), create_graph=True)
    assert network[1].num_batches_tracked == 1  # the run that was asked for
    assert not any(module._forward_hooks for module in network.modules())


class Declared(nn.Module):
    input_layout, input_shape, attention_layer, call_order = "volume", (6, 6, 6), "conv", "items"

    def __init__(self, wrong=1.0):
        super().__init__()
        self.conv, self.fc, self.wrong = nn.Conv3d(1, 4, 3, padding=1), nn.Linear(4, 5), wrong

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3, 4)))

    def feature_grid(self, input_shape):
        return grid_of_layers(input_shape, ([Layer(3, 1, 1)],) * 3)

    def linear_head(self, x):
        return LinearHead(self.conv(x), self.wrong * self.fc.weight, self.fc.bias)


def test_a_declaration_that_does_not_hold_is_refused():
    torch.manual_seed(0)
    assert attention_maps(Declared().double(), batch(3)).closed_form
    words = "^the linear_head that Declared declares on 'conv' is not what makes its logits: the logits of .* differ by"
    with pytest.raises(ValueError, match=words):
        attention_maps(Declared(wrong=1.1).double(), batch(3))
    with pytest.raises(ValueError, match=words):
        attention_maps(Declared(wrong=1.1).double(), batch(3), create_graph=True)


def test_slabs_of_an_undeclared_network_that_are_averaged():
    class Slabs(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            z = self.conv(x.flatten(0, 1))
            return self.fc(z.mean((2, 3))).unflatten(0, x.shape[:2]).mean(1)

    torch.manual_seed(0)
    network, x = Slabs().double(), torch.randn(1, 4, 3, 6, 7, dtype=torch.float64)
    found = attention_maps(network, x)
    assert found.closed_form
    torch.testing.assert_close(found.values, attention_maps(network, x, layer="conv").values, rtol=0, atol=1e-14)
