"""Lung components: which air inside the body is lung, and which lung it belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..morphology import component_sizes, components, dilate, open_mask
from ..types import LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray
from .left_right import right_of, split_component
from .midline import Midline

__all__ = ["MIN_LUNG_ML", "find_lungs"]

MIN_LUNG_ML = 60.0
"""A component smaller than this starts no lung (it may still join one)."""


def find_lungs(
    volume: FloatArray, air: BoolArray, airways: BoolArray, midline: Midline, spacing: Sequence[float]
) -> LabelArray:
    """Aerated lung, right (1) and left (2).

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        air: air inside the body without bowel gas.
        airways: trachea and bronchi with their walls, taken out.
        midline: of the same grid.
        spacing: millimetres.
    """
    candidate = air & ~airways
    core = open_mask(candidate, 2.1, spacing)
    labels, count = components(core)
    out = np.zeros(volume.shape, dtype=np.uint8)
    if count == 0:
        return out
    voxel = float(np.prod(spacing)) / 1000.0
    sizes = component_sizes(labels, count) * voxel
    on_right = right_of(midline, volume.shape)
    right = component_sizes(labels, count, on_right) * voxel
    side = np.zeros(count + 1, dtype=np.uint8)
    joined = []
    for label in np.flatnonzero(sizes > MIN_LUNG_ML).tolist():
        share = right[label] / sizes[label]
        if 0.12 < share < 0.88 and sizes[label] > 400.0:
            joined.append(label)
        else:
            side[label] = RIGHT_LUNG if share > 0.5 else LEFT_LUNG
    out = side[labels]
    for label in joined:
        part = split_component(labels == label, midline, spacing)
        out[part > 0] = part[part > 0]
    return _regrow(out, candidate, spacing)


def _regrow(lungs: LabelArray, candidate: BoolArray, spacing: Sequence[float]) -> LabelArray:
    """Give back what the opening took (4.5 mm) and small parts that lie within 8 mm of one lung only."""
    out = lungs.copy()
    near = {label: dilate(lungs == label, 4.5, spacing) & candidate for label in (RIGHT_LUNG, LEFT_LUNG)}
    free = out == 0
    out[near[RIGHT_LUNG] & free & ~near[LEFT_LUNG]] = RIGHT_LUNG
    out[near[LEFT_LUNG] & free & ~near[RIGHT_LUNG]] = LEFT_LUNG
    both = near[RIGHT_LUNG] & near[LEFT_LUNG] & free
    out[both] = RIGHT_LUNG
    rest = candidate & (out == 0)
    labels, count = components(rest)
    if count == 0:
        return out
    sizes = component_sizes(labels, count) * float(np.prod(spacing)) / 1000.0
    small = sizes < MIN_LUNG_ML
    reach = {label: np.bincount(labels[dilate(out == label, 6.0, spacing)], minlength=count + 1) for label in (1, 2)}
    side = np.zeros(count + 1, dtype=np.uint8)
    side[small & (reach[1] > reach[2])] = RIGHT_LUNG
    side[small & (reach[2] > reach[1])] = LEFT_LUNG
    side[0] = 0
    add = side[labels]
    return np.where(out == 0, add, out)
