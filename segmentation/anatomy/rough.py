"""Fallback when the organs cannot be found: parts of the body's box, marked as rough and never without a flag."""

from __future__ import annotations

import numpy as np

from ..morphology import bounding_box
from ..types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray

__all__ = ["rough_labels"]


def rough_labels(body: BoolArray) -> LabelArray:
    """Right lung, heart and left lung as the three upright parts of the trunk's box (30, 40 and 30 % of its width).

    Args:
        body: bool [D, H, W] in the frame (I, P, L).
    """
    out = np.zeros(body.shape, dtype=np.uint8)
    box = bounding_box(body)
    z, y, x = box
    width = x.stop - x.start
    first, second = x.start + round(0.3 * width), x.start + round(0.7 * width)
    out[z, y, x.start : first] = RIGHT_LUNG
    out[z, y, first:second] = HEART_MEDIASTINUM
    out[z, y, second : x.stop] = LEFT_LUNG
    return out
