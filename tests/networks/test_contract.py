"""Every registered network holds to the contract, and says of its cells what probing finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from organcam.contract import UndeclaredNetwork, contract_of, grid_of_layer, voxels_of
from organcam.geometry import Layer, grid_of_layers
from organcam.networks import NETWORKS, AxialNet, NetworkContract
from organcam.probing import probe_grid

SHAPE = (24, 320, 352)  # leaves AxialNet's four unpadded convolutions two cells
OPTIONS = {
    "bodyconv": {"depth_stride": 1},
    "conv3d": {"strides": [[2, 3, 3], [1, 3, 3], [1, 2, 2], [1, 1, 1]]},
}


NAMES = [name for name in NETWORKS.names() if not name.startswith("monai.")]  # those have tests of their own


def _build(name):
    options = OPTIONS.get(name, {}) if name == "conv3d" else {"backbone": "resnet18", **OPTIONS.get(name, {})}
    with torch.device("meta"):
        return NETWORKS.build(name, num_labels=2, input_shape=SHAPE, **options)


def _item_shape(network):
    return (8, 3, *SHAPE[1:]) if network.input_layout == "slabs" else (1, *SHAPE)


@pytest.mark.parametrize("name", NAMES)
def test_registered_networks_hold_to_the_contract(name):
    network = _build(name)
    contract = contract_of(nn.DataParallel(network))
    assert contract is network
    assert isinstance(network, NetworkContract)
    assert (contract.input_shape, contract.call_order) == (SHAPE, "items")
    assert contract.input_layout == ("volume" if name == "conv3d" else "slabs")
    own = contract.feature_grid(SHAPE)
    assert grid_of_layer(network, contract.attention_layer, _item_shape(network)) == own


# Masked pooling gives no logits without the allowed cells, which probing does not have.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "masked_pooling"])
def test_own_grids_are_what_probing_finds(name):
    network = _build(name)
    own = network.feature_grid(SHAPE)
    layer = network.get_submodule(network.attention_layer)
    found = probe_grid(network, layer, _item_shape(network), network.input_layout)
    assert found.shape == own.shape
    np.testing.assert_allclose(found.stride, own.stride, atol=1e-3)
    np.testing.assert_allclose(found.offset, own.offset, atol=1e-3)


def test_other_layers_of_a_declared_network_are_probed_in_its_layout():
    network = AxialNet(2, backbone="small", input_shape=(9, 32, 48))
    grid = grid_of_layer(network, "backbone.maxpool", (3, 3, 32, 48))
    stem = [Layer(6, 2, 2), Layer(2, 2)]
    assert grid == grid_of_layers((9, 32, 48), ([Layer(3, 3)], stem, stem))


def test_single_images_of_a_slab_wise_network_lie_as_a_slab_does():
    network = NETWORKS.build("pylon", num_labels=2, input_shape=(9, 64, 96), backbone="small")
    image = grid_of_layer(network, network.attention_layer, (3, 64, 96))
    whole = network.feature_grid((9, 64, 96))
    assert (image.shape, image.stride, image.offset) == (whole.shape[1:], whole.stride[1:], whole.offset[1:])


def test_a_changed_network_is_probed_anew():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.Flatten())
    assert grid_of_layer(network, "0", (1, 16, 16)).stride == (2, 2)
    network[0].stride = (4, 4)
    assert grid_of_layer(network, "0", (1, 16, 16)).stride == (4, 4)


class HalfDeclared(nn.Module):
    """Attributes of the contract's names that mean something else."""

    def __init__(self):
        super().__init__()
        self.linear_head = nn.Linear(4, 2)
        self.attention_layer = nn.Conv3d(1, 4, 3)


def test_what_is_not_the_whole_contract_is_none():
    assert isinstance(contract_of(HalfDeclared()), UndeclaredNetwork)
    assert not isinstance(HalfDeclared(), NetworkContract)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("input_layout", "slab", "^AxialNet declares input_layout 'slab': did you mean 'slabs'"),
        ("call_order", "chunks", "declares call_order 'chunks': Legal: items, slabs"),
    ],
)
def test_wrong_declarations_are_refused(name, value, words):
    network = AxialNet(2, backbone="small", input_shape=(9, 32, 48))
    setattr(network, name, value)
    with pytest.raises(ValueError, match=words):
        contract_of(network)


def test_a_layer_without_places_is_named():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for _ in range(2):  # also when it is known already
        with pytest.raises(ValueError, match="layer '2' of Sequential has no feature grid: .* is no map"):
            grid_of_layer(network, "2", (1, 16, 16))


def test_voxels():
    assert voxels_of((5, 3, 32, 48), "slabs") == (15, 32, 48)
    assert voxels_of((2, 7, 8, 9), "volume") == (7, 8, 9)
