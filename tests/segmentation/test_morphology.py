"""Shifted-OR morphology against exact distance maps and hand-made arrays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from organcam.segmentation.morphology import (
    bounding_box,
    close,
    component_sizes,
    components,
    dilate,
    erode,
    fill_holes,
    largest_component,
    open_mask,
)


def test_one_voxel_grows_to_the_radius_along_each_axis_in_mm():
    mask = np.zeros((21, 21, 21), dtype=bool)
    mask[10, 10, 10] = True
    grown = dilate(mask, 6.0, (6.0, 2.0, 1.0))
    assert [int(grown.any(axis=a).any(axis=b).sum()) for a, b in ((1, 1), (0, 1), (0, 0))] == [3, 7, 13]


@pytest.mark.parametrize("radius", [2.0, 5.0, 9.0])
def test_ball_agrees_with_the_exact_distance_map_within_a_voxel(radius):
    mask = np.zeros((31, 31, 31), dtype=bool)
    mask[15, 15, 15] = True
    distance = ndi.distance_transform_edt(~mask)
    grown = dilate(mask, radius, (1.0, 1.0, 1.0))
    assert not (grown & (distance > radius + 1.0)).any()
    assert not (~grown & (distance < radius - 1.5)).any()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 4), st.integers(1, 9), st.sampled_from([1, 63, 64, 65, 130, 200])),
    st.tuples(*[st.integers(0, 5)] * 2, st.sampled_from([0, 1, 5, 40, 70, 130])),
)
def test_dilation_is_a_box_and_then_an_octahedron_over_the_borders_of_words(seed, shape, radius):
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.choice([0.01, 0.3, 0.9])
    box = [int(0.37 * r + 0.5) for r in radius]
    expected = ndi.binary_dilation(mask, np.ones([2 * b + 1 for b in box], dtype=bool))
    rest = [r - b for r, b in zip(radius, box, strict=True)]
    longest = max(rest)
    for k in range(longest):
        cross = np.zeros((3, 3, 3), dtype=bool)
        cross[1, 1, 1] = True
        for axis, r in enumerate(rest):
            if (k + 1) * r // longest > k * r // longest:
                cross[tuple(slice(None) if a == axis else 1 for a in range(3))] = True
        expected = ndi.binary_dilation(expected, cross)
    assert np.array_equal(dilate(mask, 1.0, [1.0 / max(r, 0.4) for r in radius]), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 4.0))
def test_erosion_is_the_dual_of_dilation_and_opening_only_removes(seed, radius):
    mask = np.random.default_rng(seed).random((9, 10, 11)) < 0.6
    spacing = (2.0, 1.0, 1.0)
    assert np.array_equal(erode(mask, radius, spacing), ~dilate(~mask, radius, spacing))
    assert not (open_mask(mask, radius, spacing) & ~mask).any()
    assert not (mask & ~close(mask, radius, spacing)).any()


def test_closing_fills_a_gap_but_does_not_grow_towards_the_border():
    mask = np.zeros((5, 5, 20), dtype=bool)
    mask[:, :, 4:8] = mask[:, :, 10:14] = True
    closed = close(mask, 2.0, (1.0, 1.0, 1.0))
    assert closed[2, 2, 4:14].all()
    assert not closed[2, 2, :4].any()


def test_largest_component_holes_and_boxes():
    mask = np.zeros((7, 7, 7), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    mask[3, 3, 3] = False
    mask[0, 0, 6] = True
    assert largest_component(mask).sum() == 124
    assert fill_holes(mask)[3, 3, 3]
    labels, count = components(mask)
    assert sorted(component_sizes(labels, count).tolist()) == [0, 1, 124]
    assert bounding_box(largest_component(mask), 1) == (slice(0, 7),) * 3
    assert bounding_box(np.zeros((2, 2, 2), dtype=bool)) == (slice(0, 0),) * 3
