import math

import nibabel as nib
import numpy as np
import pytest

from organcam.errors import ConfigError, DataError
from organcam.stages.organ_truth import organ_scores, overlap


def test_overlap_by_hand():
    found, known = np.array([1, 1, 1, 0, 0], bool), np.array([1, 0, 0, 1, 0], bool)
    assert overlap(found, known) == {"dice": pytest.approx(2 / 5), "precision": pytest.approx(1 / 3), "recall": 0.5}
    assert math.isnan(overlap(np.zeros(3, bool), np.zeros(3, bool))["dice"])


def test_maps_of_other_axes_are_compared_voxel_by_voxel_in_the_patient(tmp_path):
    known = np.zeros((4, 5, 6), np.uint8)
    known[0, :2], known[3, 4, 5] = 1, 3
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(known, affine), tmp_path / "a_known.nii.gz")
    flipped = affine @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(known[::-1], flipped), tmp_path / "a_organs.nii.gz")
    (tmp_path / "t.csv").write_text("scan_id,organs\na,a_known.nii.gz\nb,absent.nii.gz\n")
    table = organ_scores(tmp_path / "t.csv", ["a", "b"], tmp_path).set_index("organ")
    assert table.loc["right_lung", "dice"] == 1
    assert table.loc["heart_mediastinum", "recall"] == 1
    assert math.isnan(table.loc["left_lung", "dice"])


def test_maps_of_other_shapes_and_scans_given_twice_are_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), tmp_path / "known.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 5, 7), np.uint8), np.eye(4)), tmp_path / "a_organs.nii.gz")
    (tmp_path / "t.csv").write_text("scan_id,organs\na,known.nii.gz\n")
    with pytest.raises(
        DataError, match=r"known\.nii\.gz and the organs found in a differ in shape: 6 x 5 x 4 and 7 x 5 x 4"
    ):
        organ_scores(tmp_path / "t.csv", ["a"], tmp_path)
    (tmp_path / "t.csv").write_text("scan_id,organs\na,known.nii.gz\na,other.nii.gz\n")
    with pytest.raises(ConfigError, match="scan a occurs more than once"):
        organ_scores(tmp_path / "t.csv", ["a"], tmp_path)
