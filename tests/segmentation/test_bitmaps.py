"""Region bitmaps of a scan: sets of organs, thirds, both registrations, dilation, packing."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from organcam.geometry import FeatureGrid
from organcam.segmentation.regions import lung_bases
from organcam.segmentation.regions.bitmaps import (
    REGION_NAMES,
    bitmaps_of_occupancy,
    organ_regions,
    pack_bitmaps,
    rough_bitmaps,
    unpack_bitmaps,
)
from organcam.segmentation.regions.shrink import dilate_cells, reference_regions

TILES = FeatureGrid((3, 2, 2), (3, 2, 2), (1, 0.5, 0.5), (1, 1, 1), (9, 4, 4))


def index(name):
    return REGION_NAMES.index(name)


def test_organs_of_a_set_cover_a_cell_together():
    occupancy = np.array([0.15, 0.15, 0.1], np.float32).reshape(3, 1, 1, 1)
    allowed = bitmaps_of_occupancy(occupancy, 0.3).ravel()
    named = dict(zip(REGION_NAMES, allowed, strict=False))
    assert named == {
        "right_lung": False,
        "left_lung": False,
        "right_lung+left_lung": True,
        "heart_mediastinum": False,
        "right_lung+heart_mediastinum": False,
        "left_lung+heart_mediastinum": False,
        "right_lung+left_lung+heart_mediastinum": True,
    }


def test_threshold_zero_means_any_contact():
    occupancy = np.array([0.001, 0.0, 0.0], np.float32).reshape(3, 1, 1, 1)
    assert bitmaps_of_occupancy(occupancy, 0.0).ravel().tolist() == [True, False, True, False, True, False, True]


def test_thirds_are_the_lung_cut_in_three_from_head_to_foot():
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[:, :2, :2] = 1  # fills the first row and column of cells of all three slabs
    labels[3:9, 2:, 2:] = 2  # two slabs of the last
    regions = organ_regions(labels, TILES, thirds=True)
    for slab, name in enumerate(("right_upper", "right_middle", "right_lower")):
        expected = np.zeros((3, 2, 2), bool)
        expected[slab, 0, 0] = True
        assert np.array_equal(regions[index(name)], expected), name
    # The left lung's six slices: the first slab holds its upper third and half of the middle one, the last the rest.
    held = {name: regions[index(name)][:, 1, 1].tolist() for name in REGION_NAMES[10:13]}
    assert held == {
        "left_upper": [False, True, False],
        "left_middle": [False, True, True],
        "left_lower": [False, False, True],
    }


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.25, 0.6]))
def test_thirds_make_up_their_lung_and_nothing_else(seed, threshold):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, (9, 4, 4)).astype(np.uint8)
    regions = organ_regions(labels, TILES, threshold=threshold, thirds=True)
    assert np.array_equal(regions[7:10].any(axis=0), regions[index("right_lung")])
    assert np.array_equal(regions[10:13].any(axis=0), regions[index("left_lung")])
    assert np.array_equal(regions[:7], organ_regions(labels, TILES, threshold=threshold))


def small_chest():
    """Right lung down to slice 3, one row of it ending high; left lung down to slice 5; heart between."""
    labels = np.zeros((9, 4, 5), np.uint8)
    labels[:4, :, 0] = 1
    labels[1:, 2, 0] = 0  # a fissure of air: this column ends in the upper half
    labels[:6, :, 4] = 2
    labels[:9, 1:, 2] = 3
    return labels


def test_base_is_what_lies_under_the_back_half_of_each_lung():
    base = lung_bases(small_chest(), 2)
    # The right lung ends at slice 3 in rows 0, 1 and 3, whose median is row 1; in row 2 it ends at slice 0.
    expected = np.zeros((9, 4, 5), np.uint8)
    for row in (1, 3):
        expected[4:6, row, 0] = 1
    expected[6:8, 1:, 4] = 2
    assert np.array_equal(base, expected)


def test_base_takes_nothing_from_organs_and_stops_at_the_last_slice():
    labels = small_chest()
    labels[4:, 3, 0] = 3
    base = lung_bases(labels, 100)
    assert not base[labels > 0].any()
    assert base[8, 3, 4] == 2
    assert not lung_bases(labels, 0).any()
    assert not lung_bases(np.zeros((3, 3, 3), np.uint8), 2).any()


def test_base_bitmaps_are_the_cells_that_only_the_base_adds():
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[:6, :, :2] = 1
    without = organ_regions(labels, TILES)
    regions = organ_regions(labels, TILES, base_slices=3)
    assert len(regions) == 9
    assert np.array_equal(regions[:7], without)
    right, left = regions[7:]
    assert np.argwhere(right).tolist() == [[2, 0, 0], [2, 1, 0]]  # rows 1 to 3: half of the front cell, all of the back
    assert not left.any()
    both = organ_regions(labels, TILES, thirds=True, base_slices=3)
    assert len(both) == 15
    assert np.array_equal(both[:13], organ_regions(labels, TILES, thirds=True))
    assert np.array_equal(both[13:], regions[7:])
    assert [len(rough_bitmaps(TILES, thirds, bases=True)) for thirds in (False, True)] == [9, 15]


@pytest.mark.parametrize("mode", ["nearest", "area", "trilinear"])
@pytest.mark.parametrize(("shape", "cells"), [((9, 8, 12), (3, 2, 2)), ((7, 10, 9), (3, 4, 2)), ((4, 5, 3), (6, 7, 4))])
def test_shrinking_is_that_of_torch_for_any_sizes(mode, shape, cells):
    labels = np.random.default_rng(1).integers(0, 4, shape).astype(np.uint8)
    found = reference_regions(labels, mode, input_shape=shape, cells=cells)
    for organ in (1, 2, 3):
        mask = torch.from_numpy((labels == organ).astype(np.float32))[None, None]
        expected = torch.nn.functional.interpolate(mask, cells, mode=mode)[0, 0] > 1e-7
        assert np.array_equal(found[organ - 1], expected.numpy())


def test_reference_registration_reads_the_corners_of_tiles_and_joins_organs():
    labels = np.zeros((9, 4, 4), np.uint8)
    labels[0, 0, 0], labels[3, 2, 2], labels[8, 3, 3] = 1, 3, 2
    regions = organ_regions(labels, TILES, registration="reference")
    assert np.argwhere(regions[index("right_lung")]).tolist() == [[0, 0, 0]]
    assert not regions[index("left_lung")].any()  # no corner of a tile
    assert np.argwhere(regions[index("right_lung+heart_mediastinum")]).tolist() == [[0, 0, 0], [1, 1, 1]]
    area = organ_regions(labels, TILES, registration="reference", mode="area")
    assert np.argwhere(area[index("left_lung")]).tolist() == [[2, 1, 1]]


def test_dilation_grows_by_one_cell_a_step():
    masks = np.zeros((1, 5, 5, 5), bool)
    masks[0, 2, 2, 2] = True
    assert dilate_cells(masks, 0).sum() == 1
    assert dilate_cells(masks, 1).sum() == 27
    assert dilate_cells(masks, 2).all()


def test_rough_regions_have_no_narrower_thirds():
    regions = rough_bitmaps(TILES, thirds=True)
    assert np.array_equal(regions[7], regions[index("right_lung")])
    assert np.array_equal(regions[12], regions[index("left_lung")])
    assert regions[2].all()


def test_all_bitmaps_of_a_full_size_scan_come_back_and_take_under_ten_kilobytes():
    z, y, x = np.ogrid[:135, :210, :210]
    labels = np.zeros((135, 210, 210), np.uint8)
    rough = np.random.default_rng(0).normal(0, 0.04, labels.shape)  # an uneven border
    for value, (row, column, tall, wide) in {1: (105, 60, 70, 42), 2: (105, 150, 70, 42), 3: (90, 110, 45, 40)}.items():
        labels[((z - 68) / 60) ** 2 + ((y - row) / tall) ** 2 + ((x - column) / wide) ** 2 < 1 + rough] = value
    grid = FeatureGrid((135, 14, 14), (1, 15, 15), (0, 7, 7), (1, 1, 1), labels.shape)
    regions = organ_regions(labels, grid, thirds=True)
    packed = pack_bitmaps(regions)
    assert np.array_equal(unpack_bitmaps(packed, grid.shape), regions)
    file = io.BytesIO()
    np.savez_compressed(file, regions=packed)
    assert file.tell() < 10_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"registration": "refrence"}, "did you mean 'reference'"),
        ({"registration": "reference", "mode": "aera"}, "did you mean 'area'"),
        ({"threshold": 25}, r"\[0, 1\], got 25"),
        ({"dilate": -1}, "whole number"),
        ({"base_slices": -1}, "base_slices counts slices"),
        ({"base_slices": 2, "registration": "reference"}, "knows no base"),
    ],
)
def test_illegal_options_are_refused_with_the_legal_ones(options, words):
    with pytest.raises(ValueError, match=words):
        organ_regions(np.ones((9, 4, 4), np.uint8), TILES, **options)
