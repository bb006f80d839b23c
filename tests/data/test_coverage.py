import numpy as np
import pytest

from organcam.data.coverage import coverage_problem, first_slice_at
from organcam.data.readers import read_geometry


@pytest.mark.parametrize(
    ("shape", "spacing", "words"),
    [
        ((512, 512, 300), (0.7, 0.7, 1.0), ""),
        ((512, 512, 6), (0.7, 0.7, 3.0), "covers 18 mm from top to bottom"),
        ((512, 512, 30), (0.7, 0.7, 16.0), "has slices 16.0 mm apart"),
        ((128, 512, 300), (0.7, 0.7, 1.0), "covers 90 mm from side to side"),
        ((512, 128, 300), (0.7, 0.7, 1.0), "covers 90 mm from front to back"),
    ],
)
def test_what_a_grid_cannot_hold_is_told(shape, spacing, words):
    found = coverage_problem(shape, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]))
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_the_axes_of_the_file_do_not_matter():
    sagittal = np.array([[0, 0, 3.0, 0], [0.7, 0, 0, 0], [0, 0.7, 0, 0], [0, 0, 0, 1]])
    assert coverage_problem((512, 512, 100), sagittal) == ""
    assert "from side to side" in coverage_problem((512, 512, 20), sagittal)


def test_real_scans_cover_a_chest(shared_data):
    for name in ("lung_pet_ct_dx/A0001.nii.gz", "lung_pet_ct_dx/A0002_dicom", "cip64/ct-64.nrrd"):
        assert coverage_problem(*read_geometry(shared_data / name)) == ""


@pytest.mark.parametrize(
    ("directions", "end"),
    [((-1, -1, 1), "feet"), ((1, 1, 1), "feet"), ((1, 1, -1), "head"), ((-1, 1, -1), "head")],
)
def test_a_header_tells_the_end_at_which_slices_begin(directions, end):
    affine = np.diag([*directions, 1.0])
    assert first_slice_at(affine) == end
    # Sagittal slices run from side to side: what counts is the axis along the body.
    assert first_slice_at(affine[:, [2, 0, 1, 3]]) == end
