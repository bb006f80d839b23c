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
            if Mortal.passes == int(os.environ.get("AT_PASS", 0)):
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


def train(prepared: Path, out: Path, number: int = 0, at: int = 0) -> subprocess.CompletedProcess[str]:
    if not out.exists():
        shutil.copytree(prepared / "run", out)
    command = [sys.executable, str(prepared / "mortal.py"), "train", "--out", str(out), "--executor", "serial"]
    surroundings = {**os.environ, "BY_SIGNAL": str(int(number)), "AT_PASS": str(at)}
    return subprocess.run(
        [*command, "--set", "network.name=mortal"],
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
