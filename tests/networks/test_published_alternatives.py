"""CTNet, BodyConv, Conv3DNet and BodyCAM against numbers of the published code (oracle items 1, 3 and 5)."""

import math

import pytest
import torch

from organcam.attention import attention_maps
from organcam.geometry import Layer
from organcam.networks import BodyCAM, BodyConv, Conv3DNet, CTNet

PUBLISHED = {"CTNet": CTNet, "BodyConv": BodyConv, "ThreeDConv": Conv3DNet}
# Any input does: the backbone gives the stored features. Expanded, since 405 x 420 x 420 zeros would take 570 MB.
ANY_INPUT = torch.zeros(1, dtype=torch.float64).expand(1, 135, 3, 420, 420)


class Given(torch.nn.Module):
    """A backbone that returns what it was given."""

    layers = (Layer(1, 32),)  # 14 cells of 420 voxels

    def __init__(self, features):
        super().__init__()
        self.register_buffer("features", features)

    def forward(self, slabs):
        return self.features


def fill(network, stored, published):
    """The published rule for all parameters after the feature extractor."""
    own = [p for name, p in network.named_parameters() if not name.startswith("backbone.")]
    with torch.no_grad():
        for (n, shape), parameter in zip(stored["parameters_after_features"], own, strict=True):
            assert list(parameter.shape) == shape
            if len(shape) > 1:
                values = published.noise(2500 + n, shape, 1.7 / math.sqrt(math.prod(shape[1:])))
            else:
                values = published.sine(2500 + n, shape, 0.1)
            parameter.copy_(values)
    return network


def with_features(kind, oracle, published):
    stored = oracle["3_baselines"][kind.__name__]
    network = fill(kind(5).double().eval(), stored, published)
    network.backbone = Given(published.noise(3002, (135, 512, 14, 14), off=0.5))
    return network, stored


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(oracle, name):
    stored = oracle["3_baselines"][name]
    with torch.device("meta"):
        network = PUBLISHED[name](80)
    assert sum(p.numel() for p in network.parameters()) == stored["parameters_n80"]
    backbone = getattr(network, "backbone", torch.nn.Identity())
    assert sum(p.numel() for p in backbone.parameters()) == stored["of_which_resnet"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_after_every_convolution(oracle, name):
    with torch.device("meta"):
        network = PUBLISHED[name](5)
        x = torch.zeros(1, 1, 405, 420, 420) if name == "ThreeDConv" else torch.zeros(1, 135, 3, 420, 420)
    shapes = []
    for module in network.convs:
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda _module, _inputs, out: shapes.append(list(out.shape)))
    assert network(x).shape == (1, 5)
    assert shapes == oracle["3_baselines"][name]["conv_output_shapes"]


def test_grids():
    assert BodyConv(1).feature_grid((405, 420, 420)).shape == (5, 5, 5)
    assert CTNet(1).feature_grid((405, 420, 420)).shape == (135, 14, 14)
    grid = Conv3DNet(1).feature_grid((405, 420, 420))
    assert grid.shape == (5, 5, 5)
    assert grid.stride == (81, 81, 81)
    assert grid.offset == (40, 40, 40)


@pytest.mark.parametrize("kind", [CTNet, BodyConv])
def test_logits_and_last_convolution(oracle, published, kind):
    network, stored = with_features(kind, oracle, published)
    last = {}
    network.convs.register_forward_hook(lambda _module, _inputs, out: last.setdefault("out", out))
    with torch.no_grad():
        published.assert_agrees(network(ANY_INPUT), stored["logits"])
    published.assert_agrees(last["out"], stored["last_conv"])


@pytest.mark.parametrize("kind", [CTNet, BodyConv])
def test_logits_in_float32(oracle, published, kind):
    network, stored = with_features(kind, oracle, published)
    with torch.no_grad():
        published.assert_agrees(network.float()(ANY_INPUT.float()), stored["logits"], atol=1e-6)


@pytest.mark.slow
def test_volume_network(oracle, published):
    stored = oracle["3_baselines"]["ThreeDConv"]
    network = fill(Conv3DNet(5).double().eval(), stored, published)
    last = {}
    network.convs.register_forward_hook(lambda _module, _inputs, out: last.setdefault("out", out))
    with torch.no_grad():
        published.assert_agrees(network(published.noise(3003, (1, 1, 405, 420, 420), 0.5, 0.05)), stored["logits"])
    published.assert_agrees(last["out"], stored["last_conv"])


@pytest.mark.parametrize("method", ["hirescam", "gradcam"])
def test_attention_of_bodyconv(oracle, published, method):
    network, stored = with_features(BodyConv, oracle, published)
    maps = attention_maps(network, ANY_INPUT, method=method, targets=[1])
    assert not maps.closed_form
    assert maps.logits[0].item() == pytest.approx(stored["logits"]["values"][1], abs=1e-6)
    published.assert_agrees(maps.values[0, 0], oracle["5_attention"]["gradcam_bodyconv_label1"][method])


@pytest.mark.parametrize("kind", ["sine", "q"])
def test_bodycam(oracle, published, kind):
    case = oracle["1_head"][kind]
    network = BodyCAM(5).double().eval()
    published_fill = published.sine if kind == "sine" else published.noise
    network.backbone = Given(published_fill(3001, (3, 512, 14, 14), off=0.0 if kind == "sine" else 0.5))
    convolutions = [module for module in network.convs if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        for n, (conv, amp) in enumerate(zip(convolutions, case["conv_weight_amps"], strict=True)):
            conv.weight.copy_(published.sine(2001 + 10 * n, conv.weight.shape, amp))
            conv.bias.copy_(published.sine(2002 + 10 * n, conv.bias.shape, 0.1))
        network.fc.weight.copy_(published.sine(2121, network.fc.weight.shape, 0.3))
        network.fc.bias.copy_(published.sine(2122, network.fc.bias.shape, 0.1))
    x = torch.zeros(1, dtype=torch.float64).expand(1, 3, 3, 420, 420)
    published.assert_agrees(network(x), case["logits_bodycam"])
    with torch.device("meta"):
        counted = BodyCAM(80)
    assert (
        sum(p.numel() for p in counted.parameters())
        == oracle["3_baselines"]["other_parameter_counts_n80_slices135"]["BodyCAM"]
    )
