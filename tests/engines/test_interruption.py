"""Told to stop at any step, inside an epoch or its validation, a training goes on to the same weights bit for bit."""

from __future__ import annotations

import random
import re
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose
from torch import nn

from organcam.config import TrainConfig
from organcam.engines import train_model
from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.runner import Interrupted, interruptible


class Draws(ClassAndMaskLoss):
    """A loss that draws from every random stream, as dropout does, and sends a signal at the n-th call of a kind."""

    def __init__(self, training: bool = True, number: int = 0):
        super().__init__(MaskLoss(), weight=1.0)
        self.at = (training, number)
        self.calls = {True: 0, False: 0}

    def forward(self, prediction, target):
        training = torch.is_grad_enabled()
        self.calls[training] += 1
        if (training, self.calls[training]) == self.at:
            signal.raise_signal(signal.SIGTERM)
        loss = super().forward(prediction, target)
        noise = float(torch.rand(())) + np.random.rand() + random.random()
        return loss * (1 + noise) if training else loss


def stopped_and_gone_on_with(train, folder: Path, settings: TrainConfig, **at):
    with pytest.raises(Interrupted) as stopped, interruptible():
        train(folder, settings, Draws(**at), ramp=0.5, seed=3)
    assert stopped.value.number == signal.SIGTERM
    files = sorted(path.name for path in folder.iterdir())
    return files, train(folder, settings, Draws(), ramp=0.5, seed=3)


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.log.frame(), other.log.frame(), check_exact=True)
    assert one.epoch == other.epoch
    assert all(torch.equal(value, other.weights[name]) for name, value in one.weights.items())


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9])
def test_a_signal_in_any_step_of_an_epoch(train, tmp_path, number):
    """Three steps an epoch (3, 3 and 2 scans), three epochs."""
    settings = TrainConfig(epochs=3, batch_size=3, device="cpu", augment=True)
    whole = train(tmp_path / "whole", settings, Draws(), ramp=0.5, seed=3)
    files, resumed = stopped_and_gone_on_with(train, tmp_path / "parts", settings, number=number)
    epochs, steps = divmod(number, 3)
    if not steps:  # of the step that ends an epoch, whose validation is still to come
        epochs, steps = epochs - 1, 3
    assert f"checkpoint_{epochs}_{steps}.pt" in files
    assert_same(whole, resumed)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["checkpoint_2.pt", "checkpoint_3.pt"]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd", "cache_gb": 0.0, "loader_workers": 2},
        {"amp": "float16"},
        {"amp": "bfloat16"},
        {"keep": "best", "validate_every": 2, "patience": 5},
    ],
    ids=str,
)
def test_every_part_of_the_state_goes_on(train, tmp_path, options):
    settings = TrainConfig(epochs=3, batch_size=3, device="cpu", augment=True, **options)
    whole = train(tmp_path / "whole", settings, Draws(), ramp=0.5, seed=3)
    files, resumed = stopped_and_gone_on_with(train, tmp_path / "parts", settings, number=5)
    assert "checkpoint_1_2.pt" in files
    assert_same(whole, resumed)
    states = [
        torch.load(tmp_path / name / "checkpoint_3.pt", weights_only=True)["scaler"] for name in ("whole", "parts")
    ]
    assert states[0] == states[1]


def test_a_signal_in_a_validation(train, tmp_path):
    """The validation is done again from its beginning, and nothing else."""
    settings = TrainConfig(epochs=3, batch_size=3, device="cpu")
    whole = train(tmp_path / "whole", settings, Draws(), ramp=0.5, seed=3)
    files, resumed = stopped_and_gone_on_with(train, tmp_path / "parts", settings, training=False, number=4)
    assert files == ["checkpoint_1.pt", "checkpoint_1_3.pt"]
    assert_same(whole, resumed)


def test_a_signal_in_the_last_step_of_a_validation_ends_before_the_next_epoch(train, tmp_path):
    settings = TrainConfig(epochs=3, batch_size=3, device="cpu")
    whole = train(tmp_path / "whole", settings, Draws(), ramp=0.5, seed=3)
    files, resumed = stopped_and_gone_on_with(train, tmp_path / "parts", settings, training=False, number=3)
    assert files == ["checkpoint_1.pt"]
    assert_same(whole, resumed)


def test_stopped_again_and_again(train, tmp_path):
    settings = TrainConfig(epochs=2, batch_size=3, device="cpu", augment=True)
    whole = train(tmp_path / "whole", settings, Draws(), ramp=0.5, seed=3)
    for _ in range(6):  # one step at a time; the signal of a third step stops the validation too
        with pytest.raises(Interrupted), interruptible():
            train(tmp_path / "parts", settings, Draws(number=1), ramp=0.5, seed=3)
    assert_same(whole, train(tmp_path / "parts", settings, Draws(), ramp=0.5, seed=3))


def test_a_damaged_file_inside_an_epoch_costs_that_epoch_s_steps(train, tmp_path):
    settings = TrainConfig(epochs=3, batch_size=3, device="cpu")
    whole = train(tmp_path / "whole", settings, Draws(), ramp=0.5, seed=3)
    with pytest.raises(Interrupted), interruptible():
        train(tmp_path / "parts", settings, Draws(number=5), ramp=0.5, seed=3)
    (tmp_path / "parts" / "checkpoint_1_2.pt").write_bytes(b"cut")
    assert_same(whole, train(tmp_path / "parts", settings, Draws(), ramp=0.5, seed=3))
    assert (tmp_path / "parts" / "checkpoint_1_2.pt.damaged").exists()


def test_files_inside_an_epoch_are_written_as_often_as_asked(train, tmp_path):
    """After every step; of those inside an epoch only the newest is kept."""
    settings = TrainConfig(epochs=2, batch_size=3, device="cpu", save_minutes=1e-9)
    seen = []

    class Looks(Draws):
        def forward(self, prediction, target):
            if torch.is_grad_enabled():
                seen.append(sorted(path.name for path in (tmp_path / "m").iterdir()))
            return super().forward(prediction, target)

    train(tmp_path / "m", settings, Looks())
    assert seen == [
        [],
        ["checkpoint_0_1.pt"],
        ["checkpoint_0_2.pt"],
        ["checkpoint_1.pt"],
        ["checkpoint_1.pt", "checkpoint_1_1.pt"],
        ["checkpoint_1.pt", "checkpoint_1_2.pt"],
    ]
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["checkpoint_1.pt", "checkpoint_2.pt"]


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(1, 1)

    def forward(self, x):
        return self.line(x)


def test_somebody_s_own_loader_goes_on_from_its_last_epoch(tmp_path):
    """Nobody knows what its second half would be."""
    data = Dataset([{"image": torch.tensor([float(value)]), "label": torch.ones(1)} for value in range(4)], Compose([]))
    calls = []

    def loss(prediction, target):
        calls.append(None)
        if len(calls) == 7:  # two steps and two validation batches an epoch
            signal.raise_signal(signal.SIGTERM)
        return prediction["logits"].square().mean()

    def once(folder):
        torch.manual_seed(0)
        batches = DataLoader(data, batch_size=2, shuffle=True)
        settings = TrainConfig(epochs=3, device="cpu")
        return train_model(Line(), loss, (batches, batches), settings, folder=folder)

    with pytest.raises(Interrupted), interruptible():
        once(tmp_path / "parts")
    names = [path.name for path in (tmp_path / "parts").iterdir()]
    assert [name for name in names if re.fullmatch(r"checkpoint_\d+\.pt", name)] == names == ["checkpoint_1.pt"]
    assert_same(once(tmp_path / "whole"), once(tmp_path / "parts"))
