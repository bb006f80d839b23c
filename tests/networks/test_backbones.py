import pytest
import torch
from monai.networks.nets import resnet18

from organcam.errors import ConfigError
from organcam.geometry import compose, output_size
from organcam.networks import BACKBONES, ResNet18, SmallBackbone, load_backbone_weights


def _torchvision_layout():
    options = {"spatial_dims": 2, "n_input_channels": 3, "conv1_t_stride": 2, "bias_downsample": False}
    return resnet18(pretrained=False, num_classes=1000, **options)


def test_resnet_cells_of_the_published_size():
    assert compose(ResNet18.layers) == (32.0, 0.0, 435)
    assert output_size(420, ResNet18.layers) == 14


def test_small_cells_tile_the_image():
    stride, offset, receptive_field = compose(SmallBackbone.layers)
    assert (stride, offset, receptive_field) == (8.0, 3.5, 44)  # centres of tiles 0..7, 8..15, ...


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("resnet18", 75), ("small", 64), ("small", 77)])
def test_reported_layers_give_the_real_output_size(name, size):
    backbone = BACKBONES.build(name).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, size, 64))
    assert features.shape == (
        2,
        backbone.channels,
        output_size(size, backbone.layers),
        output_size(64, backbone.layers),
    )


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


def test_torchvision_file_is_loaded_without_its_classifier(tmp_path):
    whole = _torchvision_layout()
    state = {name: value for name, value in whole.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "resnet18.pth")
    backbone = ResNet18()
    load_backbone_weights(backbone, tmp_path / "resnet18.pth")
    assert "fc.weight" in state
    for name, value in backbone.state_dict().items():
        if name in state:
            assert torch.equal(value, state[name])


def _saved(path, content):
    torch.save(content, path)
    return path


def _truncated(path):
    torch.save(ResNet18().state_dict(), path)
    path.write_bytes(path.read_bytes()[:5000])
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "not found; give the path of a local file"),
        (lambda path: _saved(path, {"conv1.weight": torch.zeros(1)}), "missing .*bn1.weight.*another shape"),
        (lambda path: _saved(path, SmallBackbone().state_dict()), "do not fit ResNet18: .* unknown"),
        (lambda path: _saved(path, [1, 2]), "must hold a state dict"),
        (lambda path: _saved(path, ResNet18()), "cannot be read as a file of tensors"),  # would be a pickled class
        (_truncated, "cannot be read as a file of tensors"),
    ],
    ids=["absent", "wrong shape", "other network", "list", "pickle", "truncated"],
)
def test_unfit_weights_file_is_refused_by_name(tmp_path, make, words):
    backbone = ResNet18()
    before = backbone.conv1.weight.clone()
    with pytest.raises(ConfigError, match=words) as caught:
        load_backbone_weights(backbone, make(tmp_path / "weights.pth"))
    assert "weights.pth" in str(caught.value)
    assert torch.equal(backbone.conv1.weight, before)
