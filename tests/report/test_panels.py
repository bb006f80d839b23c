"""Pictures of planes: orientation, aspect, colours, and maps at the right place."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from organcam.attention import to_input_grid
from organcam.geometry import FeatureGrid
from organcam.report.panels import WINDOWS, Layers, colour_ramp, data_uri, overlay, png_bytes, render_panel, stacked
from organcam.report.planes import Plane, centre_voxel, cut, cut_aligned, cut_cells, cut_map, peak_voxel, planes_through

SHAPE = (20, 30, 40)
GRID = FeatureGrid((5, 4, 6), (4.0, 8.0, 7.0), (1.5, 2.5, 3.0), (9, 9, 9), SHAPE)


def bright(plane: Plane, voxel: tuple[int, int, int], spacing: tuple[float, float]) -> tuple[float, float]:
    """Where a bright block around a voxel lands in the picture: share of its height, share of its width."""
    volume = np.full((40, 40, 40), -1000, dtype=np.int16)
    z, y, x = voxel
    volume[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2] = 1000
    picture = render_panel(Layers(cut(volume, plane), spacing), plane, 40, WINDOWS["mediastinum"], 1.0, 0.5)
    grey = picture.min(axis=2).astype(int)
    grey[:40, :], grey[-40:, :], grey[:, :30], grey[:, -30:] = 0, 0, 0, 0  # letters and bar
    rows, columns = np.nonzero(grey > 200)
    return rows.mean() / grey.shape[0], columns.mean() / grey.shape[1]


def test_patient_right_is_image_left_and_anterior_and_head_are_up() -> None:
    upper_right_front = (12, 12, 12)  # axes I, P, L: near the head, the front and the patient's right
    axial, coronal, sagittal = planes_through(upper_right_front)
    assert bright(axial, upper_right_front, (5.0, 5.0)) == pytest.approx((12.5 / 40, 12.5 / 40), abs=0.02)
    lower_left_back = (28, 27, 26)
    assert bright(planes_through(lower_left_back)[0], lower_left_back, (5.0, 5.0)) == pytest.approx(
        (27.5 / 40, 26.5 / 40), abs=0.02
    )
    assert bright(planes_through(lower_left_back)[1], lower_left_back, (5.0, 5.0)) == pytest.approx(
        (28.5 / 40, 26.5 / 40), abs=0.02
    )
    assert bright(planes_through(lower_left_back)[2], lower_left_back, (5.0, 5.0)) == pytest.approx(
        (28.5 / 40, 27.5 / 40), abs=0.02
    )
    assert axial.edges == ("R", "L", "A", "P")
    assert coronal.edges == ("R", "L", "H", "F")
    assert sagittal.edges == ("A", "P", "H", "F")


def test_picture_has_the_patients_proportions() -> None:
    layers = Layers(np.zeros((10, 50), dtype=np.int16), (5.0, 0.8))
    picture = render_panel(layers, Plane("coronal", 1, 0), 5, WINDOWS["lung"], 1.0, 0.4)
    assert picture.shape == (125, 100, 3)


def test_window_limits_are_black_and_white() -> None:
    hu = np.repeat(np.array([[-160, 240, 40]]), 60, axis=0).repeat(60, axis=1)
    picture = render_panel(Layers(hu, (2.0, 2.0)), Plane("axial", 0, 0), 1, WINDOWS["mediastinum"], 1.0, 2.0)
    assert picture[30, [30, 90, 150]].tolist() == [[0] * 3, [255] * 3, [128] * 3]


def test_overlay_is_warm_above_zero_cool_below_and_clear_at_zero() -> None:
    colour, alpha = overlay(np.array([-5.0, -1.0, 0.0, 1.0, 5.0], dtype=np.float32), 1.0)
    assert alpha[2] == 0
    assert alpha[0] == alpha[1] == alpha[3] == alpha[4] > 0.5
    assert (colour[3:, 0] > colour[3:, 2]).all()
    assert (colour[:2, 2] > colour[:2, 0]).all()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=8), st.floats(0.125, 10, width=32))
def test_overlay_is_symmetric_in_opacity(values: list[float], scale: float) -> None:
    array = np.array(values, dtype=np.float32)
    np.testing.assert_allclose(overlay(array, scale)[1], overlay(-array, scale)[1], atol=1e-6)


def test_ramp_ends_cool_and_warm() -> None:
    ramp = colour_ramp(101, 3).astype(int)
    assert ramp.shape == (3, 101, 3)
    assert ramp[0, 0, 2] > ramp[0, 0, 0]
    assert ramp[0, 100, 0] > ramp[0, 100, 2]
    assert ramp[0, 50].tolist() == [96, 96, 96]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cut_of_a_map_is_the_plane_of_the_whole_map(axis: int) -> None:
    cells = np.random.default_rng(axis).normal(size=GRID.shape).astype(np.float32)
    whole = to_input_grid(cells, GRID)
    for index in (0, 7, SHAPE[axis] - 1):
        plane = Plane("axial", axis, index)
        np.testing.assert_allclose(cut_map(cells, GRID, plane), whole.take(index, axis=axis), atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_cut_of_cells_is_the_boxes_that_hold_each_voxel(axis: int) -> None:
    cells = np.random.default_rng(axis).random(GRID.shape) > 0.5
    whole = np.zeros(SHAPE, dtype=bool)
    bounds = [GRID.cell_bounds(a) for a in range(3)]
    for cell in np.argwhere(cells):
        box = [
            (np.arange(n) >= bounds[a][0][cell[a]]) & (np.arange(n) < bounds[a][1][cell[a]])
            for a, n in enumerate(SHAPE)
        ]
        whole |= box[0][:, None, None] & box[1][None, :, None] & box[2][None, None, :]
    for index in (0, 9, SHAPE[axis] - 1):
        np.testing.assert_array_equal(cut_cells(cells, GRID, Plane("axial", axis, index)), whole.take(index, axis=axis))


def test_peak_is_the_centre_of_the_highest_cell() -> None:
    cells = np.zeros(GRID.shape, dtype=np.float32)
    cells[2, 1, 3] = 1
    assert peak_voxel(cells, GRID) == (10, 10, 24)
    cells[4, 3, 5] = 2  # its centre, voxel 38 of 40 along W, lies inside; 17.5 and 26.5 round to even
    assert peak_voxel(cells, GRID) == (18, 26, 38)


def test_label_map_of_another_grid_is_cut_at_the_same_place_in_the_patient() -> None:
    fine = np.diag([-1.0, -1.0, -1.0, 1.0])
    coarse = np.diag([-2.0, -2.0, -2.0, 1.0])
    coarse[:3, 3] = -4.0  # begins 4 mm into the fine grid
    labels = np.zeros((5, 5, 5), dtype=np.uint8)
    labels[1, 2, 3] = 7  # 6, 8 and 10 mm into the fine grid
    plane = cut_aligned(labels, coarse, fine, (20, 20, 20), Plane("axial", 0, 6))
    assert plane.shape == (20, 20)
    assert plane[8, 10] == 7
    assert set(map(tuple, np.argwhere(plane))) <= {(r, c) for r in (7, 8, 9) for c in (9, 10, 11)}
    assert not cut_aligned(labels, coarse, fine, (20, 20, 20), Plane("axial", 0, 0)).any()
    assert not cut_aligned(labels, coarse, fine, (20, 20, 20), Plane("coronal", 1, 19)).any()


def test_turned_label_map_is_refused() -> None:
    turned = np.eye(4)[[1, 0, 2, 3]]
    with pytest.raises(ValueError, match="reorient"):
        cut_aligned(np.zeros((3, 3, 3), np.uint8), turned, np.eye(4), (3, 3, 3), Plane("axial", 0, 0))


def test_centre_of_a_lesion_is_a_voxel_of_it() -> None:
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[3, 2, 2] = True
    mask[4, 1:8, 2] = mask[4, 1, 2:8] = True  # hooked, so that its mean lies outside
    z, y, x = centre_voxel(mask, np.eye(4), np.eye(4), mask.shape)
    assert mask[z, y, x]
    assert z == 4
    assert centre_voxel(mask, np.eye(4), np.diag([0.5, 0.5, 0.5, 1]), (20, 20, 20)) == (2 * z, 2 * y, 2 * x)


def test_contours_are_drawn_and_nothing_else_changes() -> None:
    hu, mask = np.full((60, 60), 40, dtype=np.int16), np.zeros((60, 60), dtype=bool)
    mask[20:40, 20:40] = True
    plane, window = Plane("axial", 0, 3), WINDOWS["mediastinum"]
    bare = render_panel(Layers(hu, (1.0, 1.0)), plane, 9, window, 1.0, 1.0)
    drawn = render_panel(Layers(hu, (1.0, 1.0), organs=mask), plane, 9, window, 1.0, 1.0)
    changed = (bare != drawn).any(axis=2)
    border = mask.copy()
    border[21:39, 21:39] = False
    np.testing.assert_array_equal(changed, border)


def test_stacked_pictures_keep_their_pixels() -> None:
    above, below = np.full((4, 6, 3), 10, np.uint8), np.full((3, 2, 3), 200, np.uint8)
    sheet = stacked([above, below])
    assert sheet.shape == (4 + 4 + 3, 6, 3)
    assert (sheet[:4] == 10).all()
    assert (sheet[8:, 2:4] == 200).all()


def test_png_is_lossless_and_repeatable() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (12, 9, 3), dtype=np.uint8)
    content = png_bytes(picture)
    assert content == png_bytes(picture.copy())
    head, body = data_uri(content).split(",")
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))), picture)
