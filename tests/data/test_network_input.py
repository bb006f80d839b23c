import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.data.network_input import grid_on_scan, input_affine, input_start
from organcam.data.volume import Volume
from organcam.geometry import FeatureGrid


@pytest.mark.parametrize(("stored", "start"), [(400, -2), (405, 0), (406, 0), (407, 1), (410, 2), (404, 0), (403, -1)])
def test_start_is_the_published_centring(stored, start):
    """floor(need / 2) is padded before, floor(excess / 2) cropped: hand-computed for 405."""
    assert input_start((stored,), (405,)) == (start,)


@given(
    spacing=st.tuples(*[st.floats(0.4, 5)] * 3),
    target=st.tuples(*[st.floats(0.4, 5)] * 3),
    shape=st.tuples(*[st.integers(5, 60)] * 3),
    cell=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_a_cell_lies_at_one_place_of_the_patient_in_both_grids(spacing, target, shape, cell):
    grid = FeatureGrid((4, 4, 4), (3.0, 8.0, 8.0), (1.0, 3.5, 3.5), (3, 47, 47), (12, 32, 32))
    scan = Volume(np.zeros(shape, np.int8), np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])).reoriented()
    stored = scan.affine @ np.diag([*(np.array(target) / scan.spacing), 1.0])
    affine = input_affine(stored, (20, 30, 40), grid.input_shape)
    on_scan = grid_on_scan(grid, affine, scan.affine, scan.array.shape)
    place = [grid.centres(axis)[cell[axis]] for axis in range(3)]
    place_on_scan = [on_scan.centres(axis)[cell[axis]] for axis in range(3)]
    np.testing.assert_allclose(affine @ [*place, 1], scan.affine @ [*place_on_scan, 1], atol=1e-8)


def test_turned_grids_are_refused():
    grid = FeatureGrid((1, 1, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 1, 1), (2, 2, 2))
    turned = np.eye(4)[[1, 0, 2, 3]]
    with pytest.raises(ValueError, match="turned against each other"):
        grid_on_scan(grid, np.eye(4), turned, (2, 2, 2))
