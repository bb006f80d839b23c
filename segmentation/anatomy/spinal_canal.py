"""The spinal canal: the one place in a chest that bone surrounds on all sides, whatever contrast the vessels hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..morphology import component_sizes, components
from ..types import BoolArray

__all__ = ["canal_columns"]

REACH_MM, SURROUNDED = 16.0, 7
"""Bone must be met within this distance in so many of eight directions."""

SECTION_MM2 = (40.0, 900.0)

ASIDE_MM = 50.0
"""How far from the middle of the body the canal may lie."""


def canal_columns(
    bone: BoolArray, posterior: BoolArray, centre: npt.NDArray[np.float64], spacing: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Column of the middle of the spinal canal in every slice, NaN where it is not seen, [D].

    Args:
        bone: bool, [D, H, W] in the frame (I, P, L).
        posterior: bool, [D, H], rows of the posterior half of the body.
        centre: column of the middle of the body in every slice, [D].
        spacing: millimetres.
    """
    depth, _, width = bone.shape
    reach = int(ASIDE_MM / spacing[2])
    low, high = max(0, int(centre.min()) - reach), min(width, int(centre.max()) + reach + 1)
    rows = np.flatnonzero(posterior.any(axis=0))
    out = np.full(depth, np.nan)
    if rows.size == 0 or high <= low:
        return out
    part = bone[:, rows[0] : rows[-1] + 1, low:high]
    hits = np.zeros(part.shape, dtype=np.uint8)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            if down or across:
                hits += _bone_ahead(part, down, across, spacing)
    candidate = (hits >= SURROUNDED) & ~part & posterior[:, rows[0] : rows[-1] + 1, None]
    pixel = spacing[1] * spacing[2]
    columns = np.arange(low, high, dtype=np.float64)
    for k in np.flatnonzero(candidate.any(axis=(1, 2))):
        labels, count = components(candidate[k], connectivity=4)
        sizes = component_sizes(labels, count) * pixel
        fitting = np.flatnonzero((sizes > SECTION_MM2[0]) & (sizes < SECTION_MM2[1]))
        if fitting.size:
            # A vertebral body of little bone may be a hole as well: it lies in the same column.
            best = fitting[int(sizes[fitting].argmax())]
            out[k] = columns[np.nonzero(labels == best)[1]].mean()
    return out


def _bone_ahead(bone: BoolArray, down: int, across: int, spacing: Sequence[float]) -> BoolArray:
    """Whether bone is met within reach in one of the eight directions of the axial plane."""
    step = float(np.hypot(down * spacing[1], across * spacing[2]))
    out = np.zeros_like(bone)
    height, width = bone.shape[1:]
    for k in range(1, int(REACH_MM / step + 0.5) + 1):
        dy, dx = k * down, k * across
        if abs(dy) >= height or abs(dx) >= width:
            break
        to = (slice(None), slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx)))
        of = (slice(None), slice(max(0, dy), height - max(0, -dy)), slice(max(0, dx), width - max(0, -dx)))
        out[to] |= bone[of]
    return out
