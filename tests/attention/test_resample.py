import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from organcam.attention import to_input_grid
from organcam.attention.resample import resized_grid, sampled, to_cells, voxel_grid
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


FINE = FeatureGrid((6, 4), (1, 1), (0, 0), (1, 1), (6, 4))
COARSE = FeatureGrid((2, 2), (3, 2), (1, 0.5), (3, 2), (6, 4))


def test_voxels_are_cells_of_their_own():
    assert voxel_grid((6, 4)) == FINE


def test_what_is_finer_is_summed_over_each_cell():
    values = torch.arange(24.0).view(6, 4)
    # rows 0 to 2 and 3 to 5, columns 0 and 1, 2 and 3: 0+1+4+5+8+9 and so on
    assert to_cells(values, FINE, COARSE).tolist() == [[27, 39], [99, 111]]
    several = torch.stack([values, -values])[:, None]
    assert to_cells(several, FINE, COARSE)[:, 0].tolist() == [[[27, 39], [99, 111]], [[-27, -39], [-99, -111]]]
    with_gap = FeatureGrid((1, 2), (2, 2), (2.5, 0.5), (3, 2), (6, 4))  # rows 2 and 3 only
    assert to_cells(values, FINE, with_gap).tolist() == [[8 + 9 + 12 + 13, 10 + 11 + 14 + 15]]


def test_what_is_coarser_is_read_at_the_cells():
    rows = torch.tensor([[0.0, 0.0], [3.0, 6.0]])
    found = to_cells(rows, COARSE, FINE)
    # along the rows centres 1 and 4, along the columns centres 0.5 and 2.5
    assert found[:, 0].tolist() == pytest.approx([0, 0, 1, 2, 3, 3])
    assert found[5].tolist() == pytest.approx([3, 3.75, 5.25, 6])


def test_the_same_cells_are_the_same_maps_and_other_inputs_are_refused():
    values = torch.rand(2, 2)
    assert to_cells(values, COARSE, COARSE) is values
    with pytest.raises(
        ValueError, match=r"^cells of an input of \(6, 4\) voxels cannot become those of one of \(7, 4\)$"
    ):
        to_cells(values, COARSE, voxel_grid((7, 4)))


@pytest.mark.parametrize(("given", "kept"), [(torch.float16, torch.float32), (torch.float64, torch.float64)])
def test_precision_is_single_at_least(given, kept):
    values = torch.full((6, 4), 1024.0, dtype=given)
    assert to_cells(values, FINE, COARSE).dtype == kept
    assert to_cells(100 * torch.ones(2, 2, dtype=given), COARSE, FINE).dtype == kept
    assert to_input_grid(torch.ones(2, 2, dtype=given), COARSE).dtype == kept
    assert to_cells(values, FINE, COARSE)[0, 0] == 6144


def test_places_are_crossed_and_leading_axes_stay():
    values = torch.tensor([[[0.0, 2.0], [3.0, 5.0]], [[1.0, 1.0], [1.0, 1.0]]])
    found = sampled(values, COARSE, [np.array([1, 2.5, 4]), np.array([0.5, 1.5])])
    assert found[0].tolist() == [[0, 1], [1.5, 2.5], [3, 4]]
    assert (found[1] == 1).all()


@pytest.mark.parametrize(
    ("size", "stride", "offset", "field"),
    [((12, 8), (6, 4), (2.5, 1.5), (6, 4)), ((3, 2), (1.5, 1), (0.25, 0), (2, 1)), ((6, 4), (3, 2), (1, 0.5), (3, 2))],
)
def test_cells_of_a_resampled_input_keep_their_places_between_the_edges(size, stride, offset, field):
    found = resized_grid(COARSE, size)
    assert (found.shape, found.stride, found.offset) == ((2, 2), stride, offset)
    assert (found.receptive_field, found.input_shape) == (field, size)


@pytest.mark.parametrize("size", [(12,), (12, 8, 3), (0, 4)])
def test_sizes_that_are_none_are_refused(size):
    words = r"^size must be 2 positive numbers of voxels, for instance \(6, 4\), got \("
    with pytest.raises(ValueError, match=words):
        resized_grid(COARSE, size)


def test_several_maps_at_once_are_each_alone():
    maps = torch.rand(2, 3, 2, 2)
    found = to_input_grid(maps, COARSE)
    assert found.shape == (2, 3, 6, 4)
    assert found.is_contiguous()
    torch.testing.assert_close(found[1, 2], to_input_grid(maps[1, 2], COARSE))
