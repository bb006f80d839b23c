"""`organcam describe DATA`: everything of a folder is told, and nothing of a patient."""

from __future__ import annotations

import json
import subprocess
import sys

import nibabel as nib
import numpy as np

from organcam.inventory import describe_data


def save(path, shape=(30, 30, 30), mm=10.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([-mm, -mm, mm, 1])), path)


def test_what_is_found_missing_odd_and_ignored_is_one_row_each(tmp_path):
    save(tmp_path / "p1" / "a.nii.gz")
    save(tmp_path / "p1" / "b.nii.gz", (30, 30, 40))
    save(tmp_path / "p2" / "a.nii", mm=1.0)
    (tmp_path / "p2" / "rotten.nii.gz").write_bytes(b"x")
    (tmp_path / "p2" / "notes.txt").touch()
    rows = {(row["kind"], row["what"]): row["detail"] for row in describe_data(tmp_path)}
    assert rows["found", "scans"].startswith("4: p1_a, p1_b, p2_a")
    assert rows["found", "formats"] == ".nii.gz 3, .nii 1"
    assert rows["found", "patients"] == "2, 2 of them with several scans"
    assert rows["found", "slices, rows, columns"] == "30 to 40 x 30 x 30 (of 3 headers read)"
    assert rows["found", "voxel size in mm"] == "1 to 10 x 1 to 10 x 1 to 10 (of 3 headers read)"
    assert rows["odd", "headers that cannot be read"].startswith("1: p2_rotten: ")
    assert rows["odd", "scans that can hold no whole chest"].startswith("1: p2_a: covers 30 mm from top")
    assert rows["ignored", "1 files that are no scans (.txt)"] == "p2/notes.txt"


def test_missing_files_and_double_ids_of_a_table_are_told(tmp_path):
    save(tmp_path / "a.nii.gz")
    (tmp_path / "scans.csv").write_text("scan_id,image\nx,a.nii.gz\nX,a.nii.gz\ny,gone.nii.gz\n../z,a.nii.gz\n")
    rows = {row["what"]: row["detail"] for row in describe_data(tmp_path / "scans.csv")}
    assert rows["files"] == "1: y"
    assert rows["ids that occur twice"] == "2: X, x"
    assert rows["ids that cannot be file names"] == "1: ../z"


def test_the_command_tells_a_folder_as_it_tells_a_topic(tmp_path):
    save(tmp_path / "data" / "a.nii.gz")
    command = [sys.executable, "-m", "organcam", "describe", str(tmp_path / "data"), "--json"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(done.stdout)[0] == {"kind": "found", "what": "scans", "detail": "1: a"}
