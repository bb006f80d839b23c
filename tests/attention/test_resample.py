import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from organcam.attention import to_input_grid
from organcam.geometry import FeatureGrid


def line(cells, stride, offset, voxels):
    return FeatureGrid((cells, 1, 1), (stride, 3, 3), (offset, 1, 1), (1, 1, 1), (voxels, 3, 3))


def along(values, grid):
    return to_input_grid(np.array(values, dtype=np.float32)[:, None, None], grid)[:, 1, 1].tolist()


def test_slabs_of_three_slices_by_hand():
    # Centres 1 and 4: slices 1..4 in between, the outermost take the nearest slab.
    np.testing.assert_allclose(along([0, 3], line(2, 3, 1, 6)), [0, 0, 1, 2, 3, 3], atol=1e-6)


def test_nothing_beyond_the_cells():
    # Centres 4 and 6, cells from 3 to 7: zero before 3 and after 7.
    assert along([2, 4], line(2, 2, 4, 10)) == [0, 0, 0, 2, 2, 3, 4, 4, 0, 0]


def test_cells_that_leave_the_volume():
    assert along([2, 4, 6], line(3, 2, -1, 4)) == [3, 4, 5, 6]


def test_single_cell_fills_its_extent():
    assert along([5], line(1, 3, 3, 7)) == [0, 0, 5, 5, 5, 0, 0]


def test_tiling_cells_agree_with_torch():
    grid = FeatureGrid((4, 5, 6), (3, 8, 8), (1, 3.5, 3.5), (3, 8, 8), (12, 40, 48))
    attention = torch.randn(4, 5, 6, dtype=torch.float32)
    expected = functional.interpolate(attention[None, None], (12, 40, 48), mode="trilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(to_input_grid(attention, grid), expected, rtol=0, atol=1e-5)


def test_reference_head_stays_in_the_middle_of_the_image():
    grid = FeatureGrid((1, 6, 6), (3, 32, 32), (1, 128, 128), (3, 691, 691), (3, 420, 420))
    found = to_input_grid(torch.ones(1, 6, 6), grid)
    inside = found[1, 200].nonzero()[:, 0]
    assert (inside.min(), inside.max()) == (112, 304)  # torch would fill all 420 columns


@given(st.integers(0, 1000), st.floats(0.5, 5), st.floats(-3, 9))
def test_value_at_a_centre_is_the_cell_and_the_rest_lies_between(seed, stride, offset):
    grid = line(4, stride, offset, 12)
    values = np.random.default_rng(seed).normal(size=4).astype(np.float32)
    found = np.array(along(values, grid))
    assert found.max() <= max(values.max(), 0) + 1e-5
    assert found.min() >= min(values.min(), 0) - 1e-5
    for centre, value in zip(grid.centres(0), values, strict=True):
        if centre == int(centre) and 0 <= centre < 12:
            assert found[int(centre)] == pytest.approx(value, abs=1e-5)


def test_numpy_and_torch_are_alike():
    grid = FeatureGrid((2, 3, 3), (3, 4, 4), (1, 2, 2), (3, 9, 9), (6, 14, 14))
    attention = np.random.default_rng(0).normal(size=(2, 3, 3))
    found = to_input_grid(attention, grid)
    assert found.dtype == np.float32
    assert found.shape == (6, 14, 14)
    assert np.array_equal(found, to_input_grid(torch.from_numpy(attention).float(), grid).numpy())
    assert to_input_grid(torch.from_numpy(attention), grid).dtype == torch.float64


def test_a_tensor_stays_on_its_device():
    grid = line(2, 3, 1, 6)
    found = to_input_grid(torch.zeros(2, 1, 1, device="meta"), grid)
    assert (found.device.type, tuple(found.shape)) == ("meta", (6, 3, 3))


def test_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"map of \(2, 1, 1\) cells, got \(1, 2, 1\)"):
        to_input_grid(np.zeros((1, 2, 1)), line(2, 3, 1, 6))
