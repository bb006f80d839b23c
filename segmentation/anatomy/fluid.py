"""Pleural fluid at the diaphragm: told from the organs below by what it weighs, where those weigh more."""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from ..morphology import bounding_box, component_sizes, components, dilate, lowest_slices, open_mask
from ..types import BoolArray, FloatArray
from .diaphragm import Floor
from .thorax import Thorax

__all__ = ["fluid_at_floor"]

FLUID_HU, MOST_FLUID_HU, LEAST_FLUID_HU = 12.0, 30.0, -10.0
SMOOTH_MM = 3.0
"""Pleural fluid has 0 to 30 HU; noise is smoothed first."""

SOFT_HU, FAT_HU, MOST_FAT = -150.0, -30.0, 0.1
"""Muscle and fat make fluid's mean together: no more fat than this may lie around a voxel."""

APART_HU, MIN_ORGAN_ML = 15.0, 120.0
"""There must be this much of an organ below that is this much denser than fluid may be (no fatty liver, no stomach), or
nothing tells the two apart."""

DEEPEST_MM, ORGAN_MM = 45.0, 90.0
"""How far below the lung fluid is followed, and how far below it the organ under the dome is looked for."""

MIN_FLUID_ML, SPREAD = 40.0, 0.35
"""Under a lung whose recess holds air, fluid must spread under this share of its base, as a stomach does not: painted
subpulmonic fluid does under .44 and .47 of it, and five undamaged scans have none."""


def fluid_at_floor(
    volume: FloatArray, lung: BoolArray, found: BoolArray, floor: Floor, inside: BoolArray, thorax: Thorax
) -> tuple[BoolArray, BoolArray]:
    """Fluid around the level where the diaphragm of one side is expected, and what is too dense for it.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lung: bool, same shape, the side's air-filled lung.
        found: bool, same shape, its dense disease found so far.
        floor: of the same side.
        inside: bool, [D, H, W], soft tissue inside the ribs of this side and outside the mediastinum's zone.
        thorax: landmarks of the same grid.

    Returns:
        ``(fluid, organ)``: fluid joined to the lung or its disease, above the floor or below it; and, among ``found``,
        liver or spleen. Both empty where the two do not differ.
    """
    fluid, organ = np.zeros_like(found), np.zeros_like(found)
    lowest, dz = lowest_slices(lung), thorax.spacing[0]
    base = lowest >= thorax.top + 0.55 * (thorax.bottom - thorax.top)
    if base.sum() * thorax.spacing[1] * thorax.spacing[2] < 2000.0:
        return fluid, organ
    level = np.arange(found.shape[0])[:, None, None]
    middle = float(np.median(np.maximum(floor.level, lowest)[base]))
    looked_at = inside & (level > np.min(lowest[base])) & (level < middle + ORGAN_MM / dz)
    box = bounding_box(looked_at, tuple(int(6.0 / mm) + 1 for mm in thorax.spacing))
    if box[0].stop == box[0].start:
        return fluid, organ
    tissue, down = volume[box], level[box[0]]
    # Means over soft tissue only, so that the lung's air next to it counts for nothing.
    soft = tissue > SOFT_HU
    weight = np.maximum(_smooth(soft, thorax), 1e-3)
    smooth = _smooth(np.where(soft, np.minimum(tissue, 200.0), 0.0), thorax) / weight
    solid = inside[box] & ~found[box] & (smooth > MOST_FLUID_HU + APART_HU) & (tissue < 300.0)
    solid &= (down > middle) & (down < middle + ORGAN_MM / dz)
    solid = open_mask(solid, 6.0, thorax.spacing)
    if solid.sum() * float(np.prod(thorax.spacing)) / 1000.0 < MIN_ORGAN_ML:
        return fluid, organ
    organ_hu = float(np.median(tissue[solid]))
    limit = min(0.5 * (FLUID_HU + organ_hu), FLUID_HU + 40.0)
    below = inside[box] & ~lung[box] & (down > lowest[box[1:]]) & (down < np.max(lowest[base]) + DEEPEST_MM / dz)
    fat = _smooth(soft & (tissue < FAT_HU), thorax) / weight > MOST_FAT
    wet = open_mask(below & ~fat & (smooth > LEAST_FLUID_HU) & (smooth < MOST_FLUID_HU), 3.0, thorax.spacing)
    labels, count = components(wet)
    keep = component_sizes(labels, count) * float(np.prod(thorax.spacing)) / 1000.0 > MIN_FLUID_ML
    touching = np.zeros(count + 1, dtype=bool)
    above = lung[box] if floor.dry else lung[box] | found[box]
    touching[labels[dilate(above, 5.0, thorax.spacing)]] = True
    wet = (keep & touching)[labels]
    if floor.dry and not _spread(wet, lowest[box[1:]] - box[0].start, base[box[1:]], dz):
        return fluid, organ
    # The rim, which smoothing mixes with what lies around it.
    fluid[box] = dilate(wet, 4.0, thorax.spacing) & below & (smooth < limit)
    # Where the disease above is fluid, what is as dense as the organ below is that organ.
    if wet.any():
        organ[box] = found[box] & (down > lowest[box[1:]]) & (smooth > limit) & ~fluid[box]
    return fluid, organ


def _smooth(values: BoolArray | FloatArray, thorax: Thorax) -> FloatArray:
    """Gaussian mean over a few millimetres."""
    sigma = [SMOOTH_MM / mm for mm in thorax.spacing]
    return np.asarray(ndi.gaussian_filter(values.astype(np.float32), sigma, truncate=2.0), dtype=np.float32)


def _spread(wet: BoolArray, lowest: FloatArray, base: BoolArray, step_mm: float) -> bool:
    """Whether fluid lies right under most of the lung's base."""
    reach = max(2, round(8.0 / step_mm))
    rows, columns = np.nonzero(base)
    start = lowest[rows, columns].astype(np.intp)
    near = np.zeros(rows.size, dtype=bool)
    for k in range(1, reach + 1):
        near |= wet[np.clip(start + k, 0, wet.shape[0] - 1), rows, columns]
    return bool(near.mean() > SPREAD)
