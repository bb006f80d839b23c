"""What a run will take is what it takes: measured on scans of its own, and held against a whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from organcam.check import check_workflow
from organcam.console import print_costs
from organcam.errors import OrganCamError
from organcam.estimate import Cost, estimate_run, scan_counts
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow, parse_workflow

SETTINGS = [
    "phantom.shape=[24,64,64]",
    "input.shape=[24,64,64]",
    "phantom.interventions=0",
    "phantom.scans={train: 4, valid: 2, test: 2}",
    "models={masked: {mask_loss: {weight: 10}}}",
    "train.epochs=3",
]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What the command prints for a thousand times as many scans."""
    folder = tmp_path_factory.mktemp("plan")
    done = subprocess.run(
        [sys.executable, "-m", "organcam", "plan", "phantom", "--scans", "8000", "--workers", "4", "--json"]
        + [word for setting in SETTINGS for word in ("--set", setting)],
        capture_output=True,
        encoding="utf-8",
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return {row["stage"]: row for row in json.loads(done.stdout)}


def test_disk_is_that_of_the_run(rows, tmp_path):
    workflow = load_workflow("phantom", SETTINGS)
    run_workflow(workflow, tmp_path, stages=["phantom", "ingest", "segment", "store"], executor="serial")
    for stage, folder in {"phantom": "phantom", "ingest": "scans", "segment": "organs", "store": "volumes"}.items():
        assert rows[stage]["units"] == 8000
        assert rows[stage]["disk_gb"] * 1e6 == pytest.approx(size_of(tmp_path / folder), rel=0.35), stage
    (finding,) = [one for one in check_workflow(workflow) if one.what == "disk"]
    assert finding.ok
    assert "0.0 GB" not in finding.found


def test_times_and_memory_are_measured_and_divided_by_workers_where_there_is_something_to_divide(rows):
    assert list(rows) == ["phantom", "ingest", "segment", "store", "regions", "train masked", "explain masked"]
    for row in rows.values():
        assert row["seconds"] > 0
        assert row["memory_gb"] > 0.05
        workers = 1 if row["stage"].startswith("train") else 4
        assert row["hours"] == pytest.approx(row["units"] * row["seconds"] / 3600 / workers)
    assert rows["train masked"]["units"] == 4000 * 3
    assert rows["explain masked"]["units"] == 4000  # valid and test


def test_counts_scale_to_the_data_set_that_is_meant():
    counts = scan_counts(load_workflow("phantom", SETTINGS), [], 36_000)
    assert dict(counts) == {"all": 36_000, "train": 18_000, "valid": 9_000, "explained": 18_000}


def test_hours_are_units_times_seconds():
    assert Cost("store", 7200, 2.0, 1.0, 1.0).hours(4) == 1.0
    assert Cost("train a", 7200, 2.0, 1.0, 1.0, shared=False).hours(4) == 4.0


def test_scans_of_which_none_can_be_read_are_told(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"no scan")
    with pytest.raises(OrganCamError, match=r"a\.nii\.gz"):
        estimate_run(parse_workflow({"data": {"images": str(tmp_path)}}), sample=1)


def test_the_table_has_a_line_a_stage_and_one_for_all_of_them(capsys):
    print_costs(
        [Cost("store", 7200, 2.0, 1.5, 12.0), Cost("train a", 3600, 1.0, 2.0, 0.5, shared=False)], 4, as_json=False
    )
    shown = capsys.readouterr().out
    assert "hours, 4 workers" in shown
    assert [word for word in ("7,200", "12.5", "GB are free") if word not in shown] == []
    (together,) = [line for line in shown.splitlines() if "together" in line]
    assert " 2 " in together  # one hour of storing on four workers, one of training
