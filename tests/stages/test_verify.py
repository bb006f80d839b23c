"""``organcam explain --verify`` on a model of a run: it holds for what was trained, and notices what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from organcam.cli import app
from organcam.config import InputConfig
from organcam.networks import AxialNet
from organcam.stages.explain import LoadedModel
from organcam.stages.verify import verify_model
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

SETTINGS = (
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 4, valid: 3, test: 1, shifted: 1}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    "labels.min_positives=1",
    "train.epochs=1",
    "models={masked: {mask_loss: {weight: 5}}}",
    "explain.splits=[valid]",
)


def model_of(network):
    return LoadedModel(network, ("a", "b"), network.feature_grid(network.input_shape), InputConfig(), {})


def test_what_must_hold_holds_and_the_rest_is_told():
    torch.manual_seed(0)
    network = AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,)).eval()
    checks = verify_model("m", model_of(network), torch.randn(1, 2, 3, 16, 16), ["hirescam", "gradcam", "layercam"])
    held = {(check.check, check.subject): check.holds for check in checks}
    assert held["completeness", "hirescam"]
    assert held["deletion", "hirescam"]
    assert held["distance to used", "hirescam"]
    assert held["distance to used", "gradcam"] is None
    assert {subject for check, subject in held if check == "randomised"} == {"fc", "head", "backbone"}
    assert ("agreement", "gradcam, layercam") in held


def test_maps_that_say_something_else_are_noticed(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    network = AxialNet(2, backbone="small", input_shape=(6, 16, 16), head_channels=(4,)).eval()
    from organcam.attention import explanation

    def unweighted(head, _method):
        return head.features.sum(1, keepdim=True).expand(-1, 2, -1, -1, -1)

    monkeypatch.setattr(explanation, "closed_form_maps", unweighted)
    checks = verify_model("m", model_of(network), torch.randn(1, 2, 3, 16, 16), ["hirescam"])
    wrong = {check.check for check in checks if check.holds is False}
    assert {"completeness", "deletion", "distance to used"} <= wrong


def test_the_command_on_a_run(tmp_path: Path):
    workflow = load_workflow("phantom", list(SETTINGS))
    stages = ("phantom", "ingest", "parse", "segment", "store", "regions", "train")
    outcome = run_workflow(workflow, tmp_path, executor="serial", stages=stages)
    assert [failure for summary in outcome.summaries for failure in summary.failures] == []
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    result = CliRunner().invoke(app, ["explain", "--out", str(tmp_path), "--verify"])
    assert result.exit_code in (0, 1), result.output
    for words in ("completeness", "deletion", "distance to used", "randomised", "agreement", "masked"):
        assert words in result.output
    lines = [line for line in result.output.splitlines() if "completeness" in line or "deletion" in line]
    assert all("holds" in line for line in lines)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before  # it only looks
