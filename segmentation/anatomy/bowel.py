"""Gas in stomach and bowel: emptier and smoother than lung, low in the scan, and wrapped in soft tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage as ndi

from ..morphology import component_sizes, components, dilate
from ..types import BoolArray, FloatArray

__all__ = ["find_bowel_gas"]

GAS_HU = -930.0
BOX_MM = 8.0
VOLUME_ML = (1.0, 1000.0)
SOFT_SHARE = 0.6
LOWEST_PART = 0.35
"""Gas is looked for below this share of the height of the air in the body (0 is its top)."""


def find_bowel_gas(volume: FloatArray, air: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Air inside the body that is bowel gas and not lung.

    A piece with a local mean under -930 HU, mostly below the upper third, counts as gas if soft tissue makes up more
    than 60 % of the shell around it and no lung follows below it: an emphysematous lobe has lung around and below.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        air: air inside the body.
        spacing: millimetres.
    """
    out = np.zeros_like(air)
    slices = np.flatnonzero(air.any(axis=(1, 2)))
    if slices.size < 3:
        return out
    start = int(slices[0] + LOWEST_PART * (slices[-1] - slices[0]))
    lower, inside = volume[start:], air[start:]
    size = [max(1, round(BOX_MM / s)) for s in spacing]
    gas = inside & (ndi.uniform_filter(lower, size, mode="nearest") < GAS_HU)
    labels, count = components(gas)
    if count == 0:
        return out
    sizes = component_sizes(labels, count) * float(np.prod(spacing)) / 1000.0
    boxes = ndi.find_objects(labels)
    lung_like = inside & (lower > -910.0) & (lower < -600.0)
    sizes[labels[0]] = 0  # goes on above: lung
    for label in np.flatnonzero((sizes > VOLUME_ML[0]) & (sizes < VOLUME_ML[1])):
        margin = [int(10.0 / s) + 1 for s in spacing]
        box = tuple(
            slice(max(0, b.start - m), min(n, b.stop + m))
            for b, m, n in zip(boxes[label - 1], margin, gas.shape, strict=True)
        )
        core = labels[box] == label
        gas_piece = _grow_to_wall(core, inside[box], spacing)
        if _wrapped(gas_piece, lower[box], spacing) and not _over_lung(labels == label, lung_like, spacing):
            out[start:][box] |= gas_piece
    return out


def _grow_to_wall(gas: BoolArray, air: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """The piece with its half-filled border voxels: two steps through air of at least 3 mm and one voxel."""
    steps_mm = [min(s, 3.0) for s in spacing]
    for _ in range(2):
        gas = dilate(gas, 3.0, steps_mm) & air
    return gas


def _wrapped(gas: BoolArray, volume: FloatArray, spacing: Sequence[float]) -> bool:
    """Whether soft tissue makes up most of the shell, two voxels and at least 4 mm thick, around a piece of gas."""
    shell = dilate(gas, 4.0, [min(s, 2.0) for s in spacing]) & ~gas
    return bool(shell.any()) and float((volume[shell] > -250.0).mean()) > SOFT_SHARE


def _over_lung(gas: BoolArray, lung_like: BoolArray, spacing: Sequence[float]) -> bool:
    """Whether lung goes on below a piece: more than 12 mm (and one slice) of it under a quarter of its columns."""
    footprint = gas.any(axis=0)
    lowest = gas.shape[0] - 1 - gas[::-1].argmax(axis=0)
    below = np.arange(gas.shape[0])[:, None] > lowest[footprint][None]
    under = (lung_like[:, footprint] & below).sum(axis=0) * spacing[0]
    return bool((under > max(12.0, 1.5 * spacing[0])).mean() > 0.25)
