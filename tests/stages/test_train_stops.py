"""The train command, stopped or killed inside an epoch, goes on to the same weights bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from organcam.errors import ConfigError
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of unix")

SETTINGS = (
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 6, valid: 3, test: 1, shifted: 1}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    "labels.min_positives=2",
    "train.epochs=3",
    "train.batch_size=2",
    "train.augment=true",
    "train.device=cpu",
    "train.parallel=false",
    "network={name: mortal, backbone: small}",
    "models={masked: {mask_loss: {weight: 5}}}",
)
BEFORE = ("phantom", "ingest", "parse", "segment", "store", "regions")

MORTAL = """
import os, signal, sys
from organcam import cli
from organcam.networks import NETWORKS, AxialNet

@NETWORKS.register("mortal")
class Mortal(AxialNet):
    passes = 0

    def forward(self, x, attention=False):
        if self.training:
            Mortal.passes += 1
            here = os.environ.get("RANK", "0") == os.environ.get("IN_PROCESS", "0")
            if here and Mortal.passes == int(os.environ.get("AT_PASS", 0)):
                os.kill(os.getpid(), int(os.environ["BY_SIGNAL"]))
        return super().forward(x, attention)

cli.main()
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with everything that training needs, and the script beside it."""
    folder = tmp_path_factory.mktemp("training")
    settings = [setting.replace("mortal", "axialnet") for setting in SETTINGS]
    run_workflow(load_workflow("phantom", settings), folder / "run", executor="serial", stages=BEFORE)
    (folder / "mortal.py").write_text(MORTAL)
    return folder


def train(
    prepared: Path,
    out: Path,
    number: int = 0,
    at: int = 0,
    process: int = 0,
    settings: tuple[str, ...] = (),
    count: int = 1,
) -> subprocess.CompletedProcess[str]:
    """The train command in one or several processes, one of which is sent a signal in a training pass."""
    if not out.exists():
        shutil.copytree(prepared / "run", out)
    torchrun = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}") if count > 1 else ()
    command = [sys.executable, *torchrun, str(prepared / "mortal.py"), "train", "--out", str(out)]
    surroundings = {**os.environ, "BY_SIGNAL": str(int(number)), "AT_PASS": str(at), "IN_PROCESS": str(process)}
    return subprocess.run(
        [*command, "--executor", "serial", "--set", "network.name=mortal"],
        env=surroundings,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def uninterrupted(prepared: Path) -> Path:
    out = prepared / "uninterrupted"
    ended = train(prepared, out)
    assert ended.returncode == 0, ended.stderr
    return out


def checkpoints(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "models" / "candidates").glob("*.checkpoints/*.pt"))


def assert_same_models(one: Path, other: Path) -> None:
    states = [torch.load(out / "models" / "masked" / "model.pt", weights_only=True) for out in (one, other)]
    assert all(torch.equal(value, states[1]["weights"][name]) for name, value in states[0]["weights"].items())
    curves = [pd.read_csv(out / "models" / "masked" / "metrics.csv") for out in (one, other)]
    pd.testing.assert_frame_equal(*curves, check_exact=True)


def test_sigterm_inside_an_epoch_saves_and_the_same_command_goes_on(prepared, uninterrupted, tmp_path):
    out = tmp_path / "run"
    stopped = train(prepared, out, signal.SIGTERM, at=5)
    assert stopped.returncode == 75, stopped.stderr
    assert "stopped by SIGTERM; the same command goes on from here" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert checkpoints(out) == ["checkpoint_1.pt", "checkpoint_1_2.pt"]
    assert json.loads((out / "run.json").read_text())["status"] == "interrupted"
    assert not (out / ".lock").exists()
    again = train(prepared, out)
    assert again.returncode == 0, again.stderr
    assert "goes on from checkpoint_1_2.pt" in again.stderr
    assert_same_models(uninterrupted, out)


def test_killed_in_an_epoch_it_goes_on_from_its_last_file(prepared, uninterrupted, tmp_path):
    out = tmp_path / "run"
    assert train(prepared, out, signal.SIGKILL, at=6).returncode == -signal.SIGKILL
    assert checkpoints(out) == ["checkpoint_1.pt"]
    again = train(prepared, out)
    assert again.returncode == 0, again.stderr
    assert_same_models(uninterrupted, out)
    assert not list(out.rglob("*.tmp"))


def test_a_process_of_torchrun_that_dies_ends_the_job_and_the_same_command_goes_on(prepared, tmp_path):
    """Process 0 alone writes; what the two have trained is up to date for a run in one process."""
    out = tmp_path / "run"
    died = train(prepared, out, signal.SIGKILL, at=5, process=1, count=2)
    assert died.returncode != 0
    assert "lost contact with another process of this training" in died.stderr
    assert "the same command goes on" in died.stderr
    assert "checkpoint_1.pt" in checkpoints(out)
    again = train(prepared, out, count=2)
    assert again.returncode == 0, again.stderr
    assert "goes on from checkpoint_1" in again.stderr
    assert again.stderr.count("epoch 3/3") == 1
    assert len(pd.read_csv(out / "models" / "masked" / "metrics.csv")) == 3
    assert not (out / ".lock").exists()
    assert not list(out.rglob("*.tmp"))
    alone = train(prepared, out)
    assert alone.returncode == 0, alone.stderr
    assert "train     0 done, 2 up to date" in alone.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.batch_size=3", "train.batch_size: 3 scans a step cannot be shared by 2 processes"),
        ("train.parallel=true", "train.parallel: models trained side by side cannot be joined"),
    ],
)
def test_settings_that_two_processes_cannot_train_with_are_told_at_once(
    prepared, tmp_path, monkeypatch, setting, message
):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    workflow = load_workflow("phantom", [*SETTINGS, "network.name=axialnet", setting])
    with pytest.raises(ConfigError, match=message):
        run_workflow(
            workflow, shutil.copytree(prepared / "run", tmp_path / "run"), executor="serial", stages=("train",)
        )
