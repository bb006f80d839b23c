"""The regions stage: published registration on the stored grid, thirds and own labels from the command line."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.data.region_store import read_regions
from organcam.data.volume import Volume
from organcam.errors import ConfigError
from organcam.stages.regions import on_stored_grid
from organcam.stages.targets import check_labels
from organcam.workflow_file import parse_workflow


def test_labels_go_to_the_nearest_voxel_of_the_stored_grid():
    labels = Volume(np.arange(1, 9, dtype=np.uint8).reshape(2, 2, 2), np.diag([2.0, 2.0, 2.0, 1.0]))
    finer = np.diag([1.0, 2.0, 2.0, 1.0])
    finer[0, 3] = -1.2  # a voxel before the scan, then two for each of its own
    found = on_stored_grid(labels, finer, (4, 2, 2))
    assert found[:, 0, 0].tolist() == [0, 1, 1, 5]  # at -0.6, -0.1, 0.4, 0.9 of the scan's voxels
    assert found[3].tolist() == [[5, 6], [7, 8]]


def test_names_that_no_label_has_are_refused_before_anything_runs(tmp_path):
    table = tmp_path / "labels.yaml"
    table.write_text("pneumonia: [right_lung, left_lung]\n")
    labels = {"names": ["lung_nodule", "pneumonia"], "table": str(table)}
    check_labels(parse_workflow({"labels": labels, "regions": {"pictures": ["pneumonia"]}}))
    with pytest.raises(ConfigError, match="did you mean 'lung_nodule'") as caught:
        check_labels(parse_workflow({"labels": {"names": ["lung_nodul"]}, "regions": {"pictures": ["pneumonia"]}}))
    assert "regions.pictures: unknown label 'pneumonia'" in str(caught.value)


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    settings = PhantomSettings(scans={"test": 1}, interventions=0, confounders=())
    scan = render_scan(settings, plan_dataset(settings)[0])
    path = tmp_path_factory.mktemp("scan") / "a.nii.gz"
    nib.save(nib.Nifti1Image(scan.hu, scan.affine), path)
    return path


def regions(*arguments) -> subprocess.CompletedProcess[str]:
    options = ("--executor", "serial", "-q", "--set", "store.spacing_mm=null", "--set", "input.shape=[24,96,96]")
    command = [sys.executable, "-m", "organcam", "regions", *map(str, arguments), *options]
    return subprocess.run(
        [*command, "--set", "network.backbone=small"], capture_output=True, encoding="utf-8", timeout=300, check=False
    )


def test_pictures_of_own_labels_and_files_with_thirds(scan_file, tmp_path):
    table = tmp_path / "labels.yaml"
    table.write_text("right_mass: {organs: [right_lung], cells: [mass]}\n")
    out = tmp_path / "run"
    done = regions(
        scan_file, "--out", out, "--label", "right_mass", "--label", "heart_stent", "--label-table", table,
        "--set", "regions.thirds=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for label in ("right_mass", "heart_stent"):
        assert (out / "regions" / f"a_{label}.png").stat().st_size > 10_000
    found, key = _only_regions(out)
    assert found.shape[0] == 15  # sets, thirds, bases
    assert np.array_equal(found[7:10].any(axis=0), found[0])
    again = regions("--out", out, "--set", "regions.registration=reference", "--set", "regions.thirds=false")
    assert again.returncode == 0, again.stderr
    published = read_regions(out / "regions" / "a.npz", key)
    assert published.shape[0] == 7
    assert not np.array_equal(published, found[:7])
    wrong = regions("--out", out, "--label", "right_mas")
    assert wrong.returncode == 2
    assert "did you mean 'right_mass'" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def _only_regions(out):
    with np.load(out / "regions" / "a.npz") as archive:
        (key,) = (name for name in archive.files if not name.endswith(".shape"))
    return read_regions(out / "regions" / "a.npz", key), key


def test_share_of_known_lesions_in_allowed_cells_is_that_of_the_voxels(scan_file, tmp_path):
    """A cuboid in the true right lung, stated there and in the left lung: all of it is allowed, and none of it."""
    settings = PhantomSettings(scans={"test": 1}, interventions=0, confounders=())
    scan = render_scan(settings, plan_dataset(settings)[0])
    core = np.argwhere(scan.organs == 1)
    middle = core[np.argmin(((core - np.median(core, axis=0)) ** 2).sum(axis=1))]
    mask = np.zeros(scan.hu.shape, np.uint8)
    mask[tuple(slice(n - 1, n + 2) for n in middle)] = 1
    nib.save(nib.Nifti1Image(mask, scan.affine), tmp_path / "mask.nii.gz")
    table = tmp_path / "lesions.csv"
    table.write_text(
        "scan_id,value,abnormality,location,mask\na,1,nodule,right_lower,mask.nii.gz\na,1,cyst,left_lower,mask.nii.gz\n"
    )
    done = regions(scan_file, "--out", tmp_path / "run", "--lesions", "--set", f"data.lesions={table}")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["lung_nodule"].startswith("100.0%")
    assert lines["lung_cyst"].startswith("0.0%")


def test_lesions_that_the_workflow_does_not_name_are_asked_for(scan_file, tmp_path):
    done = regions(scan_file, "--out", tmp_path / "run", "--lesions")
    assert done.returncode == 2
    assert "data.lesions" in done.stderr
    assert not (tmp_path / "run" / "organs").exists()


def test_regions_after_segment_alone_say_which_stage_is_missing(scan_file, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "organcam", "segment", str(scan_file), "--out", str(out), "--executor", "serial"]
    first = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, check=False)
    assert first.returncode == 0, first.stderr
    assert "a: right lung" in first.stdout
    assert "heart and mediastinum" in first.stdout
    assert str(out / "organs" / "quality.csv") in first.stdout.replace("\n", "")
    second = regions("--out", out)
    assert second.returncode == 1
    assert "run the store stage" in second.stderr
