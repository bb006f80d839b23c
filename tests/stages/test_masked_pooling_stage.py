"""Masked pooling from one workflow line, and that no report ever reaches what the network sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from organcam.networks import MaskedPoolingNetwork
from organcam.runner import read_failures
from organcam.stages.attention_files import read_attention
from organcam.stages.explain import load_model
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

NAMES = ["lung_nodule", "lung_mass", "heart_cardiomegaly"]
SETTINGS = (
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 6, valid: 3, test: 2}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    f"labels.names=[{', '.join(NAMES)}]",
    "labels.min_positives=0",
    "network={name: masked_pooling, backbone: small}",
    "train.epochs=1",
    "train.parallel=false",
    "models={plain: {}, penalised: {mask_loss: {weight: 1, absent: outside}}}",
    "explain.splits=[valid, test]",
    "report.scans=1",
)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, set[bytes]]:
    """Every scan that the network was given, and every region that came with it."""
    found: dict[bytes, set[bytes]] = {}
    forward, linear_head = MaskedPoolingNetwork.forward, MaskedPoolingNetwork.linear_head

    def keep(x: torch.Tensor, allowed: torch.Tensor) -> None:
        for scan, cells in zip(x, allowed, strict=True):
            regions = found.setdefault(scan.cpu().numpy().tobytes(), set())
            regions.add(np.packbits(cells.cpu().numpy()).tobytes() + str(tuple(cells.shape)).encode())

    def spied_forward(self, x, attention=False, allowed=None):
        keep(x, allowed)
        return forward(self, x, attention, allowed)

    def spied_head(self, x, allowed=None):
        keep(x, allowed)
        return linear_head(self, x, allowed)

    monkeypatch.setattr(MaskedPoolingNetwork, "forward", spied_forward)
    monkeypatch.setattr(MaskedPoolingNetwork, "linear_head", spied_head)
    return found


def test_trained_explained_and_judged_without_a_report_in_the_input(tmp_path: Path, seen: dict[bytes, set[bytes]]):
    straight = tmp_path / "straight"
    outcome = run_workflow(load_workflow("phantom", SETTINGS), straight, executor="serial")
    assert [failure for summary in outcome.summaries for failure in summary.failures] == []
    assert not read_failures(straight)
    summary = json.loads((straight / "evaluation" / "summary.json").read_text("utf-8"))
    assert set(summary["models"]) == {"plain", "penalised"}
    model = load_model(straight / "models" / "plain" / "model.pt", "cpu")
    assert [places[:3] for places in model.places] == [(1, 1, 0), (1, 1, 0), (0, 0, 1)]
    for path in sorted((straight / "attention" / "plain").glob("*.npz")):
        found = read_attention(path)
        added = found.maps["hirescam"].sum(axis=(1, 2, 3)) + model.network.head.bias.detach().numpy()
        np.testing.assert_allclose(added, found.scores, atol=1e-4)
    assert len(seen) == 11  # scans, in training and afterwards
    assert all(len(regions) == 1 for regions in seen.values())

    # The same scans with reports that say the opposite: each scan comes with the regions that it had before.
    before = {scan: set(regions) for scan, regions in seen.items()}
    reports = pd.read_csv(straight / "phantom" / "reports.csv")
    told = ["A 2 cm mass in the left lower lobe.", "A 5 mm nodule in the right upper lobe. Cardiomegaly.", "Normal."]
    reports["report_text"] = [told[row % 3] for row in range(len(reports))]
    reports.to_csv(tmp_path / "opposite.csv", index=False)
    manifest = pd.read_csv(straight / "manifest.csv")
    manifest[["scan_id", "split"]].to_csv(tmp_path / "splits.csv", index=False)
    data = {"images": straight / "phantom" / "images", "reports": tmp_path / "opposite.csv"}
    settings = [setting for setting in SETTINGS if not setting.startswith("phantom.")]
    settings += ["phantom=null", f"data.splits={tmp_path / 'splits.csv'}"]
    settings += [f"data.{key}={value}" for key, value in data.items()]
    outcome = run_workflow(
        load_workflow("phantom", settings),
        tmp_path / "opposite",
        executor="serial",
        stages=("ingest", "parse", "segment", "store", "regions", "train", "explain"),
    )
    assert [failure for summary in outcome.summaries for failure in summary.failures] == []
    assert seen == before


def test_regions_that_changed_are_explained_anew(tmp_path: Path):
    settings = [*SETTINGS, "models={plain: {}}", "report.scans=0"]
    run_workflow(load_workflow("phantom", settings), tmp_path, executor="serial")
    outcome = run_workflow(load_workflow("phantom", [*settings, "regions.dilate=1"]), tmp_path, executor="serial")
    done = {summary.stage: summary.done for summary in outcome.summaries}
    assert done["regions"] > 0
    assert (done["train"], done["explain"]) == (2, 5)
