"""The heart's lower end: a surface between the two domes of the diaphragm."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..morphology import lowest_slices
from ..types import BoolArray
from .thorax import Thorax

__all__ = ["diaphragm_level", "heart_floor"]

FLOOR_MARGIN_MM, RIGHT_DOME_MM = 15.0, (-70.0, -40.0)
"""How far the heart reaches below the level of the domes beside it, and where, right of the midline, that tapers off:
under the right dome lies liver. Recall counts for more than precision, for what is left out is forbidden to the
network: on phantoms of 5 mm slices 10, 15 and 20 mm give recall .93, .945 and .95 at precision .96, .94 and .92."""

THICK_SLICE_MM, THICK_SLICE_MARGIN = 11.0, 0.375
"""Of slices this thick the floor takes three eighths more."""

BEHIND_MARGIN_MM = 12.0
"""The dome over the heart lies higher than the middle of its posterior slope."""


def heart_floor(right: BoolArray, left: BoolArray, thorax: Thorax) -> npt.NDArray[np.float64]:
    """Lowest slice of the heart for every (row, column), [H, W]: a little below ``diaphragm_level``.

    Args:
        right: bool, [D, H, W], the right lung.
        left: bool, same shape.
        thorax: landmarks of the same grid.
    """
    dz = thorax.spacing[0]
    margin = np.interp(_across(right.shape[2], thorax), RIGHT_DOME_MM, (0.0, FLOOR_MARGIN_MM)) / dz
    thick = THICK_SLICE_MARGIN if dz > THICK_SLICE_MM else 0.0
    return diaphragm_level(right, left, thorax) + margin + 0.5 + thick


def diaphragm_level(right: BoolArray, left: BoolArray, thorax: Thorax) -> npt.NDArray[np.float64]:
    """Slice of the diaphragm under the heart for every (row, column), [H, W].

    The lowest lung voxel of each column is the upper surface of the diaphragm, except where the lung lies on the
    heart. For each row the level beside the heart is taken on both sides and joined by a straight line.
    """
    height, width = right.shape[1:]
    spacing = thorax.spacing
    across = _across(width, thorax)
    # Beside the heart: right of it from 30 to 80 mm, left of it from 60 to 105 mm off the midline.
    bands = ((right, (across > -90) & (across < -35), 70.0), (left, (across > 55) & (across < 125), 80.0))
    levels = []
    back = (
        np.arange(height)
        > float(np.median(thorax.spine[thorax.top : thorax.bottom + 1])) - 60.0 * thorax.scale / spacing[1]
    )
    for lung, band, percent in bands:
        lowest = lowest_slices(lung)
        lowest[lowest < 0] = np.nan
        level = _row_levels(lowest[:, band], percent, height, thorax)
        # However large the heart, it does not reach under the posterior part of the lungs.
        behind = lowest[back][:, np.abs(across) > 55.0]
        if not np.isnan(behind).all():
            level = np.fmax(level, float(np.nanpercentile(behind, 40)) - BEHIND_MARGIN_MM / spacing[0])
        levels.append(level)
    if np.isnan(levels[0]).all():
        levels[0] = levels[1]
    if np.isnan(levels[1]).all():
        levels[1] = levels[0]
    if np.isnan(levels[0]).all():
        levels = [np.full(height, float(thorax.bottom))] * 2
    # The left dome is the lower one; where the left band seems higher, a large heart lies under that lung.
    levels[1] = np.maximum(levels[0], levels[1])
    share = np.clip((across + 60.0) / 80.0, 0.0, 1.0)
    return levels[0][:, None] * (1 - share) + levels[1][:, None] * share


def _across(width: int, thorax: Thorax) -> npt.NDArray[np.float64]:
    """Millimetres left of the midline in an adult's chest for every column."""
    middle = float(np.median(thorax.midline[thorax.top : thorax.bottom + 1]))
    return np.asarray((np.arange(width) - middle) * thorax.spacing[2] / thorax.scale, dtype=np.float64)


def _row_levels(
    lowest: npt.NDArray[np.float64], percent: float, height: int, thorax: Thorax
) -> npt.NDArray[np.float64]:
    """Percentile of the diaphragm's level in each row, smooth along the rows, held behind the heart.

    All NaN where the band holds no lung, or lies outside a cropped image."""
    if lowest.shape[1] == 0:
        return np.full(height, np.nan)
    counts = (~np.isnan(lowest)).sum(axis=1)
    ranked = np.sort(lowest, axis=1)  # NaN last
    place = np.clip((counts - 1) * percent / 100.0, 0, None).astype(np.intp)
    values = np.where(counts * thorax.spacing[2] > 15.0, ranked[np.arange(height), place], np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if known.size == 0:
        return values
    # Towards the back and the front the lung dips into the recesses: the heart's floor does not follow it there.
    lung_slices = slice(thorax.top, thorax.bottom + 1)
    back = float(np.median(thorax.spine[lung_slices])) - 45.0 * thorax.scale / thorax.spacing[1]
    front = float(np.percentile(thorax.front[lung_slices], 25)) + 30.0 * thorax.scale / thorax.spacing[1]
    used = known[(known <= back) & (known >= front)]
    used = used if used.size else known
    smooth = np.interp(np.arange(height), used, ndi.median_filter(values[used], 5, mode="nearest"))
    smooth = ndi.gaussian_filter1d(smooth, 8.0 / thorax.spacing[1], mode="nearest")
    reach = 12.0 / thorax.spacing[0]
    middle = float(np.median(smooth[used]))
    return np.clip(smooth, middle - reach, middle + reach)
