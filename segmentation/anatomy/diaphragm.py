"""Where each pleural cavity ends below: the air-filled lung's lowest point, or a dome where dense disease hides it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..morphology import components, lowest_slices
from ..types import BoolArray, FloatArray, LabelArray
from .chest_wall import PleuralModel
from .thorax import Thorax

__all__ = ["Floor", "diaphragm_floors", "dry_share"]

SIDE, BACK, FRONT = (-0.5, 0.5), (1.1, 2.2), -1.3
BESIDE_SPINE, LAST = 2.5, 2.8
"""Angles (radians, 0 to the side, growing backwards) of the rays that meet the lateral and the posterior recess, of
the first and the last that are given a floor, and of those beside the spine, where a lung's edge varies most."""

DOME_PERCENT = 65.0

SEEN_FALL_MM, LEAST_FALL_MM, MOST_FALL_MM, MOST_OWN_FALL_MM = 30.0, 57.0, 110.0, 90.0
"""Fall of the diaphragm from dome to posterior recess (adult) that shows a recess with air (33 to 97 in three real
scans), the one taken where neither side shows any, and the largest that one side takes over from the other or that
is believed of a side which shows its recess."""

TRUSTED_FALL, FULL_FALL_MM = 0.5, 75.0
"""A recess with air and at least this share of the other side's fall, or of a usual deep one (adult), is normal: only
gaps of twice the height count."""

FLOOR_MISSING_MM, FLOOR_NEAR_MM = 16.0, 4.0
FLOOR_MISSING_STEP, FLOOR_NEAR_STEP = 1.3, 0.25
FLOOR_MISSING_ML = 50.0
"""How far above the expected floor a lung must end (mm, and in slices) to count as cut short by dense disease, how far
at such a place's edge, and how large the whole place must be."""


DRY_SHARE, DRY_MM, DRY_DEPTH_MM = 0.48, 6.0, 20.0
"""A recess counts as dry, so that its dome is where it is seen, if in this share of its slices and posterior rays the
air-filled lung comes this near to the chest wall, down to this depth below the dome. Five real scans have .81 and more,
one that ends above its bases .58; with painted effusion or consolidation 0 to .25: leaving out each in turn puts the
middle at .41 to .53. A value too low leaves fluid out of the lung, one too high takes liver for it, which is worse;
real effusions seen elsewhere reach .59, so a share up to .6 raises a note."""


SECTORS, BINS = 24, 12
"""Sectors around the middle of a side, and rings (two of them beyond the ribs), in which a fall is kept."""


def diaphragm_floors(lungs: LabelArray, models: dict[int, PleuralModel], thorax: Thorax) -> dict[int, Floor]:
    """Where each pleural cavity ends below.

    The air-filled lung's own lowest point, or a dome where that lies much lower. The dome falls from its top with the
    square of the share of the way to the ribs, by as much as on this side or the other, whichever is more, and at the
    back at least as far as in any deep breath.

    Args:
        lungs: closed aerated lungs, 1 right and 2 left.
        models: chest wall of each side.
        thorax: landmarks of the same grid.
    """
    dz = thorax.spacing[0]
    lowest = {label: lowest_slices(lungs == label) for label in models}
    shares = {label: _share_of_way(model, thorax) for label, model in models.items()}
    seen = {label: _dome_and_falls(lowest[label], shares[label], model) for label, model in models.items()}
    usual = SEEN_FALL_MM * thorax.scale / dz
    # Both recesses reach down to about the same rib, however different the domes.
    base = np.fmax.reduce([dome + behind for dome, _, behind in seen.values()] or [np.nan])
    if not any(behind >= usual for _, _, behind in seen.values()):
        base = np.fmax.reduce([base] + [dome + LEAST_FALL_MM * thorax.scale / dz for dome, _, _ in seen.values()])
    shown = {label: dry_share(model, seen[label][0], dz) for label, model in models.items()}
    dry = {label: value > DRY_SHARE for label, value in shown.items()}
    example = next(
        (_fall_profile(lowest[label], shares[label], models[label], seen[label][0]) for label in models if dry[label]),
        None,
    )
    floors = {}
    for label, model in models.items():
        share, (dome, lateral, own) = shares[label], seen[label]
        if dry[label]:
            floors[label] = Floor(lowest[label], True, shown[label], dome)
            continue
        behind = min(base - dome, MOST_FALL_MM / dz)
        trusted = example is None and own >= max(usual, TRUSTED_FALL * min(behind, FULL_FALL_MM * thorax.scale / dz))
        behind = min(own, MOST_OWN_FALL_MM / dz) if trusted else behind
        fall = np.interp(model.angles, (0.0, BACK[0]), (min(np.fmax(lateral, 0.0), behind), behind))[model.ray]
        level = dome + fall * share**2
        if example is not None:
            level = _after(example, dome, share, model)
        level[(share > 1.05) | ~((model.angles > FRONT) & (model.angles < LAST))[model.ray]] = -1.0
        missing = (level - lowest[label]) * dz
        footprint = lowest[label] >= 0
        telling = footprint | ((share <= 1.0) & (model.angles < BESIDE_SPINE)[model.ray])
        short = _cut_short(missing, footprint, telling, thorax, 2.0 if trusted else 1.0)
        floors[label] = Floor(np.where(short, level + 0.5, lowest[label]), False, shown[label], dome)
    return floors


@dataclass(frozen=True)
class Floor:
    """Where one pleural cavity ends below.

    Attributes:
        level: lowest slice for every (row, column), [H, W]; -1 where there is none.
        dry: whether air fills the posterior recess, so that the diaphragm is where the lung ends.
        dry_share: share of the recess that air fills, NaN where it could not be seen.
        dome: slice of the top of the dome beside the heart, NaN where it could not be seen.
    """

    level: npt.NDArray[np.float64]
    dry: bool
    dry_share: float
    dome: float = float("nan")


def dry_share(model: PleuralModel, dome: float, step_mm: float) -> float:
    """Share of slices and rays of the posterior recess, just below the dome, in which air-filled lung meets the wall.

    Fluid and airless lung fill this recess first, since a patient lies on the back; a diaphragm that is merely high,
    or slopes, leaves it to the lung. NaN where no dome or no wall is seen.

    Args:
        model: chest wall of one side.
        dome: slice of the diaphragm's top.
        step_mm: millimetres between slices.
    """
    if np.isnan(dome):
        return float("nan")
    first = int(dome) + 1
    slices = slice(first, first + max(2, round(DRY_DEPTH_MM / step_mm)))
    rays = (model.angles > BACK[0]) & (model.angles < BACK[1])
    wall, lung = model.wall[slices][:, rays], model.lung[slices][:, rays]
    known = ~np.isnan(wall)
    if not known.any():
        return float("nan")
    return float((wall - model.gap - lung < DRY_MM)[known].mean())


def _cut_short(
    missing: FloatArray, footprint: BoolArray, telling: BoolArray, thorax: Thorax, strict: float
) -> BoolArray:
    """Columns, [H, W], in which the lung ends well above the expected floor, over an area and volume that matter.

    Args:
        missing: millimetres from the lung's lowest point to the expected floor.
        footprint: columns with air-filled lung.
        telling: columns that may show that a lung is cut short; the others only go with them.
        thorax: landmarks of the same grid.
        strict: factor on all limits.
    """
    dz, pixel = thorax.spacing[0], thorax.spacing[1] * thorax.spacing[2]
    near = missing > strict * max(FLOOR_NEAR_MM, FLOOR_NEAR_STEP * dz)
    seeds = telling & (missing > max(strict * FLOOR_MISSING_MM, FLOOR_MISSING_STEP * dz))
    labels, count = components(near, connectivity=4)
    counts = np.bincount(labels[seeds], minlength=count + 1)
    depth = np.where(footprint, missing, np.minimum(missing, 30.0))
    volume = np.bincount(labels.ravel(), weights=np.maximum(depth, 0.0).ravel(), minlength=count + 1) * pixel / 1000.0
    large = (counts * pixel > 1000.0) & (volume > strict * FLOOR_MISSING_ML)
    large[0] = False
    return large[labels]


def _dome_and_falls(
    lowest: npt.NDArray[np.float64], share: npt.NDArray[np.float64], model: PleuralModel
) -> tuple[float, float, float]:
    """Slice of the diaphragm's top beside the heart, and the slices by which it falls to the side and to the back."""

    def ring(angles: tuple[float, float], low: float, high: float) -> BoolArray:
        sector = ((model.angles > angles[0]) & (model.angles < angles[1]))[model.ray]
        return sector & (share > low) & (share < high) & (lowest >= 0)

    # Away from the heart, and from the back where fluid and airless lung lie.
    top = lowest[ring((-0.9, 0.4), 0.0, 0.6)]
    dome = float(np.percentile(top, DOME_PERCENT)) if top.size >= 5 else np.nan
    falls = []
    for angles in (SIDE, BACK):
        area = ring(angles, 0.55, 1.0)
        falls.append(float(np.median((lowest[area] - dome) / share[area] ** 2)) if area.sum() >= 8 else np.nan)
    return dome, falls[0], falls[1]


def _fall_profile(
    lowest: npt.NDArray[np.float64], share: npt.NDArray[np.float64], model: PleuralModel, dome: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """A side's dome and its fall below it, in slices, by sector and share of the way to the ribs, [SECTORS, BINS]."""
    known = (lowest >= 0) & (share < BINS / (BINS - 2))
    sector = model.ray[known] * SECTORS // model.angles.size
    place = sector * BINS + (share[known] * (BINS - 2)).astype(np.intp)
    order = np.argsort(place, kind="stable")
    falls, starts = lowest[known][order] - dome, np.searchsorted(place[order], np.arange(SECTORS * BINS + 1))
    cells = [float(np.median(falls[a:b])) if b - a >= 2 else np.nan for a, b in pairwise(starts.tolist())]
    profile = np.array(cells).reshape(SECTORS, BINS)
    gaps = np.isnan(profile)
    if gaps.all():
        return dome, np.zeros_like(profile)
    nearest = ndi.distance_transform_edt(np.tile(gaps, (3, 1)), return_distances=False, return_indices=True)
    filled = np.tile(profile, (3, 1))[tuple(nearest)]
    return dome, ndi.median_filter(filled, 3, mode="nearest")[SECTORS : 2 * SECTORS]


def _after(
    example: tuple[float, npt.NDArray[np.float64]], dome: float, share: npt.NDArray[np.float64], model: PleuralModel
) -> npt.NDArray[np.float64]:
    """The floor of one side, [H, W], after the other side's: from its own dome down to the same rib."""
    other_dome, profile = example
    deepest = float(np.percentile(profile, 95))
    ratio = np.clip((other_dome + deepest - dome) / max(deepest, 1.0), 0.3, 2.0)
    rows = (model.ray + 0.5) * SECTORS / model.angles.size - 0.5
    columns = np.clip(share * (BINS - 2) - 0.5, 0.0, BINS - 1.0)
    wrapped = np.pad(profile, [(1, 1), (0, 0)], mode="wrap")
    return dome + ratio * ndi.map_coordinates(wrapped, [rows + 1.0, columns], order=1, mode="nearest")


def _share_of_way(model: PleuralModel, thorax: Thorax) -> npt.NDArray[np.float64]:
    """Distance from the ray origin over that of the ribs near the lung's base, [H, W]."""
    base = slice(int(thorax.top + 0.6 * (thorax.bottom - thorax.top)), thorax.bottom + 1)
    known = np.where(np.isnan(model.wall[base]), model.lung[base], model.wall[base] - model.gap)
    edge = _upper_quartile(known)
    edge = np.where(np.isnan(edge), np.inf, np.maximum(edge, 1.0))
    return model.radius / edge[model.ray]


def _upper_quartile(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """75th percentile of every column's known values, [N, M] to [M]; `numpy.nanpercentile` takes 20 times as long."""
    ordered = np.sort(values, axis=0)  # NaN last
    place = 0.75 * np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    low, columns = place.astype(np.intp), np.arange(values.shape[1])
    below = ordered[low, columns]
    above = ordered[np.ceil(place).astype(np.intp), columns]
    return below + (above - below) * (place - low)
