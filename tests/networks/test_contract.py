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

SHAPE = (12, 96, 128)


@pytest.mark.parametrize("name", NETWORKS.names())
def test_registered_networks_hold_to_the_contract(name):
    with torch.device("meta"):
        network = NETWORKS.build(name, num_labels=2, backbone="resnet18", input_shape=SHAPE)
    contract = contract_of(nn.DataParallel(network))
    assert contract is network
    assert isinstance(network, NetworkContract)
    assert (contract.input_layout, contract.input_shape, contract.call_order) == ("slabs", SHAPE, "items")
    own = contract.feature_grid(SHAPE)
    assert grid_of_layer(network, contract.attention_layer, (4, 3, *SHAPE[1:])) == own


@pytest.mark.parametrize("name", NETWORKS.names())
def test_own_grids_are_what_probing_finds(name):
    with torch.device("meta"):
        network = NETWORKS.build(name, num_labels=2, backbone="resnet18", input_shape=SHAPE)
    own = network.feature_grid(SHAPE)
    found = probe_grid(network, network.get_submodule(network.attention_layer), (4, 3, *SHAPE[1:]), "slabs")
    assert found.shape == own.shape
    np.testing.assert_allclose(found.stride, own.stride, atol=1e-3)
    np.testing.assert_allclose(found.offset, own.offset, atol=1e-3)


def test_other_layers_of_a_declared_network_are_probed_in_its_layout():
    network = AxialNet(2, backbone="small", input_shape=(9, 32, 48))
    grid = grid_of_layer(network, "backbone.maxpool", (3, 3, 32, 48))
    stem = [Layer(6, 2, 2), Layer(2, 2)]
    assert grid == grid_of_layers((9, 32, 48), ([Layer(3, 3)], stem, stem))


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
        ("input_layout", "slab", "declares input_layout 'slab': did you mean 'slabs'"),
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
