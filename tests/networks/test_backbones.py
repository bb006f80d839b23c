import numpy as np
import pytest
import torch
from monai.networks import nets

from organcam.errors import ConfigError
from organcam.geometry import Layer, compose, output_size
from organcam.networks import BACKBONES, Backbone, ResNet18, SmallBackbone, build_backbone
from organcam.probing import probe_grid


def test_resnet_cells_of_the_published_size():
    assert compose(ResNet18.layers) == (32.0, 0.0, 435)
    assert output_size(420, ResNet18.layers) == 14


def test_small_cells_tile_the_image():
    stride, offset, receptive_field = compose(SmallBackbone.layers)
    assert (stride, offset, receptive_field) == (8.0, 3.5, 44)  # centres of tiles 0..7, 8..15, ...


@pytest.mark.parametrize("size", [64, 77])
@pytest.mark.parametrize("name", BACKBONES.names())
def test_reported_levels_are_the_real_ones(name, size):
    with torch.device("meta"):
        backbone = BACKBONES.build(name).eval()
        image = torch.zeros(2, 3, size, 64)
    levels = backbone.pyramid(image)
    assert backbone(image).shape == levels[-1].shape
    assert (backbone.channels, backbone.layers) == backbone.taps[-1]
    for features, (channels, layers) in zip(levels, backbone.taps, strict=True):
        assert features.shape == (2, channels, output_size(size, layers), output_size(64, layers))


@pytest.mark.parametrize(
    "name", ["seresnet50", "seresnext50", pytest.param("senet154", marks=pytest.mark.slow), "efficientnet-b0"]
)
def test_cells_of_monai_s_networks_are_where_probing_finds_them(name):
    with torch.device("meta"):
        backbone = BACKBONES.build(name).eval()
    grid = probe_grid(backbone, backbone, (3, 192, 224))
    stride, offset, receptive_field = compose(backbone.layers)
    assert offset == (31 if name.startswith("efficientnet") else 2)
    assert grid.stride == (stride, stride)
    np.testing.assert_allclose(grid.offset, offset, atol=1e-3)
    assert grid.receptive_field == (receptive_field, receptive_field)


def test_efficientnet_is_monai_s_but_for_its_padding():
    """At the size that MONAI pads for, the same numbers; published weights of a classifier are left out."""
    whole = nets.EfficientNetBN("efficientnet-b0", pretrained=False).double().eval()
    backbone = BACKBONES.build("efficientnet-b0").double().eval()
    assert set(whole.state_dict()) - set(backbone.state_dict()) == {"_fc.weight", "_fc.bias"}
    backbone.load_state_dict({key: value for key, value in whole.state_dict().items() if not key.startswith("_fc")})
    image = torch.rand(1, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        features = whole._swish(
            whole._bn1(
                whole._conv_head(
                    whole._blocks(whole._swish(whole._bn0(whole._conv_stem(whole._conv_stem_padding(image)))))
                )
            )
        )
        torch.testing.assert_close(backbone(image), features)
        assert backbone(image[..., :200, :170]).shape[2:] == (6, 5)


@pytest.mark.parametrize("name", ["small", "resnet10", "resnet50", "densenet121", "seresnet50", "efficientnet-b0"])
def test_volumes_have_the_same_levels_along_every_axis(name):
    with torch.device("meta"):
        backbone = build_backbone(name, spatial_dims=3, in_channels=1).eval()
        levels = backbone.pyramid(torch.zeros(1, 1, 33, 32, 40))
    for features, (channels, layers) in zip(levels, backbone.taps, strict=True):
        assert features.shape == (1, channels, *(output_size(size, layers) for size in (33, 32, 40)))


@pytest.mark.parametrize("name", ["small", "resnet18", "densenet121", "seresnet50", "efficientnet-b0"])
def test_the_last_level_is_what_the_backbone_returns(name):
    backbone, image = BACKBONES.build(name).eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone.pyramid(image)[-1], backbone(image))


@pytest.mark.parametrize("name", ["small", "resnet18", "resnet50", "densenet121"])
def test_a_level_cell_depends_on_its_receptive_field_around_its_centre(name):
    backbone = BACKBONES.build(name).double().eval()
    for level, (_, layers) in enumerate(backbone.taps[:-1]):
        stride, offset, receptive_field = compose(layers)
        image = torch.rand(1, 3, 32, 512, dtype=torch.float64, requires_grad=True)
        cell = int(256 / stride)
        backbone.pyramid(image)[level][..., 0, cell].sum().backward()
        touched = image.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
        centre, reach = offset + stride * cell, (receptive_field - 1) / 2
        slack = 4 * stride  # the outermost voxels come through a few paths, which a ReLU or a maximum may have shut
        assert max(0, centre - reach) <= touched.min() <= max(0, centre - reach) + slack, name
        assert min(511, centre + reach) - slack <= touched.max() <= min(511, centre + reach), name


# torchvision's and, for volumes, the PYLON specification's numbers of parameters without classifier
@pytest.mark.parametrize(
    ("name", "spatial_dims", "in_channels", "parameters"),
    [
        ("resnet18", 2, 3, 11_176_512),
        ("resnet34", 2, 3, 21_284_672),
        ("resnet50", 2, 3, 23_508_032),
        ("resnet50", 2, 1, 23_501_760),
        ("resnet50", 3, 1, 46_155_072),
        ("resnet101", 2, 3, 42_500_160),
        ("densenet121", 2, 3, 6_953_856),
    ],
)
def test_parameter_counts(name, spatial_dims, in_channels, parameters):
    with torch.device("meta"):
        backbone = build_backbone(name, spatial_dims, in_channels)
    assert sum(p.numel() for p in backbone.parameters()) == parameters


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "resnet51"}, "did you mean 'resnet50'"),
        ({"name": "small", "spatial_dims": 4}, "spatial_dims must be 2"),
        ({"name": "small", "in_channels": 0}, "in_channels must be 1 or more"),
    ],
)
def test_illegal_backbone_is_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        build_backbone(**options)


def test_installed_backbone_without_levels_gives_its_last_one(monkeypatch):
    class Installed(Backbone):
        channels = 3
        layers = (Layer(2, 2),)

        def forward(self, x):
            return torch.nn.functional.avg_pool2d(x, 2)

    monkeypatch.setitem(BACKBONES._builders, "installed", Installed)
    backbone = build_backbone("installed")
    assert backbone.taps == ((3, (Layer(2, 2),)),)
    assert backbone.pyramid(torch.zeros(1, 3, 8, 8))[0].shape == (1, 3, 4, 4)
    with pytest.raises(ConfigError, match="'installed' cannot be built with spatial_dims=3"):
        build_backbone("installed", spatial_dims=3)


def test_shifting_the_image_by_a_tile_shifts_the_small_features_by_a_cell():
    backbone = SmallBackbone().double().eval()
    image = torch.zeros(1, 3, 128, 128, dtype=torch.float64)
    image[..., 40:56, 40:56] = torch.randn(3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        here, there = backbone(image), backbone(image.roll((8, 16), (2, 3)))
    torch.testing.assert_close(here.roll((1, 2), (2, 3)), there)


def test_mirrored_image_gives_mirrored_cells_only_if_they_tile_it():
    # Symmetric kernels make the network itself symmetric, so that only the cells' places can break the symmetry.
    backbone = SmallBackbone().double().eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.ndim == 4:
                parameter.copy_((parameter + parameter.flip(-1)) / 2)
        image = torch.randn(1, 3, 96, 96, dtype=torch.float64)
        torch.testing.assert_close(backbone(image).flip(-1), backbone(image.flip(-1)))
