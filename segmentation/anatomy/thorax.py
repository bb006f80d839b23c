"""The frame of one chest: spine, sternum side, size and levels, from which the places of organs are reckoned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..types import BoolArray, FloatArray, LabelArray
from .airways import Airways
from .midline import Midline

__all__ = ["Thorax", "measure_thorax"]

Curve = npt.NDArray[np.float64]

USUAL_CARINA = 0.34
"""Where between the lungs' top and bottom the trachea parts: .32 to .35 in three real scans."""

CHEST_HALF_WIDTH_MM = 135.0
"""Half the width of an adult's two lungs; a chest's scale is its own half width over this."""


@dataclass(frozen=True)
class Thorax:
    """Landmarks on the working grid; rows and columns in voxels, one value for every slice.

    Attributes:
        midline: column of the spine, [D].
        spine: row of the front of the vertebral bodies, [D].
        front: row of the lungs' front, [D].
        top, bottom: first and last slice with lung.
        carina: slice of the carina (estimated from the lungs' height where it was not seen).
        scale: size of the chest against an adult's.
        spine_seen: share of lung slices in which the vertebral front was seen as bone.
        spacing: millimetres.
    """

    midline: Curve
    spine: Curve
    front: Curve
    top: int
    bottom: int
    carina: float
    scale: float
    spine_seen: float
    spacing: tuple[float, float, float]

    def from_midline(self, width: int) -> FloatArray:
        """Millimetres left of the midline (right is negative) for every (slice, column), [D, 1, W]."""
        return ((np.arange(width)[None, None] - self.midline[:, None, None]) * self.spacing[2]).astype(np.float32)

    def before_spine(self, height: int) -> FloatArray:
        """Millimetres in front of the vertebral bodies (behind is negative) for every (slice, row), [D, H, 1]."""
        return ((self.spine[:, None, None] - np.arange(height)[None, :, None]) * self.spacing[1]).astype(np.float32)


def measure_thorax(
    volume: FloatArray,
    lungs: LabelArray,
    midline: Midline,
    airways: Airways,
    spacing: Sequence[float],
    cut: BoolArray | None = None,
) -> Thorax:
    """Landmarks from lungs, bone and trachea.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: closed lungs (any non-zero value), at least one voxel.
        midline: of the same grid.
        airways: of the same grid.
        spacing: millimetres.
        cut: lung that the border of the image cuts; its side does not tell the size of the chest.
    """
    rows_hit = np.any(lungs > 0, axis=2)
    columns_hit = np.any(lungs > 0, axis=1)
    slices = np.flatnonzero(rows_hit.any(axis=1))
    top, bottom = int(slices[0]), int(slices[-1])
    first, last = _extent(rows_hit)
    low, high = _extent(columns_hit)
    window = max(1, int(30 / spacing[0])) | 1
    front = ndi.median_filter(fill_gaps(first), window, mode="nearest")
    half_width = float(np.nanpercentile(high - low + 1, 90)) * spacing[2] / 2
    if cut is not None and cut.any():
        half_width = max(half_width, _half_width_of_whole_side(low, high, midline.column, cut) * spacing[2])
    usual = top + USUAL_CARINA * (bottom - top)
    carina = airways.carina if airways.parted else float(np.fmax(airways.carina, usual))
    carina = float(np.clip(carina, top + 0.2 * (bottom - top), top + 0.6 * (bottom - top)))
    spine, seen = _spine_front(volume, first, last, midline, spacing)
    return Thorax(
        midline=midline.column,
        spine=spine,
        front=front,
        top=top,
        bottom=bottom,
        carina=carina,
        scale=float(np.clip(half_width / CHEST_HALF_WIDTH_MM, 0.5, 1.3)),
        spine_seen=seen,
        spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
    )


def fill_gaps(values: Curve) -> Curve:
    """Interpolate over NaN; nearest value beyond the ends, zeros if nothing is known."""
    known = np.flatnonzero(~np.isnan(values))
    if known.size == 0:
        return np.zeros(values.shape)
    return np.interp(np.arange(values.size), known, values[known])


def _half_width_of_whole_side(low: Curve, high: Curve, middle: Curve, cut: BoolArray) -> float:
    """Width of the side that the image does not cut, in columns; 0 where both sides are cut."""
    columns = np.flatnonzero(cut.any(axis=(0, 1)))
    centre = float(np.median(middle))
    sides = [middle - low + 1] if not (columns < centre).any() else []
    sides += [high - middle + 1] if not (columns >= centre).any() else []
    return max((float(np.nanpercentile(side, 90)) for side in sides), default=0.0)


def _extent(hit: BoolArray) -> tuple[Curve, Curve]:
    """First and last True of every row as floats, NaN for rows without."""
    some = hit.any(axis=1)
    first = np.where(some, hit.argmax(axis=1), np.nan)
    last = np.where(some, hit.shape[1] - 1 - hit[:, ::-1].argmax(axis=1), np.nan)
    return first, last


def _spine_front(
    volume: FloatArray, first: Curve, last: Curve, midline: Midline, spacing: Sequence[float]
) -> tuple[Curve, float]:
    """Front of the vertebral bodies in every slice by a robust cubic, and the share of slices that saw bone.

    Matched filter along the rows: soft tissue, vertebral body, canal, arch. Looked for a little right of the midline,
    because the aorta, which contrast makes as dense as bone, lies on the left.
    """
    depth = volume.shape[0]
    found = np.full(depth, np.nan)
    kernels = [_vertebra_filter(spacing[1], body_mm) for body_mm in (22.0, 29.0, 36.0)]
    lung_slices = np.flatnonzero(~np.isnan(first))
    # Low slices hold only the posterior recess of the lungs: the chest's front is taken from the slices above.
    front = np.minimum(first, np.nanmedian(first))
    for k in lung_slices:
        start = int(front[k] + 0.35 * (last[k] - front[k]))
        stop = int(min(volume.shape[1], last[k] + 45.0 / spacing[1]))
        low = max(0, int(midline.column[k] - 11.0 / spacing[2]))
        high = int(midline.column[k] + 3.0 / spacing[2]) + 1
        profile = np.clip(np.median(volume[k, start:stop, low:high], axis=1), -50.0, 250.0).astype(np.float64)
        scores = [(_best(profile, kernel)) for kernel in kernels]
        score, place = max(scores)
        if score > 60.0:
            found[k] = start + place
    known = np.flatnonzero(~np.isnan(found))
    seen = known.size / max(1, lung_slices.size)
    if known.size < 3 or seen < 0.2:
        # Without bone: the vertebral bodies begin at about 68 % of the lungs' depth.
        return fill_gaps(first + 0.68 * (last - first)), seen
    return _robust_curve(known, found[known], depth, spacing[1]), seen


def _best(profile: Curve, kernel: Curve) -> tuple[float, int]:
    """Highest score of the filter along a profile, and where its front edge of bone then lies."""
    if profile.size <= kernel.size:
        return 0.0, 0
    score = np.correlate(profile, kernel, mode="valid")
    best = int(score.argmax())
    return float(score[best]), best + int(np.flatnonzero(kernel > 0)[0])


def _vertebra_filter(step: float, body_mm: float) -> Curve:
    """Weights along the rows: 10 mm of soft tissue, the vertebral body, the canal, the arch behind it."""
    parts = ((-0.5, 10.0), (0.7, body_mm - 4.0), (0.0, 6.0), (-0.5, 8.0), (0.0, 3.0), (0.3, 8.0))
    counts = [(weight, max(1, round(mm / step))) for weight, mm in parts]
    return np.concatenate([np.full(count, weight / count) for weight, count in counts])


def _robust_curve(where: npt.NDArray[np.intp], values: Curve, n: int, step: float) -> Curve:
    """Cubic through the points by reweighting; held outside the slices that were seen."""
    smooth = ndi.median_filter(values, min(9, values.size) | 1, mode="nearest")
    weight = (np.abs(values - smooth) * step < 8.0) + 0.05
    degree = 3 if where.size > 12 else 1
    fit = np.polynomial.Polynomial.fit(where, values, degree, w=weight)
    for _ in range(6):
        residual = np.abs(values - fit(where)) * step
        fit = np.polynomial.Polynomial.fit(where, values, degree, w=weight / (1.0 + (residual / 6.0) ** 2))
    # Outside the slices that were seen the curve is held: a cubic runs away.
    return fit(np.clip(np.arange(n), where.min(), where.max()))
