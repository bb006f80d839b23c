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


class Told(nn.Module):
    """Two features of 2 x 2 cells, one linear layer on their means; what it declares may be changed."""

    input_layout, input_shape, attention_layer, call_order = "volume", (4, 4), "conv", "items"

    def __init__(self, head):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.aside = nn.Conv2d(1, 2, 2, stride=2), nn.Linear(2, 3), nn.Conv2d(1, 2, 2, stride=2)
        self.head, self.asked = head, 0

    def forward(self, x):
        self.aside(x)
        return self.fc(self.conv(x).mean((2, 3)))

    def feature_grid(self, input_shape):
        return grid_of_layers(input_shape, ([Layer(2, 2)],) * 2)

    def linear_head(self, x):
        self.asked += 1
        return self.head(self, x)


def honest(network, x):
    return LinearHead(network.conv(x), network.fc.weight, network.fc.bias)


def with_other_slopes(network, x):
    """The same logits for the item that is checked, from other weights and a bias that makes up for them."""
    z = network.conv(x)
    return LinearHead(z, network.fc.weight + 0.1, network.fc.bias - 0.1 * z[:1].mean((2, 3)).sum())


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (
            lambda network, x: LinearHead(2 * network.conv(x), network.fc.weight / 2, network.fc.bias),
            r"the features of closed form and network differ by [0-9.e-]+ of [0-9.e-]+$",
        ),
        (with_other_slopes, "the gradients of closed form and network differ by "),
        (
            lambda network, x: LinearHead(network.conv(x), network.fc.weight, network.fc.bias + 0.01),
            "the logits of closed form and network differ by 0.01 of ",
        ),
        (
            lambda network, x: LinearHead(network.conv(x), network.fc.weight[:2], network.fc.bias[:2]),
            r"it gives \[1, 2\] logits, the network \[1, 3\]$",
        ),
        (
            lambda network, x: LinearHead(network.conv(x)[..., :1], network.fc.weight, network.fc.bias),
            "the features of closed form and network differ by inf of 1$",
        ),
    ],
    ids=["features", "gradients", "logits", "count", "shape"],
)
def test_what_a_declaration_gets_wrong_is_said(head, words):
    network, x = Told(head).double(), torch.rand(2, 1, 4, 4, dtype=torch.float64)
    words = "^the linear_head that Told declares on 'conv' is not what makes its logits: " + words
    for _ in range(2):  # also where it has been checked before
        with pytest.raises(ValueError, match=words):
            attention_maps(network, x)


def test_a_declared_layer_that_nothing_comes_of_is_said():
    network = Told(honest).double()
    network.attention_layer = "aside"
    with pytest.raises(ValueError, match="is not what makes its logits: the logits do not depend on 'aside'$"):
        attention_maps(network, torch.rand(1, 1, 4, 4, dtype=torch.float64))


def test_a_declaration_is_checked_once_for_a_shape_and_without_a_head_gradients_do():
    network, x = Told(honest).double(), torch.rand(2, 1, 4, 4, dtype=torch.float64)
    attention_maps(network, x)
    runs = []
    network.fc.register_forward_hook(lambda *_: runs.append(1))
    for _ in range(3):
        assert attention_maps(network, x).closed_form
    assert (len(runs), network.asked) == (0, 4)
    attention_maps(network, torch.rand(1, 1, 6, 4, dtype=torch.float64))
    assert runs
    silent = Told(lambda network, x: None).double()
    maps = attention_maps(silent, x)
    assert not maps.closed_form
    torch.testing.assert_close(maps.values, attention_maps(Told(honest).double(), x).values)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_is_no_difference_and_more_is(dtype):
    x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(2)).to(dtype)
    by = {torch.float64: 1e-8, torch.float32: 1e-3, torch.bfloat16: 0.05}[dtype]

    def scaled(by):
        return lambda network, x: LinearHead(network.conv(x), network.fc.weight * (1 + by), network.fc.bias)

    assert attention_maps(Told(scaled(by / 100)).to(dtype), x).closed_form
    with pytest.raises(ValueError, match="is not what makes its logits"):
        attention_maps(Told(scaled(by)).to(dtype), x)


class Ending(nn.Module):
    """A convolution to 4 x 3 x 3 and some ending."""

    def __init__(self, ending):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.end = nn.Conv2d(1, 4, 3, stride=2, padding=1), ending

    def forward(self, x):
        return self.end(self.conv(x))


def mean():
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), mean()), "its last linear layer 'end.0' does not follow"),
        (nn.Sequential(nn.Conv2d(4, 5, 1, stride=2), mean()), "its last linear layer 'end.0' does not follow"),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), mean()), "its last linear layer 'end.0' does not follow"),
        (nn.Sequential(nn.ConvTranspose2d(4, 5, 1), mean()), "its last linear layer 'conv' does not follow"),
        (nn.Conv2d(4, 5, 1), r"its output \[1, 5, 3, 3\] is no row of logits for each item"),
        (nn.Sequential(mean(), nn.Linear(4, 5), nn.Tanh()), "its logits are not what its last linear layer 'end.1'"),
    ],
)  # fmt: skip
def test_endings_that_are_no_linear_head(ending, words):
    with pytest.raises(ValueError, match=f"and {words}.*; give layer; its last spatial layers: "):
        attention_maps(Ending(ending).double().eval(), batch())


def test_without_any_linear_layer_it_is_said():
    with pytest.raises(ValueError, match="and it has no linear layer; give layer; it has no convolutions$"):
        attention_maps(nn.Sequential(nn.Tanh(), nn.Flatten()).double(), batch())


@pytest.mark.parametrize("between", [0, 7])
def test_modules_that_change_nothing_may_lie_between(between):
    ending = nn.Sequential(*(nn.Dropout() for _ in range(between)), mean(), nn.Linear(4, 5))
    found = attention_maps(Ending(ending).double().eval(), batch())
    assert found.closed_form
    assert found.layer == (f"end.{between - 1}" if between else "conv")  # the last that gives these values


def test_one_cell_is_no_map():
    network = nn.Sequential(nn.Conv2d(1, 4, 6), nn.Flatten(), nn.Linear(4, 2)).double()
    with pytest.raises(
        ValueError, match="its last feature maps have a single cell for inputs of .* says nothing of places"
    ):
        attention_maps(network, batch())
