"""What lies right under the back of each lung: where airless lung and fluid hide from every rule that needs air."""

from __future__ import annotations

import numpy as np

from ..morphology import lowest_slices
from ..types import LEFT_LUNG, RIGHT_LUNG, LabelArray

__all__ = ["LUNG_BASES", "lung_bases"]

LUNG_BASES = ("right_base", "left_base")
"""Order of the labels 1 and 2 of ``lung_bases``."""

BASE_BEGINS = 0.55
"""Only columns in which the lung ends below this share of its height end on the diaphragm."""


def lung_bases(labels: LabelArray, slices: int) -> LabelArray:
    """The unsure base of each lung: what lies under its back half, outside all organs.

    A lung that is airless on the diaphragm has the density of the liver below it, so that a mask ends above it and
    looks as over a raised dome. Patients lie on their backs: collapse and fluid gather behind the middle of the base.
    Nothing here is said to be lung; it is where the evidence of such a finding may lie.

    Args:
        labels: organ labels in the network frame (axis 0 from superior to inferior, axis 1 from anterior), 0 to 3.
        slices: how far below the lung's lowest voxel of each column the base reaches; 0 means nothing.

    Returns:
        uint8, same shape: 1 under the right lung, 2 under the left one, 0 elsewhere.
    """
    out = np.zeros(labels.shape, dtype=np.uint8)
    for value, lung in ((1, RIGHT_LUNG), (2, LEFT_LUNG)):
        own = labels == lung
        held = np.flatnonzero(own.any(axis=(1, 2)))
        if not held.size or slices <= 0:
            continue
        lowest = lowest_slices(own)
        ends = lowest > held[0] + BASE_BEGINS * (held[-1] - held[0])
        if not ends.any():
            continue
        rows = np.nonzero(ends)[0]
        ends[: int(np.median(rows))] = False
        for k in range(int(lowest[ends].min()) + 1, min(int(lowest[ends].max()) + slices + 1, len(labels))):
            under = ends & (lowest < k) & (lowest >= k - slices) & (labels[k] == 0) & (out[k] == 0)
            out[k][under] = value
    return out
