"""Modules of a network: found by name or as themselves, inside wrappers, and left as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from organcam.modules import find_module, name_of_module, suggest_modules, untouched, unwrap


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.blocks = nn.Sequential(nn.Conv2d(2, 2, 3), nn.InstanceNorm2d(2))
        self.drop, self.fc = nn.Dropout(0.5), nn.Linear(2, 1)

    def forward(self, x):
        return self.fc(self.drop(self.blocks(self.stem(x)).mean((2, 3))))


def test_wrappers_are_taken_off_in_any_order():
    network = Network()
    for wrapped in (
        network,
        nn.DataParallel(network),
        torch.compile(network),
        torch.compile(nn.DataParallel(network)),
        nn.DataParallel(torch.compile(network)),
        nn.DataParallel(nn.DataParallel(network)),
    ):
        assert unwrap(wrapped) is network


def test_distributed_networks_are_unwrapped(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        network = Network()
        assert unwrap(nn.parallel.DistributedDataParallel(network)) is network
    finally:
        torch.distributed.destroy_process_group()


def test_an_attribute_called_module_is_no_wrapper():
    network = Network()
    network.module = nn.Linear(1, 1)
    assert unwrap(network) is network


@pytest.mark.parametrize("device", [None, torch.device("cpu")])
def test_inside_it_evaluates_in_full_precision_and_with_gradients(device):
    network = Network().train()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), untouched(network, device):
        assert not any(module.training for module in network.modules())
        x = torch.ones(1, 1, 8, 8, requires_grad=True)
        y = network(x)
        assert y.dtype == torch.float32
        y.sum().backward()
        assert x.grad is not None


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_flags_random_and_grad_state_are_restored(grad, fails):
    network = Network().train()
    network.stem.eval()
    flags = {name: module.training for name, module in network.named_modules()}
    assert set(flags.values()) == {True, False}
    with torch.set_grad_enabled(grad):
        random = torch.get_rng_state()
        try:
            with untouched(network):
                torch.rand(3)
                torch.set_grad_enabled(not grad)
                if fails:
                    raise RuntimeError
        except RuntimeError:
            assert fails
        assert torch.is_grad_enabled() == grad
        assert torch.equal(torch.get_rng_state(), random)
    assert {name: module.training for name, module in network.named_modules()} == flags


def test_a_layer_is_found_by_its_name_and_as_itself():
    network = Network()
    assert find_module(network, "stem.0") == ("stem.0", network.stem[0])
    assert find_module(network, network.blocks) == ("blocks", network.blocks)
    assert name_of_module(network, network.fc) == "fc"


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("block", "Network has no layer 'block'; did you mean 'blocks', 'blocks.1' or 'blocks.0'?"),
        ("dropt", "Network has no layer 'dropt'; did you mean 'drop'?"),
        ("abcdrop_xyz", "Network has no layer 'abcdrop_xyz'; did you mean 'drop'?"),
        ("zzz", "Network has no layer 'zzz'; its last spatial layers: stem.1, blocks.0, blocks.1"),
        ("", "Network has no layer ''; its last spatial layers: stem.1, blocks.0, blocks.1"),
        (nn.ReLU(), "the given ReLU is no layer of Network; its last spatial layers: stem.1, blocks.0, blocks.1"),
    ],
    ids=str,
)
def test_an_unknown_layer_is_answered_with_the_nearest(layer, message):
    with pytest.raises(ValueError, match="layer") as caught:
        find_module(Network(), layer)
    assert str(caught.value) == message


def test_the_network_itself_is_no_layer_of_its_own():
    network = Network()
    with pytest.raises(ValueError, match="^the given Network is no layer of Network"):
        find_module(network, network)


def test_what_is_neither_name_nor_module_is_refused():
    with pytest.raises(TypeError, match="^a layer is given by its name or as a module, got int$"):
        find_module(Network(), 3)


def test_suggestions_are_the_last_three_layers_that_give_maps():
    assert suggest_modules(Network().stem) == "its last spatial layers: 0, 1"
    assert suggest_modules(nn.Linear(1, 1)) == "it has no convolutions"
