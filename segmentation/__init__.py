"""CT volume to right lung, left lung, heart and mediastinum by image processing; quality flags; occupancy of grids."""

from __future__ import annotations

from .regions import organ_occupancy
from .segment import METHODS, segment_organs
from .types import BACKGROUND, HEART_MEDIASTINUM, LEFT_LUNG, ORGANS, RIGHT_LUNG, Flag, OrganSegmentation, Quality

__all__ = [
    "BACKGROUND",
    "HEART_MEDIASTINUM",
    "LEFT_LUNG",
    "METHODS",
    "ORGANS",
    "RIGHT_LUNG",
    "Flag",
    "OrganSegmentation",
    "Quality",
    "organ_occupancy",
    "segment_organs",
]
