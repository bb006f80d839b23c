"""What a person at the keyboard sees: exit codes, one-line errors, no traceback."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.compare import ladder_sentences, results_table
from organcam.errors import OrganCamError


def organcam(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "organcam", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "phantm", "--out", "x"], 2, "did you mean 'phantom'"),
        (["run", "phantom", "--out", "x", "--set", "train.epoch=3"], 2, "did you mean 'epochs'"),
        (["run", "phantom", "--out", "x", "--from", "trian"], 2, "did you mean 'train'"),
        (["run", "phantom", "--out", "x", "--from", "train", "--until", "parse"], 2, "comes after"),
        (["run", "phantom", "--out", "x", "--shard", "3/2"], 2, "shard"),
        (["run", "phantom", "--out", "x", "--executor", "procesess"], 2, "did you mean 'processes'"),
        (["run", "folder", "--out", "x"], 2, "data.images is not set"),
        (["run", "phantom"], 2, "--out"),
        (["train", "--out", "x"], 2, "no run directory yet"),
        (["train", "--out", "x", "--workflow", "phantom"], 1, "run the ingest stage first"),
        (["compare", "x"], 1, "run the evaluate stage first"),
        (["describe", "plugin"], 2, "did you mean 'plugins'"),
        (["parse"], 2, "--out DIR, or --text"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_mistakes_are_told_in_one_message_with_the_right_exit_code(tmp_path, arguments, code, words):
    done = organcam(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_help_lists_every_stage(tmp_path):
    text = organcam("--help").stdout
    for name in (
        "run",
        "phantom",
        "ingest",
        "parse",
        "segment",
        "store",
        "regions",
        "train",
        "explain",
        "evaluate",
        "report",
    ):
        assert f"  {name} " in text


def test_one_report_is_printed_as_findings():
    done = organcam("parse", "--text", "There is a nodule in the left upper lobe. No pleural effusion.")
    assert done.returncode == 0, done.stderr
    assert "nodule" in done.stdout
    assert "left_upper" in " ".join(done.stdout.split())


def test_segmenting_good_and_bad_files_ends_with_3_and_keeps_the_good(tmp_path, shared_data):
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")
    scan = shared_data / "cip64" / "ct-64.nrrd"
    done = organcam("segment", scan, tmp_path / "broken.nii.gz", "--out", tmp_path / "out", "--executor", "serial")
    assert done.returncode == 3, done.stderr
    assert "broken" in done.stderr
    image = nib.load(tmp_path / "out" / "organs" / "ct-64_organs.nii.gz")
    labels, voxel_ml = np.asarray(image.dataobj), float(np.prod(image.header.get_zooms())) / 1000
    assert {1, 2, 3} <= set(np.unique(labels))
    quality = pd.read_csv(tmp_path / "out" / "organs" / "quality.csv")
    volumes = ["right_lung_ml", "left_lung_ml", "heart_mediastinum_ml"]
    first = ["scan_id", "ok", "flags", *volumes, "ratio", "height_mm", "seconds"]
    assert list(quality.columns[:9]) == first
    assert quality.loc[0, "right_lung_ml"] == pytest.approx((labels == 1).sum() * voxel_ml, rel=0.01)


def test_phantom_data_set_is_written_where_asked(tmp_path: Path):
    done = organcam(
        "phantom", "--out", tmp_path / "data", "--set", "shape=[24,64,64]", "--set", "scans={train: 2}",
        "--set", "interventions=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "data" / "images").glob("*.nii.gz"))) == 2
    assert (tmp_path / "data" / "reports.csv").is_file()


def test_check_tells_what_is_missing_before_anything_runs(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "r.csv").write_text("scan_id,report_text\nb,Nodule.\n")
    done = organcam(
        "check", "folder", "--set", f"data.images={tmp_path}", "--set", f"data.reports={tmp_path / 'r.csv'}"
    )
    assert done.returncode == 1
    assert "scans without a report" in done.stdout
    assert "reports without a scan" in done.stdout


def test_brackets_in_names_are_no_markup(tmp_path):
    done = organcam("check", "folder", "--set", "data.images='x[/b]y'", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "x[/b]y" in done.stdout
    assert "Traceback" not in done.stderr


def test_compare_tells_what_a_gain_comes_from(tmp_path):
    (tmp_path / "evaluation").mkdir()
    model = {"split": "test", "organ_iou": {}, "splits": {}}
    summary = {"models": {"own": model}, "ladder": [{"sentence": "own gains [0.1]."}, {"sentence": ""}]}
    (tmp_path / "evaluation" / "summary.json").write_text(json.dumps(summary))
    assert ladder_sentences([tmp_path]) == [f"{tmp_path.name}: own gains [0.1]."]
    done = organcam("compare", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "own gains [0.1]." in done.stdout


@pytest.mark.parametrize(
    "content", [b'{"models": {}, "ladder": [1]}', b"", b"{", b"[]", b'{"models": {"m": {}}}', b"\xff", b"[" * 99999]
)
def test_a_damaged_summary_is_told(tmp_path, content):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "summary.json").write_bytes(content)
    with pytest.raises(OrganCamError, match="summary.json is damaged"):
        results_table([tmp_path])
