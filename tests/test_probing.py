"""Where cells look, against impulses sent through the networks and against stacked layers."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from monai.networks.nets import AttentionUnet, AutoEncoder, BasicUNet, DenseNet, EfficientNetBN, ResNet, SENet, UNet
from torch import nn
from torch.nn import functional

from organcam.geometry import Layer, grid_of_layers, output_size
from organcam.networks import AxialNet
from organcam.probing import probe_grid

RESNET18 = (Layer(7, 1, 3), Layer(3, 2, 1), *4 * (Layer(3, 1, 1),), *3 * (Layer(3, 2, 1), *3 * (Layer(3, 1, 1),)))


def resnet(dims):
    return ResNet("basic", [1, 1, 1, 1], [4, 8, 8, 8], spatial_dims=dims, n_input_channels=1, num_classes=2)


def densenet(dims):
    return DenseNet(dims, 1, 2, init_features=4, growth_rate=4, block_config=(2, 2))


def senet(dims):
    return SENet(
        dims, 1, "se_resnet_bottleneck", (1, 1, 1, 1), 1, 4, inplanes=16, downsample_kernel_size=1, num_classes=2
    )


def unet(dims):
    return UNet(dims, 1, 2, (4, 8, 8), (2, 2), num_res_units=2)


NETWORKS = {
    "resnet": (resnet, "layer3"),
    "densenet": (densenet, "features"),
    "senet": (senet, "layer2"),
    "unet": (unet, "model.2"),
    "unet, coarsest": (unet, "model.1.submodule.1"),
    "basic unet": (lambda dims: BasicUNet(dims, 1, 2, features=(4,) * 6, upsample="nontrainable"), "upcat_3"),
    "attention unet": (lambda dims: AttentionUnet(dims, 1, 2, (4, 8, 8), (2, 2)), "model"),
    "autoencoder": (lambda dims: AutoEncoder(dims, 1, 1, (4, 8), (2, 2)), "encode"),
    "efficientnet": (
        lambda dims: EfficientNetBN("efficientnet-b0", pretrained=False, spatial_dims=dims, in_channels=1),
        "_blocks.2",
    ),
}


def with_positive_weights(network):
    """A copy in which more light in the input is more light at the layer, and none comes out of the dark."""
    bright = copy.deepcopy(network).double().eval()
    for name, parameter in bright.named_parameters():
        value = 1.0 / parameter[0].numel() if parameter.ndim > 1 else float("weight" in name)
        nn.init.constant_(parameter, value)
    return bright


def response(network, layer, x):
    """What the layer gives, summed over its channels."""
    found = []
    handle = network.get_submodule(layer).register_forward_hook(lambda _m, _i, output: found.append(output.sum(1)))
    with torch.no_grad():
        network(x)
    handle.remove()
    return torch.cat(found)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_an_impulse_lights_the_cell_whose_centre_it_is(name, dims):
    torch.manual_seed(0)
    build, layer = NETWORKS[name]
    network, size = build(dims), {2: (64, 96), 3: (32, 32, 48)}[dims]
    grid = probe_grid(network, network.get_submodule(layer), (1, *size))
    bright = with_positive_weights(network)
    dark = response(bright, layer, torch.zeros(1, 1, *size, dtype=torch.float64))
    assert dark.shape == (1, *grid.shape)
    cell = tuple(n // 2 for n in grid.shape)
    impulse = torch.zeros(1, 1, *size, dtype=torch.float64)
    # one voxel, or where a centre lies between voxels all those around it
    centres = [grid.centres(axis)[at] for axis, at in enumerate(cell)]
    impulse[(0, 0, *(slice(int(c // 1), int(-(-c // 1)) + 1) for c in centres))] = 1.0
    light = (response(bright, layer, impulse) - dark)[0]
    assert light[cell] > 0
    if name == "unet":  # even weights make a chequerboard of its transposed convolutions: its middle, not its peak
        light = light.clamp_min(0) / light.clamp_min(0).sum()
        for axis, at in enumerate(cell):
            rest = tuple(other for other in range(dims) if other != axis)
            assert abs((light.sum(rest) * torch.arange(len(light.sum(rest)))).sum() - at) < 0.5
    else:
        assert light[cell] >= light.max() * (1 - 1e-9)


@pytest.mark.parametrize(
    "options", [{"head": "reference"}, {"chunk": 2}, {"head": "none"}, {"backbone": "small"}], ids=str
)
def test_axialnet_is_where_its_own_arithmetic_says(options):
    with torch.device("meta"):
        network = AxialNet(2, input_shape=(12, 352, 420), **options)
    grid = probe_grid(network, network.get_submodule("head" if network.head else "backbone"), (4, 3, 352, 420), "slabs")
    assert grid == network.feature_grid((12, 352, 420))


def test_monai_resnet18_is_not_tiled():
    """Cell 3 of 64 voxels is centred on voxel 48; four tiles would put it on 55.5."""
    with torch.device("meta"):
        network = ResNet("basic", [2, 2, 2, 2], [64, 128, 256, 512], spatial_dims=3, n_input_channels=1)
    grid = probe_grid(network, network.layer4, (1, 64, 64, 64))
    assert grid.centres(0).tolist() == [0, 16, 32, 48]
    assert grid == grid_of_layers((64, 64, 64), 3 * (RESNET18,))


def test_a_full_scan_on_the_meta_device_opens_no_weights():
    with torch.device("meta"):
        network = ResNet("basic", [2, 2, 2, 2], [64, 128, 256, 512], spatial_dims=3, n_input_channels=1)
    assert probe_grid(network, network.layer4, (1, 405, 420, 420)) == grid_of_layers((405, 420, 420), 3 * (RESNET18,))


stacks = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)), min_size=1, max_size=4
)


@settings(max_examples=50)
@given(stacks, st.booleans())
def test_stacked_layers_against_composition(stack, pooled):
    sizes = (60, 90)
    layers = []
    # with more padding than a kernel reaches, outer cells see nothing of the input and have no place in it
    assume(all(padding <= dilation * (kernel - 1) for kernel, _, padding, dilation in stack))
    for kernel, stride, padding, dilation in stack:
        if pooled and padding <= kernel // 2:
            layers.append(nn.MaxPool2d(kernel, stride, padding, dilation))
        else:
            layers.append(nn.Conv2d(1, 1, kernel, stride, padding, dilation))
    try:
        if min(output_size(size, stack) for size in sizes) < 2:
            return
    except ValueError:
        return
    network = nn.Sequential(*layers)
    assert probe_grid(network, network, (1, *sizes)) == grid_of_layers(sizes, (stack, stack))


@pytest.mark.parametrize(
    ("layer", "stride", "offset"),
    [
        (nn.Upsample(scale_factor=2), 4 / 2, 0.5),  # 8 j + 1.5 becomes two cells at 1.5 - 2 / 2 and on
        (nn.Upsample(scale_factor=2, mode="bilinear"), 2, 0.5),
        (nn.Upsample(size=(31, 31), mode="bilinear", align_corners=True), 2, 1.5),
        (nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1), 2, 1.5),
        (nn.ConvTranspose2d(4, 4, 2, stride=2), 2, 0.5),
        (nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1), 2, 0.5),
        (nn.AvgPool2d(2), 8, 3.5),
        (nn.AdaptiveAvgPool2d(4), 16, 7.5),
        (nn.ReflectionPad2d(3), 4, 1.5 - 12),
        (nn.ZeroPad2d((1, 0, 1, 0)), 4, 1.5 - 4),
        (nn.AvgPool2d(3, stride=2, ceil_mode=True), 8, 5.5),
        (nn.PixelShuffle(2), 2, 0.5),
    ],
    ids=str,
)
def test_one_layer_on_cells_of_four_voxels(layer, stride, offset):
    """The cells before it have their centres on 1.5, 5.5, 9.5 and so on."""
    network = nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.InstanceNorm2d(4), layer)
    grid = probe_grid(network, layer, (1, 64, 64))
    assert grid.stride == (stride, stride)
    assert grid.offset == (offset, offset)


def test_functions_count_as_modules_do():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv3d(2, 3, 3, padding=1)
            self.last = nn.Identity()

        def forward(self, x):
            y = functional.max_pool3d(functional.relu(self.conv(x[:, :2])), 2)
            gate = torch.sigmoid(y.mean((2, 3, 4), keepdim=True))
            return self.last(torch.cat([y * gate, functional.avg_pool3d(x, 2)], dim=1)).mean((2, 3, 4))

    network = Functional()
    grid = probe_grid(network, network.last, (2, 16, 16, 16))
    assert (grid.shape, grid.stride, grid.offset) == ((8, 8, 8), (2.0,) * 3, (0.5,) * 3)
    assert grid.receptive_field == (4, 4, 4)  # two voxels, and one on either side; the gate has no place


def test_slabs_one_by_one_and_in_half_precision():
    class SlabBySlab(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU())
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return torch.stack([self.fc(self.body(x[:, i]).mean((2, 3))) for i in range(x.shape[1])]).mean(0)

    expected = grid_of_layers((15, 16, 20), ([Layer(3, 3)], [Layer(3, 2, 1)], [Layer(3, 2, 1)]))
    network = SlabBySlab()
    assert probe_grid(network, network.body, (5, 3, 16, 20), "slabs") == expected
    half = network.bfloat16()
    assert probe_grid(half, half.body, (5, 3, 16, 20), "slabs") == expected
    assert half.fc.weight.dtype == torch.bfloat16


def test_a_single_cell_spans_its_axis():
    network = nn.Sequential(nn.Conv2d(1, 1, 8), nn.Flatten())
    grid = probe_grid(network, network[0], (1, 8, 12))
    assert (grid.shape, grid.stride, grid.offset) == ((1, 5), (8.0, 1.0), (3.5, 3.5))


def test_the_network_is_left_as_it_was():
    network = densenet(2).train()
    network.features[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    flags = [module.training for module in network.modules()]
    random = torch.get_rng_state()
    probe_grid(network, network.features, (1, 64, 64))
    assert flags == [module.training for module in network.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.mix = nn.Conv2d(1, 4, 4, stride=4), nn.Linear(64, 64)
        self.turned, self.pooled, self.unused = nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Identity()

    def forward(self, x):
        y = self.conv(x)
        y = self.mix(y.flatten(2)).unflatten(2, (8, 8))
        return self.pooled(self.turned(y)).flatten(1)


@pytest.mark.parametrize(
    ("layer", "item_shape", "layout", "words"),
    [
        ("mix", (1, 32, 32), "volume", "evenly spaced along axis 1"),
        ("turned", (1, 32, 32), "volume", "evenly spaced along axis 0|do not keep places"),
        ("unused", (1, 32, 32), "volume", "did not run"),
        ("conv", (1, 2, 2), "volume", "coordinates cannot be sent"),
        ("conv", (1, 32, 32), "slabs", r"slabs have the shape \[S, C, H, W\]"),
        ("conv", (1, 32, 32), "slices", "unknown layout 'slices'. Legal: slabs, volume"),
    ],
)
def test_cells_without_places_are_refused(layer, item_shape, layout, words):
    network = Tokens()
    with pytest.raises(ValueError, match=words):
        probe_grid(network, network.get_submodule(layer), item_shape, layout)
    assert not any(module._forward_hooks for module in network.modules())
