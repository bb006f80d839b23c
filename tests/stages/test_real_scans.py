"""Real CT through the light stages; the whole folder workflow on them is in the slow test."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.data.region_store import read_regions
from organcam.runner.failures import read_failures


def organcam(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "organcam", *map(str, arguments)], capture_output=True, encoding="utf-8", check=False
    )


def test_real_folder_goes_through_the_stages_before_training(shared_data, tmp_path):
    folder = shared_data / "lung_pet_ct_dx"
    done = organcam(
        "run", "folder", "--out", tmp_path, "--until", "regions", "--executor", "serial",
        "--set", f"data.images={folder}", "--set", f"data.reports={folder / 'reports.csv'}",
        "--set", "store.spacing_mm=[4,4,4]", "--set", "input.shape=[81,96,96]",
        "--set", "network={name: axialnet, backbone: small}",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # the DICOM series beside the volumes has no report of its own
    assert [(row.id, "no report" in row.reason) for row in read_failures(tmp_path)] == [("A0002_dicom", True)]
    manifest = pd.read_csv(tmp_path / "manifest.csv")
    assert manifest["scan_id"].tolist() == ["A0001", "A0002", "A0002_dicom"]
    cells = pd.read_csv(tmp_path / "labels" / "labels_by_location.csv").set_index("report_id")
    assert cells.loc["A0001", "mass*left_upper"] == 1
    assert cells.loc["A0002", "consolidation*right_lower"] == 1
    assert cells.loc["A0001", [c for c in cells if c.startswith(("pneumothorax*", "pleural_effusion*"))]].sum() == 0
    for name in manifest["scan_id"]:
        source = nib.load(folder / f"{name.removesuffix('_dicom')}.nii.gz")  # the same scan
        organs = nib.load(tmp_path / "organs" / f"{name}_organs.nii.gz")
        assert organs.shape == source.shape
        np.testing.assert_allclose(organs.affine, source.affine, atol=1e-4)
        place = json.loads((tmp_path / "volumes" / f"{name}.json").read_text())["details"]
        assert np.linalg.norm(np.asarray(place["affine"])[:3, :3], axis=0) == pytest.approx([4, 4, 4], rel=0.05)
        path = tmp_path / "regions" / f"{name}.npz"
        assert path.stat().st_size < 10_000
        with np.load(path) as archive:
            (key,) = (entry for entry in archive.files if not entry.endswith(".shape"))
        litres = read_regions(path, key).sum(axis=(1, 2, 3)) * (12 * 32 * 32) / 1e6
        assert (litres[:2] > 0.8).all()
        assert (litres[:2] < 6).all()
        assert litres[2] <= litres[0] + litres[1] + 0.5  # both lungs together


@pytest.mark.slow
def test_folder_workflow_at_full_size_writes_maps_on_the_scans_own_grid(shared_data, tmp_path):
    folder = shared_data / "lung_pet_ct_dx"
    done = organcam(
        "run", "folder", "--out", tmp_path,
        "--set", f"data.images={folder}", "--set", f"data.reports={folder / 'reports.csv'}", "--set", "train.epochs=1",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # the DICOM series beside the volumes has no report of its own
    for name in ("A0001", "A0002"):
        source = nib.load(folder / f"{name}.nii.gz")
        maps = sorted((tmp_path / "attention" / "masked").glob(f"{name}_*.nii.gz"))
        assert maps
        for path in maps:
            image = nib.load(path)
            assert image.shape == source.shape
            np.testing.assert_allclose(image.affine, source.affine, atol=1e-4)
            assert np.nanmax(np.abs(np.asarray(image.dataobj))) > 0
