"""MONAI's networks by name: what they are built with, where their cells lie, what their maps sum to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks import nets

from organcam.attention import attention_maps
from organcam.config import InputConfig
from organcam.contract import NetworkContract
from organcam.errors import ConfigError
from organcam.geometry import Layer, grid_of_layers
from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.networks import NETWORKS
from organcam.networks.monai_networks import MONAI_NETWORKS
from organcam.stages.grids import build_model, network_options

SHAPE = (24, 64, 96)
EFFICIENT = "EfficientNetBN"
TINY = {
    "monai.DenseNet": {"block_config": [1, 1, 1], "growth_rate": 4, "init_features": 8},
    "monai.resnet10": {"widen_factor": 0.125, "conv1_t_stride": 2},
    "monai.SEResNet50": {"layers": [1, 1, 1, 1], "reduction": 64},
    "monai.EfficientNetBN": {"model_name": "efficientnet-b0"},
    "monai.Classifier": {"channels": [4, 8], "strides": [4, 4], "num_res_units": 1},
}


def build(name, spatial_dims, shape=SHAPE):
    torch.manual_seed(0)
    return build_model({"name": name, "spatial_dims": spatial_dims, **TINY[name]}, InputConfig(shape=shape), 3)


def scans(spatial_dims, shape=SHAPE):
    torch.manual_seed(1)
    return torch.randn(2, 1, *shape) if spatial_dims == 3 else torch.randn(2, shape[0] // 3, 3, *shape[1:])


def test_the_list_is_fixed_and_every_name_is_monai_s_own():
    registered = {name.removeprefix("monai.") for name in NETWORKS.names() if name.startswith("monai.")}
    assert registered == set(MONAI_NETWORKS)
    assert all(hasattr(nets, name) for name in registered)
    assert "block_config" in network_options("monai.DenseNet121")
    for name in registered:
        assert not {"pretrained", "num_classes", "out_channels"} & set(network_options(f"monai.{name}"))


# EfficientNet's padding is that of images of 224 and leaves 24 slices nothing
@pytest.mark.parametrize(
    ("name", "spatial_dims"), [(name, dims) for name in TINY for dims in (2, 3) if (name[6:], dims) != (EFFICIENT, 3)]
)
def test_trains_with_the_mask_loss_and_its_map_sums_to_the_logit(name, spatial_dims):
    network = build(name, spatial_dims)
    assert isinstance(network, NetworkContract)
    x, grid = scans(spatial_dims), network.feature_grid(SHAPE)
    target = {"label": torch.eye(3)[:2], "allowed": torch.rand(2, 3, *grid.shape) < 0.5}
    prediction = network.train()(x, attention=True)
    ClassAndMaskLoss(MaskLoss(), weight=1.0)(prediction, target).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    # the map alone moves the weights below it, through the second derivative
    network.zero_grad()
    MaskLoss()(network(x, attention=True)["attention"], target["allowed"], target["label"]).backward()
    assert next(network.parameters()).grad.abs().sum() > 0

    found = attention_maps(network, x)  # in evaluation mode; linear layers follow the pooling
    linear = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    torch.testing.assert_close(found.values.flatten(2).sum(-1) + linear.bias, found.logits, atol=1e-4, rtol=1e-4)
    assert found.grid == grid
    torch.testing.assert_close(network.eval()(x).detach(), found.logits)


def test_cells_are_those_of_the_layers():
    stem = [Layer(7, 2, 3), Layer(3, 2, 1), *2 * [Layer(3, 1, 1)]]
    stages = 3 * [Layer(3, 2, 1), Layer(3, 1, 1)]
    slabs = (Layer(3, 3),)
    grid = build("monai.resnet10", 2).feature_grid(SHAPE)
    assert grid == grid_of_layers(SHAPE, (slabs, [*stem, *stages], [*stem, *stages]))
    # DenseNet: stem, three blocks, between them an average of two
    block = [Layer(1), Layer(3, 1, 1)]
    dense = [Layer(7, 2, 3), Layer(3, 2, 1), *block, Layer(2, 2), *block, Layer(2, 2), *block]
    found = build("monai.DenseNet", 3, (32, 64, 64)).feature_grid((32, 64, 64))
    assert found == grid_of_layers((32, 64, 64), (dense,) * 3)


def test_slabs_are_scored_alone_and_pooled():
    network = build("monai.DenseNet", 2).eval()
    x = scans(2)
    with torch.no_grad():
        alone = torch.stack([network.network(x[:, slab]) for slab in range(x.shape[1])]).mean(0)
        torch.testing.assert_close(network(x), alone)
        more = torch.cat([x, x], dim=1)
        torch.testing.assert_close(network(more), alone)
    whole = attention_maps(network, x).values
    network.chunk = 3
    torch.testing.assert_close(attention_maps(network, x).values, whole)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"name": "monai.DensNet121"}, "unknown network 'monai.DensNet121': did you mean 'monai.DenseNet121'"),
        ({"name": "monai.DenseNet121", "growth": 4}, "no such option 'growth', did you mean 'growth_rate'"),
        ({"name": "monai.DenseNet121", "growth_rate": "x"}, r"network.growth_rate: .* valid integer"),
        ({"name": "monai.resnet18", "out_channels": 4}, "no such option 'out_channels'"),
        ({"name": "monai.Classifier"}, "monai.Classifier needs channels and strides"),
        ({"name": "monai.resnet10", "layer": "layer5"}, "ResNet has no layer 'layer5'; did you mean 'layer4'"),
        ({"name": "monai.resnet10", "spatial_dims": 4}, "spatial_dims must be 2"),
        ({"name": "monai.resnet10", "pooling": "men"}, "did you mean 'mean'"),
        (
            {"name": "monai.DenseNet121", "spatial_dims": 3},
            r"monai.DenseNet121 does not take volumes of \(6, 64, 64\) voxels: .*smaller than kernel",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_sentence(line, words):
    with pytest.raises(ConfigError, match=words) as caught:
        build_model(line, InputConfig(shape=(6, 64, 64)), 2)
    assert "\n" not in str(caught.value)


def test_input_of_another_size_is_refused():
    network = build("monai.Classifier", 3)
    with pytest.raises(ValueError, match=r"expected input of \(24, 64, 96\) voxels, got \(27, 64, 96\)"):
        network.feature_grid((27, 64, 96))
    with pytest.raises(ValueError, match=r"expected input \[B, 1, 24, 64, 96\], got \[1, 1, 24, 64, 64\]"):
        network(torch.zeros(1, 1, 24, 64, 64))
    with pytest.raises(ValueError, match=r"expected input of \(3 S, 64, 96\) voxels"):
        build("monai.Classifier", 2).feature_grid((25, 64, 96))


def test_weights_of_other_labels_are_taken_without_the_last_layer(tmp_path):
    torch.manual_seed(2)
    source = nets.resnet10(spatial_dims=3, n_input_channels=1, num_classes=7, widen_factor=0.125, conv1_t_stride=2)
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in source.state_dict().items()}}, tmp_path / "a.pt"
    )
    line = {"name": "monai.resnet10", "spatial_dims": 3, **TINY["monai.resnet10"], "weights": str(tmp_path / "a.pt")}
    network = build_model(line, InputConfig(shape=SHAPE), 3)
    np.testing.assert_array_equal(network.network.conv1.weight.detach(), source.conv1.weight.detach())
    assert network.network.fc.out_features == 3
    less = {key: value for key, value in source.state_dict().items() if not key.startswith("layer4")}
    torch.save(less, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=r"a.pt' do not fit monai.resnet10: \d+ tensors are missing, first 'layer4"):
        build_model(line, InputConfig(shape=SHAPE), 3)
