"""Trachea and main bronchi, by region growing that stops before it leaks into the lung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..morphology import bounding_box, component_sizes, components, dilate
from ..types import BoolArray, FloatArray
from .midline import Midline

__all__ = ["Airways", "find_airways"]

TRACHEA_MM2 = (40.0, 800.0)
MAX_ML = 110.0
LEAK_FACTOR = 1.5
MAIN_BRONCHI_MM = 45.0

BRONCHUS_MM2, PARTED_MM = 25.0, 14.0
"""Least section of a main bronchus, and how far from each other or from the trachea's line two of them lie."""


@dataclass(frozen=True)
class Airways:
    """The central airways.

    Attributes:
        mask: bool [D, H, W], lumen of trachea and central bronchi; empty when nothing was found.
        found: whether a trachea was found.
        carina: first slice (axis 0) below the trachea, NaN when not found.
        parted: whether the trachea was seen to part in two there; else it was lost from sight, maybe further up.
        length_mm: length of the tracheal column.
        top: its first slice, NaN when not found.
    """

    mask: BoolArray
    found: bool
    carina: float
    parted: bool
    length_mm: float
    top: float


def find_airways(volume: FloatArray, air: BoolArray, midline: Midline, spacing: Sequence[float]) -> Airways:
    """Find the trachea as a chain of round air holes near the midline and grow it into the bronchi.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        air: air inside the body, same shape.
        midline: of the same grid.
        spacing: millimetres.
    """
    seed = _trachea(volume, air, midline, spacing)
    if not seed.any():
        nowhere = float("nan")
        return Airways(np.zeros_like(air), found=False, carina=nowhere, parted=False, length_mm=0.0, top=nowhere)
    slices = np.flatnonzero(seed.any(axis=(1, 2)))
    top, length = int(slices[0]), float((slices[-1] - slices[0] + 1) * spacing[0])
    mask = _grow(volume, air, seed, spacing)
    carina, parted = _carina(mask, top, spacing)
    return Airways(mask, found=True, carina=float(carina), parted=parted, length_mm=length, top=float(top))


def _trachea(volume: FloatArray, air: BoolArray, midline: Midline, spacing: Sequence[float]) -> BoolArray:
    """The longest chain of round air holes within 45 mm of the midline, at least 16 mm long, and high."""
    depth, _, width = volume.shape
    pixel = spacing[1] * spacing[2]
    dark = air & (volume < -700.0)
    chain = np.zeros_like(air)
    reach = 45.0 / spacing[2]
    for k in range(depth):
        low = max(0, int(midline.column[k] - reach - 15.0 / spacing[2]))
        high = min(width, int(midline.column[k] + reach + 15.0 / spacing[2]) + 1)
        # The window is widened so that a lung tip at its edge is not taken for a small round hole.
        labels, count = components(dark[k, :, low:high], connectivity=4)
        if count == 0:
            continue
        sizes = component_sizes(labels, count) * pixel
        for label in np.flatnonzero((sizes >= TRACHEA_MM2[0]) & (sizes <= TRACHEA_MM2[1])).tolist():
            rows, columns = np.nonzero(labels == label)
            if columns.min() == 0 or columns.max() == high - low - 1:
                continue
            tall = (np.ptp(rows) + 1) * spacing[1]
            wide = (np.ptp(columns) + 1) * spacing[2]
            round_enough = max(tall, wide) < 2.5 * min(tall, wide) and sizes[label] > 0.45 * tall * wide
            if round_enough and abs(columns.mean() + low - midline.column[k]) < reach:
                chain[k, rows, columns + low] = True
    labels3, count = components(chain, connectivity=26)
    best, best_score = 0, 0.0
    for label in range(1, count + 1):
        slices = np.flatnonzero((labels3 == label).any(axis=(1, 2)))
        length = slices.size * spacing[0]
        # A long chain high in the body: bowel loops are short and low.
        score = length - 0.3 * slices[0] * spacing[0]
        if length >= 16.0 and (best == 0 or score > best_score):
            best, best_score = label, score
    return labels3 == best if best else np.zeros_like(air)


def _grow(volume: FloatArray, air: BoolArray, seed: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Raise the threshold from -960 to -680 HU until the connected air jumps by half or passes 110 ml."""
    margins = [int(m / s) for m, s in zip((80.0, 60.0, 70.0), spacing, strict=True)]
    box = bounding_box(seed, margins)
    sub, start = np.where(air[box], volume[box], 0.0), seed[box]
    voxel = float(np.prod(spacing)) / 1000.0
    mask, size = start, float(start.sum()) * voxel
    for threshold in range(-960, -660, 20):
        labels, count = components((sub < threshold) | start)
        touched = np.unique(labels[start])
        keep = np.zeros(count + 1, dtype=bool)
        keep[touched] = True
        keep[0] = False
        grown = keep[labels]
        grown_ml = float(grown.sum()) * voxel
        if grown_ml > MAX_ML or grown_ml > LEAK_FACTOR * size + 5.0:
            break
        mask, size = grown, grown_ml
    out = np.zeros_like(air)
    out[box] = mask
    return out


def _carina(mask: BoolArray, top: int, spacing: Sequence[float]) -> tuple[int, bool]:
    """The first slice under the trachea's top without it, and whether the airway parts there or leaves for one side."""
    path: list[float] = []
    for k in range(top, mask.shape[0]):
        labels, count = components(mask[k], connectivity=4)
        sizes = component_sizes(labels, count) * spacing[1] * spacing[2]
        pieces = np.flatnonzero(sizes > BRONCHUS_MM2)
        if pieces.size == 0:
            return k, False
        places = [float(np.nonzero(labels == piece)[1].mean()) * spacing[2] for piece in pieces]
        main = places[int(sizes[pieces].argmax())]
        if max(places) - min(places) > PARTED_MM or (path and abs(main - np.median(path)) > PARTED_MM):
            return k, True
        path.append(main)
    return mask.shape[0], False


def airway_wall(airways: Airways, midline: Midline, spacing: Sequence[float]) -> BoolArray:
    """Lumen and wall of trachea and main bronchi, which are taken out of the lungs: the airways grown by 2.5 mm.

    Bronchi further than 45 mm from the midline are those of the lobes and lie inside the lung.
    """
    if not airways.found:
        return airways.mask
    box = bounding_box(airways.mask, tuple(int(5.0 / s) + 1 for s in spacing))
    columns = np.arange(airways.mask.shape[2])
    central = np.abs(columns - midline.column[:, None]) * spacing[2] < MAIN_BRONCHI_MM
    out = airways.mask & central[:, None]
    out[box] = dilate(out[box], 2.5, spacing)
    return out
