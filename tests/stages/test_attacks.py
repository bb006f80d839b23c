"""Ids, sidecars and clocks that somebody made up, and inputs that change without looking changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from organcam.runner import read_failures, read_sidecar
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow


def save(path: Path, value: int = -800, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full((6, 6, 6), value, np.int16)
    array[0, 0] = np.random.default_rng(seed).integers(-900, -700, 6)
    nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 2.0, 1.0])), path)
    return path


def run(tmp_path: Path, images: Path, *stages: str):
    workflow = parse_workflow({"data": {"images": str(images)}})
    return run_workflow(workflow, tmp_path / "out", stages=stages or ("ingest", "store"), executor="serial")


@pytest.mark.parametrize("evil", ["../evil", "..", "a/b", "/etc/evil", "a\\b", "nul", "e" * 200, ".hidden", ""])
def test_an_id_that_leaves_the_folder_is_a_row_and_writes_nothing(tmp_path, evil):
    save(tmp_path / "good.nii.gz")
    (tmp_path / "scans.csv").write_text(f"scan_id,image\ngood,good.nii.gz\n{evil},good.nii.gz\n", newline="")
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    assert run(tmp_path, tmp_path / "scans.csv").exit_code == 3
    assert len(read_failures(tmp_path / "out")) == 1
    assert {path.name for path in (tmp_path / "out" / "volumes").glob("*.b2nd")} == {"good.b2nd"}
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(tmp_path / "out")} == before


def test_a_header_cannot_point_at_files_elsewhere(tmp_path):
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(216))
    folder = tmp_path / "in"
    save(folder / "good.nii.gz")
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 6 6 6", "ElementType = MET_UCHAR"]
    (folder / "a.mhd").write_text("\n".join([*lines, "ElementDataFile = ../secret.raw"]) + "\n")
    (folder / "b.mhd").write_text("\n".join([*lines, f"ElementDataFile = {secret}"]) + "\n")
    assert run(tmp_path, folder, "ingest").exit_code == 3
    assert all("outside the scan's own folder" in failure.reason for failure in read_failures(tmp_path / "out"))
    assert len(read_failures(tmp_path / "out")) == 2


def test_an_edited_sidecar_cannot_remove_files_elsewhere(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    run(tmp_path, tmp_path / "in")
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    sidecar = tmp_path / "out" / "volumes" / "a.json"
    document = json.loads(sidecar.read_text())
    document["outputs"]["../../precious.txt"] = {"bytes": 4, "sha256": "0" * 64}
    document["key"] = "0" * 64
    sidecar.write_text(json.dumps(document))
    assert run(tmp_path, tmp_path / "in").exit_code == 0
    assert precious.read_text() == "mine"


def replaced_unseen(path: Path, *, later: float) -> None:
    """Another scan of the same name and size, whose time of change is that of the old one plus ``later`` seconds."""
    status = path.stat()
    seed = 1
    while save(path, seed=seed).stat().st_size != status.st_size:
        seed += 1
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + int(later * 1e9)))


@pytest.mark.parametrize("later", [0.0, -86400.0, 1.0], ids=["same time", "clock gone back", "a second later"])
def test_an_input_that_changes_with_name_and_size_kept_is_done_again(tmp_path, later):
    path = save(tmp_path / "in" / "a.nii.gz")
    run(tmp_path, tmp_path / "in")
    first = read_sidecar(tmp_path / "out" / "scans", "a")["details"]["content"]
    stored = (tmp_path / "out" / "volumes" / "a.b2nd").read_bytes()
    replaced_unseen(path, later=later)
    outcome = run(tmp_path, tmp_path / "in")
    assert [summary.done for summary in outcome.summaries] == [1, 1]
    assert read_sidecar(tmp_path / "out" / "scans", "a")["details"]["content"] != first
    assert (tmp_path / "out" / "volumes" / "a.b2nd").read_bytes() != stored


def test_files_from_the_future_are_done_once(tmp_path):
    path = save(tmp_path / "in" / "a.nii.gz")
    os.utime(path, (4e9, 4e9))
    run(tmp_path, tmp_path / "in")
    for made in (tmp_path / "out").rglob("*"):
        if made.is_file():
            os.utime(made, (4e9, 4e9))
    assert [summary.done for summary in run(tmp_path, tmp_path / "in").summaries] == [0, 0]
