"""Files of weights: torchvision's, MedicalNet's, our own, torch hub's cache, and what is refused."""

import hashlib
import re

import pytest
import torch
from monai.networks.nets import resnet18

from organcam.errors import ConfigError
from organcam.networks import (
    AxialNet,
    DenseNet,
    ResNet,
    ResNet18,
    SmallBackbone,
    build_backbone,
    load_backbone_weights,
    load_network_weights,
)


def _torchvision_layout():
    options = {"spatial_dims": 2, "n_input_channels": 3, "conv1_t_stride": 2, "bias_downsample": False}
    return resnet18(pretrained=False, num_classes=1000, **options)


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


def _equal(backbone, state):
    return all(torch.equal(backbone.state_dict()[name], value) for name, value in state.items())


def test_densenet_file_with_torchvision_names_is_loaded(tmp_path):
    # torchvision has features.denseblock1.denselayer1.norm1 (norm.1 in its files), MONAI a "layers" between
    state = DenseNet("densenet121").state_dict()
    for number, wanted in enumerate((r".\1\2", r".\1.\2")):
        theirs = {re.sub(r"\.layers\.(norm|conv)(\d)", wanted, name): value for name, value in state.items()}
        assert f"features.denseblock1.denselayer1.norm{'.' * number}1.weight" in theirs
        path = _saved(tmp_path / f"{number}.pth", {**theirs, "classifier.weight": torch.zeros(1000, 1024)})
        backbone = DenseNet("densenet121")
        assert not _equal(backbone, state)
        load_backbone_weights(backbone, path)
        assert _equal(backbone, state)


@pytest.mark.parametrize(
    ("in_channels", "expected"),
    [(1, lambda rgb: rgb.sum(1, keepdim=True)), (2, lambda rgb: rgb[:, :2] * 1.5), (4, None)],
)
def test_first_convolution_is_adapted_to_other_numbers_of_channels(tmp_path, in_channels, expected):
    source = ResNet18()
    backbone = build_backbone("resnet18", in_channels=in_channels)
    fresh = backbone.conv1.weight.clone()
    load_backbone_weights(backbone, _saved(tmp_path / "rgb.pth", source.state_dict()))
    wanted = fresh if expected is None else expected(source.conv1.weight)
    assert torch.equal(backbone.conv1.weight, wanted)
    assert torch.equal(backbone.layer1[0].conv1.weight, source.layer1[0].conv1.weight)


def test_grey_image_gives_what_the_same_image_in_three_channels_gives(tmp_path):
    source = ResNet18().eval()
    path = _saved(tmp_path / "rgb.pth", source.state_dict())
    backbone = build_backbone("resnet18", in_channels=1, weights=path).eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), source(image.expand(1, 3, 64, 64)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "shortcut"), [("resnet18", "A"), ("resnet50", "B")])
def test_medicalnet_file_is_loaded_into_a_volume_network(tmp_path, name, shortcut):
    source = ResNet(name, spatial_dims=3, in_channels=1, shortcut=shortcut)
    content = {"state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}
    path = _saved(tmp_path / "medicalnet.pth", content)
    known_as = "medicalnet18" if shortcut == "A" else name
    backbone = build_backbone(known_as, spatial_dims=3, in_channels=1, weights=path)
    assert _equal(backbone, source.state_dict())


def test_backbone_of_a_trained_model_is_taken(tmp_path):
    source = AxialNet(4, backbone="small", input_shape=(3, 32, 48))
    path = _saved(tmp_path / "model.pt", {"weights": source.state_dict(), "labels": ["a", "b", "c", "d"]})
    backbone = SmallBackbone()
    load_backbone_weights(backbone, path)
    assert _equal(backbone, source.backbone.state_dict())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def _published(folder, state):
    path = _saved(folder / "new.pth", state)
    name = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"resnet18-{name}.pth")


def test_imagenet_file_comes_from_the_cache_with_its_checksum(cache):
    source = ResNet18()
    path = _published(cache, source.state_dict())
    backbone = build_backbone("resnet18", weights="imagenet")
    assert _equal(backbone, source.state_dict())
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigError, match="damaged or another file: their SHA-256 is not"):
        load_backbone_weights(backbone, "imagenet")


def test_without_an_imagenet_file_the_message_says_where_it_belongs(cache):
    with pytest.raises(ConfigError, match=r"no ImageNet weights of resnet18 in .*checkpoints, and nothing is down"):
        load_backbone_weights(ResNet18(), "imagenet")
    with pytest.raises(ConfigError, match="SmallBackbone has no ImageNet weights"):
        load_backbone_weights(SmallBackbone(), "imagenet")
    (cache / "resnet18-00000000.pth").touch()
    (cache / "resnet18-11111111.pth").touch()
    with pytest.raises(ConfigError, match="several ImageNet files of resnet18"):
        load_backbone_weights(ResNet18(), "imagenet")


def test_given_checksum_is_compared(tmp_path):
    source = SmallBackbone()
    path = _saved(tmp_path / "small.pt", source.state_dict())
    backbone = SmallBackbone()
    load_backbone_weights(backbone, path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert _equal(backbone, source.state_dict())
    with pytest.raises(ConfigError, match=r"SHA-256 is not 0123\.\.\."):
        load_backbone_weights(SmallBackbone(), path, sha256="0123")


def test_network_on_the_meta_device_opens_no_file():
    with torch.device("meta"):
        assert build_backbone("resnet18", weights="nowhere.pth").conv1.weight.is_meta


def test_transfer_takes_what_fits_and_names_the_rest(tmp_path):
    options = {"backbone": "small", "input_shape": (3, 32, 48)}
    source, target = AxialNet(4, **options), AxialNet(6, **options)
    fresh = load_network_weights(target, _saved(tmp_path / "source.pt", {"weights": source.state_dict()}))
    assert fresh == ("fc.weight", "fc.bias")
    assert _equal(target.backbone, source.backbone.state_dict())
    assert torch.equal(target.head.conv1.weight, source.head.conv1.weight)
    with pytest.raises(ConfigError, match="no layer has the same name and shape"):
        load_network_weights(ResNet18(), tmp_path / "source.pt")
