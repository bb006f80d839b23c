"""Heart and mediastinum with the great vessels: between the lungs, behind the sternum, before the spine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from .morphology import dilate, fill_holes, largest_component, open_mask
from .thorax import Thorax
from .types import LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray

__all__ = ["central_zone", "find_mediastinum", "heart_floor"]

AORTA_BEHIND_MM = 26.0
"""How far behind the vertebral front the descending aorta reaches."""

FLOOR_MARGIN_MM = 6.0

THICK_SLICE_MM, THICK_SLICE_MARGIN = 11.0, 0.75
"""Of slices this thick the floor takes three quarters more: on phantoms of 13 mm heart recall .85 to .88, precision
.95 to .92."""

SIDE_MARGIN_MM, SPINE_MARGIN_MM = 12.0, 4.0
"""What is not lung belongs to the mediastinum a little outside the zone that tells it from dense lung, too."""

BEHIND_MARGIN_MM = 12.0
"""The dome over the heart lies higher than the middle of its posterior slope."""


def central_zone(thorax: Thorax, shape: tuple[int, ...]) -> BoolArray:
    """Where mediastinum may be at all, by distance from midline and spine, for an adult's chest scaled to this one.

    Beside and just before the spine: 28 mm to the right (azygos vein, oesophagus), 48 mm to the left (aorta). Widening
    forward to 75 and 115 mm (heart), above the hila to 45 and 55 mm only. What lies between the lungs but outside this
    zone is dense lung or pleural fluid.
    """
    scale = thorax.scale
    before = thorax.before_spine(shape[1])
    across = thorax.from_midline(shape[2])
    above = (thorax.carina - np.arange(shape[0])) * thorax.spacing[0]
    high = np.clip((above - 20.0) / 30.0, 0.0, 1.0)[:, None, None].astype(np.float32)
    forward = np.clip((before - 20.0) / 40.0, 0.0, 1.0)
    right = 28.0 + forward * ((75.0 - 28.0) * (1 - high) + (45.0 - 28.0) * high)
    left = 48.0 + forward * ((115.0 - 48.0) * (1 - high) + (55.0 - 48.0) * high)
    zone = (across > -right * scale) & (across < left * scale)
    body_of_vertebra = (before < 0) & (across < 13.0 * scale)
    # Above its arch there is no aorta beside the spine.
    behind = np.where(above > 25.0, 0.0, AORTA_BEHIND_MM * scale)[:, None, None]
    return zone & ~body_of_vertebra & (before > -behind)


def find_mediastinum(
    volume: FloatArray, lungs: LabelArray, body: BoolArray, thorax: Thorax, zone: BoolArray
) -> BoolArray:
    """Heart and mediastinum.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: pleural lungs, 1 right and 2 left.
        body: bool, same shape, with the airways.
        thorax: landmarks of the same grid.
        zone: ``central_zone`` of the same grid.
    """
    spacing = thorax.spacing
    depth, height, width = lungs.shape
    right, left = lungs == RIGHT_LUNG, lungs == LEFT_LUNG
    columns, rows, slices = np.arange(width), np.arange(height), np.arange(depth)
    inner_right, inner_left = medial_borders(right, left, thorax)
    mask = (columns >= inner_right[:, :, None]) & (columns < inner_left[:, :, None])
    mask &= _with_margin(zone, thorax)
    mask &= (rows[None] >= thorax.front[:, None])[:, :, None]
    floor = heart_floor(right, left, thorax)
    over = slices[:, None, None] <= floor[None]
    before = thorax.before_spine(height)
    across = thorax.from_midline(width)
    # Below the heart only the aorta goes on, with the oesophagus, for the 70 mm to its gap in the diaphragm.
    strip = (before < 20.0) & (across > -10.0) & (across < 40.0)
    strip &= slices[:, None, None] <= float(np.median(floor)) + 70.0 * thorax.scale / spacing[0]
    mask &= over | strip
    mask[: max(thorax.top, int(thorax.carina - 80.0 * thorax.scale / spacing[0]))] = False
    mask[thorax.bottom + 1 :] = False
    mask &= ~(lungs > 0)
    mask &= body & ~_wall_bones(volume, thorax)
    mask = largest_component(open_mask(mask, 3.0, spacing))
    return fill_holes(mask) & ~(lungs > 0)


def _with_margin(zone: BoolArray, thorax: Thorax) -> BoolArray:
    """The zone grown sideways, and on the right of the vertebrae backwards."""
    before, across = thorax.before_spine(zone.shape[1]), thorax.from_midline(zone.shape[2])
    out = zone.copy()
    for k in range(1, round(SIDE_MARGIN_MM * thorax.scale / thorax.spacing[2]) + 1):
        out[:, :, k:] |= zone[:, :, :-k]
        out[:, :, :-k] |= zone[:, :, k:]
    not_left = across < 13.0 * thorax.scale
    beside = not_left & (across > -(28.0 + SIDE_MARGIN_MM) * thorax.scale)
    out |= beside & (before <= 0) & (before >= -SPINE_MARGIN_MM)
    return out & ~(not_left & (before < -SPINE_MARGIN_MM))


def medial_borders(
    right: BoolArray, left: BoolArray, thorax: Thorax
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For every (slice, row): the column after the right lung and the first of the left.

    Rows that miss a lung take the nearest row that has it; a side without any lung is mirrored from the other, but at
    least 60 mm (left) or 35 mm (right) from the midline.
    """
    depth, height, width = right.shape
    has_right, has_left = right.any(axis=2), left.any(axis=2)
    inner_right = width - right[:, :, ::-1].argmax(axis=2)
    inner_left = left.argmax(axis=2)
    for values, known in ((inner_right, has_right), (inner_left, has_left)):
        if known.any():
            nearest = ndi.distance_transform_edt(
                ~known, sampling=thorax.spacing[:2], return_distances=False, return_indices=True
            )
            values[...] = values[tuple(nearest)]
    middle = np.broadcast_to(thorax.midline[:, None], (depth, height))
    if not has_left.any():
        inner_left = np.maximum(2 * middle - inner_right, middle + 60.0 * thorax.scale / thorax.spacing[2]).astype(
            np.intp
        )
    if not has_right.any():
        inner_right = np.minimum(2 * middle - inner_left, middle - 35.0 * thorax.scale / thorax.spacing[2]).astype(
            np.intp
        )
    return inner_right, inner_left


def heart_floor(right: BoolArray, left: BoolArray, thorax: Thorax) -> npt.NDArray[np.float64]:
    """Slice of the diaphragm under the heart for every (row, column), [H, W].

    The lowest lung voxel of each column is the upper surface of the diaphragm, except where the lung lies on the
    heart. For each row the level beside the heart is taken on both sides and joined by a straight line.
    """
    height, width = right.shape[1:]
    spacing = thorax.spacing
    middle = float(np.median(thorax.midline[thorax.top : thorax.bottom + 1]))
    across = (np.arange(width) - middle) * spacing[2] / thorax.scale
    # Beside the heart: right of it from 30 to 80 mm, left of it from 60 to 105 mm off the midline.
    bands = ((right, (across > -90) & (across < -35), 70.0), (left, (across > 55) & (across < 125), 80.0))
    levels = []
    back = (
        np.arange(height)
        > float(np.median(thorax.spine[thorax.top : thorax.bottom + 1])) - 60.0 * thorax.scale / spacing[1]
    )
    for lung, band, percent in bands:
        footprint = lung.any(axis=0)
        lowest = np.where(footprint, lung.shape[0] - 1 - lung[::-1].argmax(axis=0), np.nan)
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
    margin = FLOOR_MARGIN_MM / spacing[0] + 0.5 + (THICK_SLICE_MARGIN if spacing[0] > THICK_SLICE_MM else 0.0)
    return levels[0][:, None] * (1 - share) + levels[1][:, None] * share + margin


def _row_levels(
    lowest: npt.NDArray[np.float64], percent: float, height: int, thorax: Thorax
) -> npt.NDArray[np.float64]:
    """Percentile of the diaphragm's level in each row, smooth along the rows, held behind the heart."""
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


def _wall_bones(volume: FloatArray, thorax: Thorax) -> BoolArray:
    """Bone of the chest wall: dense voxels at the front edge or beside the vertebrae, not contrast in vessels."""
    rows = np.arange(volume.shape[1])
    at_front = (rows[None] < (thorax.front + 12.0 / thorax.spacing[1])[:, None])[:, :, None]
    at_back = thorax.before_spine(volume.shape[1]) < -12.0
    return dilate((volume > 220.0) & (at_front | at_back), 1.5, thorax.spacing)
