"""Occupancy of feature grids: hand-computed cells, a brute-force oracle, thirds, rough regions."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organcam.geometry import FeatureGrid
from organcam.segmentation.regions import lung_thirds, organ_occupancy, rough_regions
from organcam.segmentation.regions.shrink import reference_regions


def grid(shape, stride, offset, input_shape):
    return FeatureGrid(shape, stride, offset, (1, 1, 1), input_shape)


def test_half_covered_cell_counts_half():
    labels = np.zeros((2, 4, 4), dtype=np.uint8)
    labels[:, :2, :1] = 1
    cells = organ_occupancy(labels, grid((1, 2, 2), (2, 2, 2), (0.5, 0.5, 0.5), (2, 4, 4)))
    assert cells[0].tolist() == [[[0.5, 0.0], [0.0, 0.0]]]
    assert not cells[1:].any()


def test_cells_that_leave_the_volume_are_not_covered_there():
    labels = np.full((3, 3, 3), 3, dtype=np.uint8)
    cells = organ_occupancy(labels, grid((1, 1, 1), (6, 3, 3), (1, 1, 1), (3, 3, 3)))
    assert cells[2, 0, 0, 0] == pytest.approx(0.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.7, 3.3), st.floats(-1.0, 2.0))
def test_box_sums_agree_with_fine_sampling(seed, stride, offset):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (5, 6, 7)).astype(np.uint8)
    cells = organ_occupancy(labels, grid((2, 3, 3), (stride,) * 3, (offset,) * 3, (5, 6, 7)))
    sub = (np.arange(40) + 0.5) / 40 - 0.5
    for organ in (1, 2, 3):
        for c in ((0, 0, 0), (1, 2, 1)):
            index = [np.floor(offset + i * stride + sub * stride + 0.5).astype(int) for i in c]
            inside = [(v >= 0) & (v < n) for v, n in zip(index, labels.shape, strict=True)]
            picked = labels[np.ix_(*(np.clip(v, 0, n - 1) for v, n in zip(index, labels.shape, strict=True)))] == organ
            picked = picked & inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None]
            assert cells[(organ - 1, *c)] == pytest.approx(picked.mean(), abs=0.08)


def test_grid_for_another_shape_is_refused():
    with pytest.raises(ValueError, match="made for input shape"):
        organ_occupancy(np.zeros((3, 3, 3), dtype=np.uint8), grid((1, 1, 1), (1, 1, 1), (0, 0, 0), (4, 4, 4)))


def test_thirds_hold_equal_volumes_from_head_to_foot():
    labels = np.zeros((9, 4, 4), dtype=np.uint8)
    labels[:, :, 0] = 1
    labels[3:, :, 3] = 2
    thirds = lung_thirds(labels)
    assert [int((thirds == v).sum()) for v in range(1, 7)] == [12, 12, 12, 8, 8, 8]
    assert thirds[0, 0, 0] == 1
    assert thirds[8, 0, 3] == 6
    assert not lung_thirds(np.zeros((3, 3, 3), dtype=np.uint8)).any()


def test_rough_regions_are_the_published_boxes_on_the_published_grid():
    tiles = SimpleNamespace(
        shape=(135, 6, 6), stride=(3.0, 70.0, 70.0), offset=(1.0, 34.5, 34.5), input_shape=(405, 420, 420)
    )
    empty = np.zeros((4, 4, 4), dtype=np.uint8)
    assert np.array_equal(rough_regions(tiles), reference_regions(empty))


def test_unknown_mode_names_the_legal_ones():
    with pytest.raises(ValueError, match="did you mean 'nearest'"):
        reference_regions(np.ones((3, 3, 3), dtype=np.uint8), "nearst")
