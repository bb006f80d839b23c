"""Airways, descending aorta and heart on a phantom with known vessels, and the mirrored chest."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.segmentation import HEART_MEDIASTINUM, PARTS, segment_organs


@pytest.fixture(scope="module")
def parts(phantom):
    return segment_organs(phantom.hu, affine=phantom.affine, parts=True)


def test_parts_lie_where_anatomy_has_them(phantom, parts):
    found = parts.parts
    assert PARTS == ("airways", "descending_aorta", "heart")
    assert set(np.unique(found)) == {0, 1, 2, 3}
    assert float(phantom.hu[found == 1].mean()) < -700  # the lumen
    # The aorta goes down left of and behind the heart (axes: down, back, left).
    aorta, heart = np.argwhere(found == 2).mean(axis=0), np.argwhere(found == 3).mean(axis=0)
    assert aorta[1] > heart[1]
    assert np.argwhere(found == 1)[:, 0].mean() < heart[0]
    inside = phantom.organs[found >= 2] == HEART_MEDIASTINUM
    assert inside.mean() > 0.75
    assert (parts.labels[found >= 2] == HEART_MEDIASTINUM).all()


def test_asking_for_parts_changes_nothing_else(phantom, parts):
    plain = segment_organs(phantom.hu, affine=phantom.affine)
    assert plain.parts is None
    assert np.array_equal(plain.labels, parts.labels)


def test_a_mirrored_chest_is_flagged_and_the_same_chest_is_not(phantom, phantom_mm):
    right = segment_organs(phantom.hu, spacing=phantom_mm).quality
    mirrored = segment_organs(np.ascontiguousarray(phantom.hu[:, :, ::-1]), spacing=phantom_mm).quality
    assert "left_right_flip" not in right.names
    assert "left_right_flip" in mirrored.names
    assert right.measures["left_right_score"] == pytest.approx(-mirrored.measures["left_right_score"], abs=0.8)


def test_a_real_chest_is_flagged_when_mirrored(shared_data):
    import nibabel as nib

    image = nib.load(shared_data / "lung_pet_ct_dx" / "A0002.nii.gz")
    volume = np.asanyarray(image.dataobj)[::2, ::2]
    affine = image.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = volume.shape[0] - 1
    assert "left_right_flip" not in segment_organs(volume, affine=affine).quality.names
    assert "left_right_flip" in segment_organs(volume, affine=affine @ flip).quality.names


def test_the_heart_itself_has_a_column_of_its_own_beside_heart_and_mediastinum(phantom, parts):
    measures = parts.quality.measures
    voxel_ml = abs(np.linalg.det(phantom.affine[:3, :3])) / 1000.0
    for value, name in enumerate(PARTS, start=1):
        assert measures[f"{name}_ml"] == pytest.approx((parts.parts == value).sum() * voxel_ml, rel=0.02)
    assert 0 < measures["heart_ml"] < measures["heart_mediastinum_ml"]
    assert "heart_ml" not in segment_organs(phantom.hu, affine=phantom.affine).quality.measures
