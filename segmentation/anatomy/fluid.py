"""Pleural fluid at the diaphragm: told from the organs below by what it weighs, where those weigh more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..morphology import bounding_box, component_sizes, components, dilate, lowest_slices, open_mask
from ..types import BoolArray, FloatArray
from .diaphragm import Floor
from .thorax import Thorax

__all__ = [
    "UnderLung",
    "behind_front",
    "blood_density",
    "fluid_at_floor",
    "fluid_beside",
    "organ_density",
    "under_lung",
]

FLUID_HU, MOST_FLUID_HU, LEAST_FLUID_HU = 12.0, 30.0, -10.0
SMOOTH_MM = 3.0
"""Pleural fluid has 0 to 30 HU; noise is smoothed first."""

SOFT_HU, FAT_HU, MOST_FAT = -150.0, -30.0, 0.1
"""Muscle and fat make fluid's mean together: no more fat than this may lie around a voxel."""

APART_HU, MIN_ORGAN_ML = 15.0, 120.0
"""There must be this much of an organ below that is this much denser than fluid may be (no fatty liver, no stomach), or
nothing tells the two apart. Where one side has less, that of both sides together will do."""

DEEPEST_MM, LESS_DEEP_MM, ORGAN_MM, BELOW_HEART_MM = 45.0, 30.0, 90.0, 25.0
"""How far below the lung fluid is followed, where the side has a dense organ there and where it has none; how far below
it that organ is looked for, and in the mediastinum's zone from where. Over a stomach full of water 45 mm hold 30 to
70 ml more of it than 30 mm."""

FRONT_SHARE = 0.03
"""Share of a slice's fluid that may lie in front of where fluid is looked for in the mediastinum's zone."""

HEART_BEFORE_MM = 20.0
"""How far before the spine what lies in the mediastinum's zone is mostly blood."""

LIGHT_ORGAN_MM = (55.0, 90.0)
"""What weighs as fluid in most of this depth below a lung's expected floor is an organ: no pleura reaches there."""

MIN_FLUID_ML, SPREAD = 40.0, 0.35
"""Under a lung whose recess holds air, or with no dense organ below, fluid must spread under this share of its base, as
a stomach does not: painted subpulmonic fluid does under .36 to .81 of it in four scans, what is there in five undamaged
ones, with raised domes and with colon gas below them under .20 at most."""


@dataclass(frozen=True)
class UnderLung:
    """What lies around and under the base of one lung, in a box of the working grid.

    Attributes:
        box: its place.
        down: slice numbers, [D, 1, 1].
        tissue: HU, [D, H, W].
        smooth: mean HU of the soft tissue around each voxel.
        fat: bool, more fat around than fluid has.
        lowest: lowest slice of the air-filled lung of every (row, column), [H, W].
        base: bool, [H, W], columns in which the lung ends on the diaphragm.
        organ: HU of the dense organ under the expected floor, one value a voxel.
    """

    box: tuple[slice, ...]
    down: npt.NDArray[np.intp]
    tissue: FloatArray
    smooth: npt.NDArray[np.floating]
    fat: BoolArray
    lowest: npt.NDArray[np.float64]
    base: BoolArray
    organ: FloatArray


def under_lung(
    volume: FloatArray,
    lung: BoolArray,
    found: BoolArray,
    floor: Floor,
    inside: BoolArray,
    central: BoolArray,
    thorax: Thorax,
) -> UnderLung | None:
    """The tissue at one side's diaphragm; None where no lung ends on it.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lung: bool, same shape, the side's air-filled lung.
        found: bool, same shape, its dense disease found so far.
        floor: of the same side.
        inside: bool, [D, H, W], soft tissue inside the ribs of this side and outside the mediastinum's zone.
        central: bool, same shape, soft tissue inside the ribs of this side and in that zone: liver, spleen and stomach
            lie there too, below the heart.
        thorax: landmarks of the same grid.
    """
    lowest, dz = lowest_slices(lung), thorax.spacing[0]
    base = lowest >= thorax.top + 0.55 * (thorax.bottom - thorax.top)
    if base.sum() * thorax.spacing[1] * thorax.spacing[2] < 2000.0:
        return None
    level = np.arange(found.shape[0])[:, None, None]
    middle = float(np.median(np.maximum(floor.level, lowest)[base]))
    looked_at = inside & (level > np.min(lowest[base])) & (level < middle + ORGAN_MM / dz)
    box = bounding_box(looked_at, tuple(int(6.0 / mm) + 1 for mm in thorax.spacing))
    if box[0].stop == box[0].start:
        return None
    tissue, down = volume[box], level[box[0]]
    smooth, fat = _weighed(tissue, thorax)
    solid = inside[box] & ~found[box] & (down > middle)
    solid |= central[box] & (down > middle + BELOW_HEART_MM / dz)
    solid &= (smooth > MOST_FLUID_HU + APART_HU) & (tissue < 300.0) & (down < middle + ORGAN_MM / dz)
    solid = open_mask(solid, 6.0, thorax.spacing)
    return UnderLung(box, down, tissue, smooth, fat, lowest[box[1:]], base[box[1:]], tissue[solid])


def organ_density(values: FloatArray, thorax: Thorax) -> float:
    """Median HU of the organ voxels below, NaN where they are too few to tell fluid by."""
    ml = values.size * float(np.prod(thorax.spacing)) / 1000.0
    return float(np.median(values)) if ml >= MIN_ORGAN_ML else float("nan")


def fluid_at_floor(
    seen: UnderLung, organ_hu: float, lung: BoolArray, found: BoolArray, floor: Floor, inside: BoolArray, thorax: Thorax
) -> tuple[BoolArray, BoolArray]:
    """Fluid around the level where the diaphragm of one side is expected, and what is too dense for it.

    Where the side has no such organ below (the stomach lies under the left dome), or its recess holds air, fluid is
    believed only if it spreads under much of the lung's base.

    Args:
        seen: ``under_lung`` of the same side.
        organ_hu: HU of the dense organs below, of this side or of both (``organ_density``).
        lung: bool, same shape, the side's air-filled lung.
        found: bool, same shape, its dense disease found so far.
        floor: of the same side.
        inside: bool, [D, H, W], soft tissue inside the ribs of this side and outside the mediastinum's zone.
        thorax: landmarks of the same grid.

    Returns:
        ``(fluid, organ)``: fluid joined to the lung or its disease, above the floor or below it; and liver or spleen,
        which are no lung however high they reach. Both empty where the two do not differ.
    """
    fluid, organ = np.zeros_like(found), np.zeros_like(found)
    box, down, lowest, dz = seen.box, seen.down, seen.lowest, thorax.spacing[0]
    own = not np.isnan(organ_density(seen.organ, thorax))
    limit = min(0.5 * (FLUID_HU + organ_hu), FLUID_HU + 40.0)
    deepest = np.max(lowest[seen.base]) + (DEEPEST_MM if own else LESS_DEEP_MM) / dz
    below = inside[box] & ~lung[box] & (down > lowest) & (down < deepest)
    wet = below & ~seen.fat & (seen.smooth > LEAST_FLUID_HU) & (seen.smooth < MOST_FLUID_HU)
    labels, count = components(open_mask(wet, 3.0, thorax.spacing))
    keep = component_sizes(labels, count) * float(np.prod(thorax.spacing)) / 1000.0 > MIN_FLUID_ML
    touching = np.zeros(count + 1, dtype=bool)
    above = lung[box] if floor.dry else lung[box] | found[box]
    touching[labels[dilate(above, 5.0, thorax.spacing)]] = True
    wet = (keep & touching)[labels]
    wet &= ~_light_organ(seen, inside[box], floor, dz)
    if (floor.dry or not own) and not _spread(wet, lowest - box[0].start, seen.base, dz):
        return fluid, organ
    # The rim, which smoothing mixes with what lies around it.
    fluid[box] = dilate(wet, 4.0, thorax.spacing) & below & (seen.smooth < limit)
    # Where the disease above is fluid, what is as dense as the organ below is that organ.
    if wet.any():
        organ[box] = (down > lowest) & (seen.smooth > limit) & (seen.tissue > SOFT_HU) & ~fluid[box]
    return fluid, organ


def fluid_beside(
    volume: FloatArray, disease: BoolArray, central: BoolArray, blood_hu: float, thorax: Thorax
) -> BoolArray:
    """Fluid in the mediastinum's zone that goes on from a side's fluid, where what lies there otherwise weighs more.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        disease: bool, same shape, the dense disease of one side.
        central: bool, same shape, that side's soft tissue in the mediastinum's zone.
        blood_hu: what heart and vessels weigh, ``blood_density``.
        thorax: landmarks of the same grid.

    Returns:
        Bool, [D, H, W]; nothing where the disease is not fluid, or blood not clearly denser than it.
    """
    out = np.zeros_like(disease)
    least = MIN_FLUID_ML * 1000.0 / float(np.prod(thorax.spacing))
    held: BoolArray = np.asarray(disease.any(axis=(1, 2)))
    box = bounding_box(central & held[:, None, None], tuple(int(12.0 / mm) for mm in thorax.spacing))
    if disease.sum() < least or box[0].stop == box[0].start:
        return out
    smooth, fat = _weighed(volume[box], thorax)
    own = disease[box] & ~fat
    weight = float(np.median(smooth[own])) if own.sum() > 0.25 * least else np.nan
    if not LEAST_FLUID_HU < weight < MOST_FLUID_HU or not blood_hu > weight + APART_HU:
        return out
    limit = min(0.5 * (weight + blood_hu), FLUID_HU + 40.0)
    inner = central[box] & ~fat & (smooth > LEAST_FLUID_HU) & behind_front(disease[box])
    labels, count = components(open_mask((inner | own) & (smooth < min(limit, MOST_FLUID_HU)), 3.0, thorax.spacing))
    held = np.zeros(count + 1, dtype=bool)
    held[labels[own]] = True
    held[0] = False
    out[box] = dilate(held[labels], 4.0, thorax.spacing) & inner & (smooth < limit)
    return out


def blood_density(volume: FloatArray, central: BoolArray, thorax: Thorax) -> float:
    """Median HU of what is no fat in the mediastinum's zone before the spine; NaN where that is little.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        central: bool, same shape, soft tissue of that zone.
        thorax: landmarks of the same grid.
    """
    values = volume[central & (volume > LEAST_FLUID_HU) & (thorax.before_spine(volume.shape[1]) > HEART_BEFORE_MM)]
    return organ_density(values, thorax)


def behind_front(disease: BoolArray) -> BoolArray:
    """Rows, [D, H, 1], that lie no further in front than the disease of their slice: a patient lies on the back."""
    count = np.cumsum(disease.sum(axis=2), axis=1)
    return np.asarray(count > FRONT_SHARE * count[:, -1:])[:, :, None]


def _weighed(tissue: FloatArray, thorax: Thorax) -> tuple[FloatArray, BoolArray]:
    """Mean HU of the soft tissue around each voxel, and where there is more fat than fluid has."""
    # Means over soft tissue only, so that the lung's air next to it counts for nothing.
    soft = tissue > SOFT_HU
    weight = np.maximum(_smooth(soft, thorax), 1e-3)
    smooth = (_smooth(np.where(soft, np.minimum(tissue, 200.0), 0.0), thorax) / weight).astype(np.float32, copy=False)
    return smooth, _smooth(soft & (tissue < FAT_HU), thorax) / weight > MOST_FAT


def _smooth(values: BoolArray | FloatArray, thorax: Thorax) -> FloatArray:
    """Gaussian mean over a few millimetres."""
    sigma = [SMOOTH_MM / mm for mm in thorax.spacing]
    return np.asarray(ndi.gaussian_filter(values.astype(np.float32), sigma, truncate=2.0), dtype=np.float32)


def _light_organ(seen: UnderLung, inside: BoolArray, floor: Floor, step_mm: float) -> BoolArray:
    """Columns, [H, W], in which what weighs as fluid goes on where no pleural cavity reaches."""
    level = np.fmax(seen.lowest, floor.level[seen.box[1:]])
    below = (seen.down - level) * step_mm
    deep = inside & (below > LIGHT_ORGAN_MM[0]) & (below < LIGHT_ORGAN_MM[1])
    light = deep & ~seen.fat & (seen.smooth > LEAST_FLUID_HU) & (seen.smooth < MOST_FLUID_HU)
    count = deep.sum(axis=0)
    return (count * step_mm > 20.0) & (light.sum(axis=0) > 0.5 * count)


def _spread(wet: BoolArray, lowest: FloatArray, base: BoolArray, step_mm: float) -> bool:
    """Whether fluid lies right under most of the lung's base."""
    reach = max(2, round(8.0 / step_mm))
    rows, columns = np.nonzero(base)
    start = lowest[rows, columns].astype(np.intp)
    near = np.zeros(rows.size, dtype=bool)
    for k in range(1, reach + 1):
        near |= wet[np.clip(start + k, 0, wet.shape[0] - 1), rows, columns]
    return bool(near.mean() > SPREAD)
