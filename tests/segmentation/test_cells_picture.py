"""The picture of a grid over the CT: what is tinted, what is not, and its size."""

from __future__ import annotations

import numpy as np
import pytest

from organcam.geometry import FeatureGrid
from organcam.segmentation.pictures.cells_picture import ALLOWED_RGB, cells_picture

GRID = FeatureGrid((4, 2, 2), (3, 10, 10), (1, 4.5, 4.5), (1, 1, 1), (12, 20, 20))


def test_allowed_cells_are_tinted_and_others_stay_grey():
    volume = np.full((12, 20, 20), -1000, np.int16)
    allowed = np.zeros((4, 2, 2), bool)
    allowed[:, 1, 0] = True  # behind, on the patient's right
    picture = cells_picture(volume, np.zeros_like(volume, np.uint8), GRID, allowed, (10, 20, 20), axial=1, columns=1)
    assert picture.shape == (7 * 320, 320, 3)
    tile = picture[:320].astype(int)  # 400 mm at 1.25 mm: the 20 x 20 voxels fill it
    tint = [int(channel * 0.38) for channel in ALLOWED_RGB]
    assert abs(tile[240, 80] - tint).max() <= 1
    assert tile[80, 80].tolist() == tile[240, 240].tolist() == [0, 0, 0]
    assert tile[160, 80].sum() > 0  # the line between the rows of cells
    assert tile[159:161].any(axis=(0, 2)).all()


def test_a_label_that_is_allowed_nowhere_still_gives_a_picture():
    volume = np.zeros((12, 20, 20), np.int16)
    picture = cells_picture(volume, volume.astype(np.uint8), GRID, np.zeros((4, 2, 2), bool), (2, 2, 2))
    assert picture.ndim == 3
    assert picture.max() > 0


def test_shapes_that_do_not_fit_are_refused():
    volume = np.zeros((12, 20, 20), np.int16)
    with pytest.raises(ValueError, match="must agree"):
        cells_picture(volume, volume.astype(np.uint8)[1:], GRID, np.zeros((4, 2, 2), bool), (1, 1, 1))
