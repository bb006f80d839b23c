"""Known lesions: every mask file of a scan, each with its own values, laid on the cells of a network's grid."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.data.volume import Volume
from organcam.errors import ConfigError, DataError
from organcam.geometry import FeatureGrid
from organcam.stages.lesions import Lesions, joined, read_masks

IPL = np.array([[0, 0, -2.0, 30], [0, -2.0, 0, 40], [-2.0, 0, 0, 50], [0, 0, 0, 1]])
GRID = FeatureGrid(
    shape=(2, 2, 2), stride=(3, 3, 3), offset=(1, 1, 1), receptive_field=(3, 3, 3), input_shape=(6, 6, 6)
)
PLACE = {"affine": IPL.tolist(), "shape": [6, 6, 6]}
LABELS = ("lung_nodule", "lung_mass")


def save(path, filled, value, axes=IPL):
    array = np.zeros((6, 6, 6), np.uint8)
    array[filled] = value
    nib.save(nib.Nifti1Image(array, axes), path)


@pytest.fixture
def table(tmp_path):
    """A nodule that fills the first cell, and in another file, with the same value, a mass in the last cell."""
    save(tmp_path / "nodule.nii.gz", np.s_[:3, :3, :3], 1)
    save(tmp_path / "mass.nii.gz", np.s_[3:, 3:, 3:5], 1)
    rows = ["a,1,nodule,right_lung,nodule.nii.gz", "a,1,mass,left_lung,mass.nii.gz", "b,2,mass,left_lung,mass.nii.gz"]
    (tmp_path / "lesions.csv").write_text("scan_id,value,abnormality,location,mask\n" + "\n".join(rows) + "\n")
    return tmp_path / "lesions.csv"


def test_every_mask_file_of_a_scan_is_read_and_values_do_not_mix(table):
    found = Lesions(table).occupancy("a", LABELS, GRID, PLACE)
    nodule, mass = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    nodule[0, 0, 0], mass[1, 1, 1] = 1, 2 / 3
    np.testing.assert_allclose(found, [nodule, mass], atol=1e-6)
    assert "c" not in Lesions(table)


def test_lesions_of_one_label_in_several_files_are_all_kept_and_no_scan_gets_anothers(table):
    rows = ["a,1,nodule,right_lung,nodule.nii.gz", "a,1,nodule,left_lung,mass.nii.gz", "b,1,nodule,lung,mass.nii.gz"]
    table.write_text("scan_id,value,abnormality,location,mask\n" + "\n".join(rows) + "\n")
    lesions = Lesions(table)
    both, one = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    both[0, 0, 0], both[1, 1, 1] = 1, 2 / 3
    one[1, 1, 1] = 2 / 3
    for name, expected in (("a", both), ("b", one), ("a", both)):
        np.testing.assert_allclose(lesions.occupancy(name, LABELS, GRID, PLACE)[0], expected, atol=1e-6)


def test_a_mask_in_other_axes_lies_at_the_same_place(table):
    turned = IPL @ np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    save(table.with_name("mass.nii.gz"), np.s_[:3, 3:, 3:5], 1, turned)
    found = Lesions(table).occupancy("a", LABELS, GRID, PLACE)
    assert found[1, 1, 1, 1] == pytest.approx(2 / 3)


def test_masks_of_a_scan_come_with_their_own_rows(table):
    rows = pd.read_csv(table, dtype=str)
    masks = read_masks(table.parent, rows[rows["scan_id"] == "a"])
    assert [own["abnormality"].tolist() for _, own in masks] == [["nodule"], ["mass"]]
    assert [int(mask.array.sum()) for mask, _ in masks] == [27, 18]


def test_joined_masks_keep_their_places_on_another_grid():
    first = Volume(np.zeros((6, 6, 6), bool), IPL)
    fine = np.zeros((12, 12, 12), bool)
    fine[6:8, 0:2, 4:6] = True  # the voxel (3, 0, 2) of the first grid
    half = np.diag([0.5, 0.5, 0.5, 1.0])
    half[:3, 3] = -0.25
    both = joined([first, Volume(fine, IPL @ half)])
    assert np.argwhere(both.array).tolist() == [[3, 0, 2]]
    np.testing.assert_array_equal(both.affine, IPL)


def test_a_missing_mask_and_a_value_that_is_none_are_told(table):
    table.with_name("mass.nii.gz").unlink()
    with pytest.raises(DataError, match=r"mass\.nii\.gz: no such file"):
        Lesions(table).occupancy("a", LABELS, GRID, PLACE)
    table.write_text(table.read_text().replace("b,2", "b,two"))
    with pytest.raises(ConfigError, match="scan b has the value 'two'"):
        Lesions(table)
