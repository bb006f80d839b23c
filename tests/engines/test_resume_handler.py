"""Anybody's MONAI training, stopped after any epoch, comes to the same weights bit for bit."""

from __future__ import annotations

import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from torch import nn

from organcam.engines import ResumeHandler
from organcam.errors import OrganCamError

EPOCHS = 4


def train(folder, epochs, width=6, seed=0):
    """A training with everything random: order of the scans, dropout, weights at the start."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1)
    items = [{"image": torch.randn(1, 8, 8, generator=generator), "label": torch.tensor(n % 2)} for n in range(10)]
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Dropout(0.5), nn.Linear(width, 2))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
    seen = []
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(Dataset(items), batch_size=4, shuffle=True),
        network=network,
        optimizer=optimizer,
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[ResumeHandler(folder, lr_scheduler=scheduler)],
    )
    from ignite.engine import Events

    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: seen.append(engine.state.epoch))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: scheduler.step())
    trainer.run()
    return network, seen, optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("stop", [1, 3])
def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path, stop):
    whole, seen, rate = train(tmp_path / "whole", EPOCHS)
    assert seen == [1, 2, 3, 4]
    train(tmp_path / "parts", stop)
    again, seen, other = train(tmp_path / "parts", EPOCHS, seed=7)
    assert seen == list(range(stop + 1, EPOCHS + 1))
    assert other == rate
    for one, two in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_a_finished_training_does_nothing_and_a_damaged_file_is_put_aside(tmp_path):
    first, _, _ = train(tmp_path, 2)
    same, seen, _ = train(tmp_path, 2, seed=5)
    assert seen == []
    assert torch.equal(first[1].weight, same[1].weight)
    content = (tmp_path / "checkpoint_2.pt").read_bytes()
    (tmp_path / "checkpoint_2.pt").write_bytes(content[: len(content) // 2])
    again, seen, _ = train(tmp_path, 2, seed=5)
    assert seen == [2]
    assert torch.equal(first[1].weight, again[1].weight)
    assert (tmp_path / "checkpoint_2.pt.damaged").is_file()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    train(tmp_path, 1)
    with pytest.raises(OrganCamError, match="another training"):
        train(tmp_path, 2, width=9)


def test_it_is_made_of_yaml_scalars(tmp_path):
    config = {"handler": {"_target_": "organcam.engines.ResumeHandler", "output_dir": str(tmp_path)}}
    handler = ConfigParser(config).get_parsed_content("handler")
    assert isinstance(handler, ResumeHandler)
    assert handler.output_dir == tmp_path
