"""Two processes train what one trains with the same scans a step, and come to the same end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from organcam.config import TrainConfig
from organcam.engines import distributed, train_model
from organcam.errors import ConfigError, OrganCamError
from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.networks import AxialNet
from organcam.runner import torchrun_launch

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of unix")

ONE_OF_THEM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from conftest import GRID, SHAPE, make_items
from organcam.config import InputConfig, TrainConfig
from organcam.engines import TrainingError, joined, loader, train_model, training_transforms
from organcam.losses import ClassAndMaskLoss, MaskLoss
from organcam.networks import AxialNet
from organcam.runner import interruptible, torchrun_launch

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
fate = dict(word.split("=") for word in sys.argv[3:])
launch = torchrun_launch()


class Mortal(ClassAndMaskLoss):
    calls = 0

    def forward(self, prediction, target):
        loss = super().forward(prediction, target)
        if torch.is_grad_enabled():
            Mortal.calls += 1
            if (launch.rank, Mortal.calls) == (int(fate.get("rank", -1)), int(fate.get("call", 0))):
                if fate["what"] == "nan":
                    return loss * float("nan")
                os.kill(os.getpid(), int(fate["what"]))
        return loss


with joined(launch, "gloo"), interruptible():
    settings = TrainConfig(**{settings!r})
    items = make_items(folder / str(launch.rank), 8)
    steps = training_transforms(InputConfig(shape=SHAPE), GRID, augment=True, layout="slabs")
    loaders = tuple(loader(items, steps, settings, 6 * 16 * 16, 0, shuffle) for shuffle in (True, False))
    torch.manual_seed(0)
    network = AxialNet(
        2, backbone="small", input_shape=SHAPE, head_channels=(4,), head_kernel=1, frozen_norm=True, chunk=1,
        checkpoint=True,
    )
    loss = Mortal(MaskLoss(reduction="sum"), weight=1.0)
    try:
        done = train_model(network, loss, loaders, settings, folder=out, organ_iou=True, ramp=0.5)
    except TrainingError as error:
        print(f"process {{launch.rank}}: {{error}}", flush=True)
        raise SystemExit(9)
    torch.save({{"weights": done.weights, "rows": done.log.rows}}, out / f"done-{{launch.rank}}.pt")
"""
SHAPE = (6, 16, 16)
SETTINGS = {"epochs": 2, "batch_size": 4, "device": "cpu", "augment": True, "optimizer": "sgd"}


def torchrun(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.run(
        [*command, str(script), *arguments], capture_output=True, encoding="utf-8", timeout=300, check=False
    )


def write_script(folder: Path) -> Path:
    for rank in (0, 1):
        (folder / str(rank)).mkdir()
    path = folder / "one_of_them.py"
    path.write_text(ONE_OF_THEM.format(tests=str(Path(__file__).parent), settings=SETTINGS))
    return path


def results(out: Path) -> list[dict]:
    return [torch.load(out / f"done-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = torchrun(write_script(folder), str(folder), str(folder / "two"))
    assert ended.returncode == 0, ended.stderr
    return folder / "two"


def test_two_processes_come_to_the_loss_and_weights_of_one(undisturbed, build, tmp_path):
    """Each takes two of a step's four scans; attention and mask loss, ramp, recomputation, metrics."""
    first, second = results(undisturbed)
    settings = TrainConfig(**SETTINGS)
    _, loaders = build(settings)
    torch.manual_seed(0)
    network = AxialNet(2, backbone="small", input_shape=SHAPE, head_channels=(4,), head_kernel=1, frozen_norm=True)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    loss = ClassAndMaskLoss(MaskLoss(reduction="sum"), weight=1.0)
    one = train_model(network, loss, loaders, settings, folder=tmp_path / "one", organ_iou=True, ramp=0.5)
    for name, value in one.weights.items():
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-4, atol=1e-6)
        assert torch.equal(first["weights"][name], second["weights"][name])
    assert any(not torch.allclose(value, start[name], atol=1e-4) for name, value in one.weights.items())
    assert first["rows"] == second["rows"]
    for row, expected in zip(first["rows"], one.log.rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)
    assert sorted(path.name for path in undisturbed.glob("*point*")) == ["checkpoint_1.pt", "checkpoint_2.pt"]


def test_a_signal_to_one_process_saves_inside_the_epoch_and_ends_all(undisturbed, tmp_path):
    script, arguments = write_script(tmp_path), (str(tmp_path), str(tmp_path / "parts"))
    stopped = torchrun(script, *arguments, "rank=1", "call=3", f"what={int(signal.SIGTERM)}")
    assert stopped.returncode != 0
    names = sorted(path.name for path in (tmp_path / "parts").glob("*.pt"))
    assert names == ["checkpoint_1.pt", "checkpoint_1_1.pt"]
    assert torchrun(script, *arguments).returncode == 0
    for whole, resumed in zip(results(undisturbed), results(tmp_path / "parts"), strict=True):
        assert resumed["rows"] == whole["rows"]
        assert all(torch.equal(value, whole["weights"][name]) for name, value in resumed["weights"].items())


def test_a_loss_that_is_not_finite_in_one_process_ends_the_training_in_both(tmp_path):
    ended = torchrun(write_script(tmp_path), str(tmp_path), str(tmp_path / "parts"), "rank=1", "call=3", "what=nan")
    assert ended.returncode != 0
    for rank in (0, 1):
        assert f"process {rank}: training loss became nan in epoch 2, iteration 1 of 2 (scans " in ended.stdout


@pytest.fixture
def launched(monkeypatch):
    """The environment of the first of two processes."""

    def launched(**changes: str | None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        usual = {
            "RANK": "0",
            "WORLD_SIZE": "2",
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        for name, value in {**usual, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return torchrun_launch()

    return launched


def test_a_port_in_use_is_told(launched):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        launch = launched(MASTER_PORT=str(taken.getsockname()[1]))
        problem = pytest.raises(OrganCamError, match=r"port of 127\.0\.0\.1:\d+ is in use.*--master_port")
        with problem, distributed.joined(launch, "gloo"):
            pass


def test_a_process_that_never_comes_is_waited_for_a_bounded_time(launched, monkeypatch):
    monkeypatch.setattr(distributed, "SILENCE", timedelta(seconds=1))
    problem = pytest.raises(OrganCamError, match=r"process 0 waited .* not all of the 2 came")
    with problem, distributed.joined(launched(), "gloo"):
        pass


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": "2"}, r"RANK=2 of WORLD_SIZE=2: the processes are numbered from 0 to 1"),
        ({"RANK": "first"}, r"RANK=first is no number"),
        ({"RANK": None, "MASTER_PORT": None}, r"WORLD_SIZE is set and RANK, MASTER_PORT not"),
    ],
)
def test_an_environment_that_does_not_go_together_is_refused(launched, changes, message):
    with pytest.raises(ConfigError, match=message):
        launched(**changes)


def test_a_process_that_is_alone_is_no_team(launched):
    assert launched(WORLD_SIZE="1") is None
    assert distributed.team_of_process() is None
