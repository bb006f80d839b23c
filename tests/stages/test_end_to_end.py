"""The whole job on a tiny phantom: every stage, resume after kill -9, and what a changed setting redoes."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.runner import read_failures
from organcam.stages.attention_files import read_attention

TINY = [
    "phantom.shape=[24,64,64]",
    "phantom.scans={train: 12, valid: 6, test: 6, shifted: 6}",
    "phantom.interventions=1",
    "input.shape=[24,64,64]",
    "labels.min_positives=2",
    "train.epochs=2",
    "models.masked.mask_loss.weight=[5,10]",
    "explain.volumes=[present]",
    "report.scans=1",
]


def command(out: Path, *extra: str) -> list[str]:
    settings = [word for setting in TINY for word in ("--set", setting)]
    return [sys.executable, "-m", "organcam", "run", "phantom", "--out", str(out), "--workers", "2", *settings, *extra]


def run(out: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *extra), capture_output=True, encoding="utf-8", timeout=600, check=False)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a run, without what times it."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if (
            not path.is_file()
            or name.startswith(("run.json", "logs"))
            or "checkpoint" in name
            or name.endswith(".lock")
        ):
            continue
        if path.suffix == ".json":
            document = json.loads(path.read_text())
            for key in (
                "seconds",
                *(("key", "inputs", "seal") if name.startswith(("scans/", "evaluation/")) else ()),
            ):  # depend on the clock
                document.pop(key, None) if isinstance(document, dict) else None
            found[name] = json.dumps(document).replace(str(out), "OUT").encode()
        elif name == "organs/quality.csv":
            found[name] = pd.read_csv(path).drop(columns="seconds").to_csv().encode()
        elif name in {"manifest.csv", "workflow.yaml"} or path.suffix == ".html":
            found[name] = path.read_bytes().replace(str(out).encode(), b"OUT")
        else:
            found[name] = path.read_bytes()
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    done = run(out)
    assert done.returncode == 0, done.stderr
    return out


def test_every_stage_leaves_what_the_layout_promises(finished):
    for name in (
        "workflow.yaml",
        "run.json",
        "failures.csv",
        "manifest.csv",
        "labels/findings.csv",
        "labels/labels.csv",
        "labels/labels_by_location.csv",
        "organs/quality.csv",
        "models/masked/model.pt",
        "models/masked/metrics.csv",
        "evaluation/organ_iou.csv",
        "evaluation/classification.csv",
        "evaluation/localization.csv",
        "evaluation/interventions.csv",
        "evaluation/summary.json",
        "report/index.html",
    ):
        assert (finished / name).is_file(), name
    assert json.loads((finished / "run.json").read_text())["status"] == "done"
    assert not read_failures(finished)
    assert not list(finished.rglob("*.tmp"))


def test_summary_has_a_finite_figure_for_every_model_and_method(finished):
    summary = json.loads((finished / "evaluation" / "summary.json").read_text())
    assert list(summary["models"]) == ["baseline", "masked"]
    for found in summary["models"].values():
        assert found["split"] == "test"
        for method in ("hirescam", "gradcam"):
            assert 0 <= found["organ_iou"][method] <= 1
        assert 0 <= found["auroc_median"] <= 1
        assert set(found["splits"]) == {"valid", "test", "shifted"}
        assert found["interventions"]


def test_maps_of_a_scan_add_up_to_its_score(finished):
    """HiResCAM is complete: the cells of a map and the bias make the logit (Draelos and Carin, section 3.5)."""
    import torch

    bias = torch.load(finished / "models" / "masked" / "model.pt", weights_only=True)["weights"]["fc.bias"].numpy()
    files = sorted((finished / "attention" / "masked").glob("*.npz"))
    assert files
    for path in files[:5]:
        found = read_attention(path)
        total = found.maps["hirescam"].sum(axis=(1, 2, 3)) + bias
        np.testing.assert_allclose(total, found.scores, atol=1e-4)


def test_written_maps_and_organs_lie_on_the_scan(finished):
    maps = sorted((finished / "attention" / "masked").glob("*.nii.gz"))
    assert maps
    for path in maps[:3]:
        scan_id = next(
            name.stem for name in (finished / "attention" / "masked").glob("*.npz") if path.name.startswith(name.stem)
        )
        source = nib.load(finished / "phantom" / "images" / f"{scan_id}.nii.gz")
        for image in (nib.load(path), nib.load(finished / "organs" / f"{scan_id}_organs.nii.gz")):
            assert image.shape == source.shape
            np.testing.assert_allclose(image.affine, source.affine, atol=1e-4)
            assert image.header.get_xyzt_units()[0] == "mm"


def test_metric_of_the_how_to_page_measures_a_finished_run(finished):
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "new-metric.md").read_text("utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(block, names)
    table = names["lit_shares"](finished, "masked")
    assert len(table) == len(pd.read_csv(finished / "evaluation" / "pairs.csv").query("model == 'masked'")) / 2
    assert table["lit_share"].between(0, 1).all()
    assert table["lit_share"].nunique() > 1


def test_a_second_run_does_nothing_and_a_changed_setting_what_depends_on_it(finished):
    before = contents(finished)
    again = run(finished)
    assert again.returncode == 0, again.stderr
    assert contents(finished) == before
    counts = json.loads((finished / "run.json").read_text())["stages"]
    for stage in ("phantom", "ingest", "parse", "segment", "store", "regions", "train", "explain"):
        assert counts[stage]["done"] == 0, stage


def test_killed_in_the_middle_it_resumes_to_identical_files(finished, tmp_path):
    """kill -9 of the whole process group three times, at stages that write per scan, train, and explain."""
    out = tmp_path / "run"
    for sign in (
        "organs/*_organs.nii.gz",
        "models/candidates/masked-weight-5.checkpoints/checkpoint_1.pt",
        "attention/masked/*.npz",
    ):
        process = subprocess.Popen(
            command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        while process.poll() is None and not list(out.glob(sign)):
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        assert process.poll() is None, f"the run was over before {sign} appeared"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = run(out)
    assert done.returncode == 0, done.stderr
    resumed, straight = contents(out), contents(finished)
    assert set(resumed) == set(straight)
    assert [name for name in straight if resumed[name] != straight[name]] == []


def test_shards_together_do_what_one_run_does(finished, tmp_path):
    out = tmp_path / "run"
    for shard in ("1/2", "2/2"):
        done = run(out, "--shard", shard, "--until", "phantom")
        assert done.returncode == 0, done.stderr
    for shard in ("1/2", "2/2"):
        done = run(out, "--shard", shard, "--from", "ingest", "--until", "store")
        assert done.returncode == 0, done.stderr
    done = run(out, "--until", "store")
    assert done.returncode == 0, done.stderr
    straight = contents(finished)
    found = {name: data for name, data in contents(out).items() if not name.startswith("logs")}
    assert [
        name for name in found if name.startswith(("organs", "volumes", "labels")) and found[name] != straight[name]
    ] == []
    assert json.loads((out / "run.json").read_text())["stages"]["segment"]["done"] == 0
