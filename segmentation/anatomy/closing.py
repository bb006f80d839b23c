"""Closing each lung: vessels, small lesions and juxtapleural nodules come back, the liver dome does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..morphology import bounding_box, close, component_sizes, components, fill_holes
from ..types import LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray

__all__ = ["close_lungs", "fill_small_holes"]

CLOSING_MM = 9.0
HOLE_MM2 = 500.0
"""Largest hole filled slice by slice; unlimited filling would swallow the liver dome, which the lung surrounds."""


def close_lungs(lungs: LabelArray, keep_out: BoolArray, spacing: Sequence[float]) -> LabelArray:
    """Closed lungs.

    Args:
        lungs: aerated lungs, uint8 [D, H, W], 1 right and 2 left.
        keep_out: bool, voxels that closing must not take (airways).
        spacing: millimetres.
    """
    out = lungs.copy()
    margin = tuple(int(CLOSING_MM / s) + 2 for s in spacing)
    for label in (RIGHT_LUNG, LEFT_LUNG):
        own = lungs == label
        if not own.any():
            continue
        box = bounding_box(own, margin)
        part = own[box]
        closed = fill_holes(close(part, CLOSING_MM, spacing))
        closed = fill_small_holes(closed, spacing)
        other = out[box]
        take = closed & (other == 0) & ~keep_out[box]
        other[take] = label
    return out


def fill_small_holes(mask: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Fill holes under 500 mm2 in every axial slice."""
    out, box = mask.copy(), bounding_box(mask)
    part = out[box]  # a view; a hole that reaches its border goes on outside it
    limit = HOLE_MM2 / (spacing[1] * spacing[2])
    for k in range(len(part)):
        labels, count = components(~part[k], connectivity=4)
        if count < 2:
            continue
        sizes = component_sizes(labels, count)
        edge = np.zeros(count + 1, dtype=bool)
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            edge[line] = True
        fill = (sizes < limit) & ~edge
        fill[0] = False
        part[k] |= fill[labels]
    return out
