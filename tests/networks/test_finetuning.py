import pytest
import torch

from organcam.networks import Pylon, ResNet18, set_trainable


def step(network, parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    x = torch.randn(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.nn.functional.binary_cross_entropy_with_logits(network(x), torch.tensor([[1.0, 0.0], [0.0, 1.0]])).backward()
    optimizer.step()


def test_first_phase_moves_decoder_head_and_running_statistics_only():
    torch.manual_seed(0)
    network = Pylon(2, backbone="small").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step(network, set_trainable(network, "head"))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    parameters = {name for name, _ in network.named_parameters()}
    assert not {name for name in moved & parameters if name.startswith("backbone.")}
    assert {"head.weight", "decoder.pyramid.mid.conv.weight"} <= moved
    assert "backbone.bn1.running_mean" in moved


def test_second_phase_trains_everything_again():
    network = Pylon(2, backbone="small").train()
    set_trainable(network, "head")
    trained = set_trainable(network, "all")
    assert [id(p) for p in trained] == [id(p) for p in network.parameters()]
    before = network.backbone.conv1.weight.clone()
    step(network, trained)
    assert not torch.equal(before, network.backbone.conv1.weight)


@pytest.mark.parametrize(
    ("network", "phase", "words"),
    [
        (lambda: Pylon(2, backbone="small"), "heads", "unknown phase 'heads' of fine-tuning: did you mean 'head'"),
        (ResNet18, "head", "ResNet18 has no backbone to freeze"),
    ],
)
def test_what_cannot_be_is_refused(network, phase, words):
    with pytest.raises(ValueError, match=words):
        set_trainable(network(), phase)
