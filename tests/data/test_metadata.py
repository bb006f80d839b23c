"""CT-RATE's blank headers: geometry and scale come from its tables, and never twice."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.data.readers import read_volume
from organcam.data.records import read_manifest
from organcam.runner import read_failures, read_sidecar
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow

HEADER = "VolumeName,Manufacturer,RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing,PatientSex\n"
HU = np.array([-1000, -800, 40, 300], np.int16)


def save(path, values, affine=None, slope=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.tile(values, (4, 4, 1)), np.eye(4) if affine is None else affine)
    if slope:
        image.header.set_slope_inter(*slope)
    nib.save(image, path)


def run(tmp_path, rows, *stages, **data):
    (tmp_path / "meta.csv").write_text(HEADER + rows)
    data = {"images": str(tmp_path / "in"), "metadata": str(tmp_path / "meta.csv"), **data}
    return run_workflow(
        parse_workflow({"data": data}), tmp_path / "out", stages=stages or ["ingest"], executor="serial"
    )


@pytest.mark.parametrize(
    ("stored", "slope"),
    [((HU + 1024).astype(np.int16), None), (HU, None), (((HU + 1024) // 2).astype(np.int16), (2.0, -1024.0))],
    ids=["as the scanner stored them", "in HU already", "scaled by their own header"],
)
def test_values_are_in_hu_and_scaled_once(tmp_path, stored, slope):
    save(tmp_path / "in" / "train_1_a_1.nii.gz", stored, slope=slope)
    assert run(tmp_path, 'train_1_a_1.nii.gz,S,1.0,-1024.0,"[0.7, 0.8]",1.5,F\n').exit_code == 0
    (record,) = read_manifest(tmp_path / "out" / "manifest.csv")
    volume = read_volume(record.image)
    expected = HU if slope is None else ((HU + 1024) // 2 * 2 - 1024)
    np.testing.assert_array_equal(volume.array[0, 0], expected)
    assert volume.axes == "LPS"
    assert volume.spacing == pytest.approx((0.7, 0.8, 1.5))


def test_a_header_that_tells_its_place_comes_before_the_table(tmp_path):
    save(tmp_path / "in" / "train_1_a_1.nii.gz", HU, np.diag([2.0, 2.0, 3.0, 1.0]))
    run(tmp_path, 'train_1_a_1.nii.gz,S,1,0,"[0.7, 0.7]",1.5,F\n')
    details = read_sidecar(tmp_path / "out" / "scans", "train_1_a_1")["details"]
    assert (details["spacing_mm"], details["axes"]) == ([2.0, 2.0, 3.0], "RAS")


def test_a_changed_row_reads_the_scan_again_and_a_bad_one_is_a_row(tmp_path):
    for name in ("train_1_a_1", "train_2_a_1", "train_3_a_1"):
        save(tmp_path / "in" / f"{name}.nii.gz", HU)
    good = 'train_1_a_1.nii.gz,S,1,0,"[0.7, 0.7]",{},F\n'
    outcome = run(tmp_path, good.format(1.5) + 'train_2_a_1.nii.gz,S,__import__,0,"[0.7]",1.5,F\n')
    assert outcome.exit_code == 3
    reasons = {failure.id: failure.reason for failure in read_failures(tmp_path / "out")}
    assert "the row of train_2_a_1.nii.gz has no numbers" in reasons["train_2_a_1"]
    assert "its header is blank" in reasons["train_3_a_1"]
    assert run(tmp_path, good.format(1.5)).summaries[0].skipped == 1
    assert run(tmp_path, good.format(2.5)).summaries[0].done == 1
    assert read_sidecar(tmp_path / "out" / "scans", "train_1_a_1")["details"]["spacing_mm"] == [0.7, 0.7, 2.5]


def test_stored_volumes_have_the_size_that_the_table_says(tmp_path):
    save(tmp_path / "in" / "train_1_a_1.nii.gz", HU)
    run(tmp_path, 'train_1_a_1.nii.gz,S,1,0,"[0.8, 0.8]",1.6,F\n', "ingest", "store")
    assert read_sidecar(tmp_path / "out" / "volumes", "train_1_a_1")["details"]["shape"] == [8, 4, 4]
    assert len(pd.read_csv(tmp_path / "out" / "manifest.csv")) == 1


def test_data_that_are_moved_are_the_same_data(tmp_path):
    contents = []
    for place in ("here", "there"):
        save(tmp_path / place / "in" / "train_1_a_1.nii.gz", HU)
        run(tmp_path / place, 'train_1_a_1.nii.gz,S,1,0,"[0.8, 0.8]",1.6,F\n')
        contents.append(read_sidecar(tmp_path / place / "out" / "scans", "train_1_a_1")["details"]["content"])
    assert contents[0] == contents[1]
