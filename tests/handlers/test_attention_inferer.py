"""MONAI's SaliencyInferer exchanged for ours: the same places and, where MONAI is right, the same numbers."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.inferers import SaliencyInferer
from monai.networks.nets import DenseNet, UNet
from monai.visualize import GradCAM

from organcam.attention import attention_maps, scale_to_one
from organcam.inferers import AttentionInferer

LAYER = "class_layers.relu"


def densenet(dims: int = 3) -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(dims, 1, 4, init_features=4, growth_rate=4, block_config=(2, 2))


def images(count: int = 3, dims: int = 3) -> torch.Tensor:
    return torch.randn(count, 1, *(32,) * dims, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dims", [2, 3])
def test_shape_and_place_are_those_of_monai(dims):
    network, x = densenet(dims).eval(), images(dims=dims)
    monai = SaliencyInferer("GradCAM", LAYER, class_idx=2)(x, network)
    ours = AttentionInferer("GradCAM", LAYER, class_idx=2)(x, network)
    assert ours.shape == monai.shape == x.shape
    assert ours.dtype == torch.float32


@pytest.mark.parametrize(("name", "post"), [("GradCAM", "relu"), ("gradcam", "relu")])
def test_raw_values_are_monais_before_its_normaliser(name, post):
    network, x = densenet().eval(), images()
    expected = GradCAM(network, LAYER).compute_map(x, class_idx=1)  # its ReLU is inside
    found = AttentionInferer(name, LAYER, class_idx=1)(x, network)
    at_centres = attention_maps(network, x, method="gradcam", targets=1, layer=LAYER)
    torch.testing.assert_close(at_centres.values.clamp_min(0), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, at_centres.on_image())


def test_without_a_class_each_item_has_its_own_highest():
    """MONAI multiplies the scores of all pairs of items: its maps of a batch are not those of its items."""
    network = densenet().eval()
    x = torch.cat([images() * 5, -3 * images()])
    with torch.no_grad():  # no class is the highest of all items
        network.class_layers.out.bias -= network(x).mean(0)
    best = network(x).argmax(1)
    assert len(best.unique()) > 1
    found = AttentionInferer("GradCAM", LAYER)(x, network)
    for item, label in enumerate(best.tolist()):
        alone = AttentionInferer("GradCAM", LAYER, class_idx=label)(x[item : item + 1], network)
        torch.testing.assert_close(found[item], alone[0], rtol=1e-4, atol=1e-6)


def test_nothing_is_left_on_the_network_under_no_grad_and_frozen():
    network = densenet().train().requires_grad_(False)
    flags = [module.training for module in network.modules()]
    inferer = AttentionInferer("HiResCAM", LAYER, class_idx=[0, 3])
    with torch.no_grad():
        for _ in range(2):
            assert inferer(images(), network).shape == (3, 2, 32, 32, 32)
    assert [module.training for module in network.modules()] == flags
    assert not any(m._forward_hooks or m._backward_hooks for m in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_metadata_of_the_input_go_on_to_the_maps():
    affine = torch.diag(torch.tensor([0.7, 0.7, 2.0, 1.0], dtype=torch.float64))
    x = MetaTensor(images(2), affine=affine, meta={"filename_or_obj": ["a", "b"]})
    found = AttentionInferer(target_layers=LAYER)(x, densenet())
    assert isinstance(found, MetaTensor)
    torch.testing.assert_close(found.affine, affine)
    assert found.meta["filename_or_obj"] == ["a", "b"]


def test_own_layer_postprocessing_segmentation_and_yaml():
    network, x = densenet().eval(), images(1)
    own = AttentionInferer()(x, network)
    torch.testing.assert_close(own, AttentionInferer(target_layers=LAYER)(x, network), rtol=1e-3, atol=1e-6)
    scaled = AttentionInferer(target_layers=LAYER, postprocessing=scale_to_one)(x, network)
    assert scaled.abs().max() == pytest.approx(1)
    unet = UNet(3, 1, 3, (4, 8), (2,)).eval()
    assert AttentionInferer(target_layers="model.0", class_idx=2)(x, unet).shape == x.shape
    config = {"inferer": {"_target_": "organcam.inferers.AttentionInferer", "cam_name": "GradCAMpp", "class_idx": 1}}
    built = ConfigParser(config).get_parsed_content("inferer")
    assert (built.method, built.class_idx) == ("gradcam_plus_plus", 1)


def test_wrong_words_are_told():
    with pytest.raises(ValueError, match="did you mean 'gradcam'"):
        AttentionInferer("GradCAMM")
    with pytest.raises(TypeError, match="got function"):
        AttentionInferer()(images(1), lambda x: x)
    with pytest.raises(ValueError, match=f"did you mean '{LAYER}'"):
        AttentionInferer(target_layers="class_layer.relu")(images(1), densenet())
