"""CT volume to right lung, left lung, heart and mediastinum by image processing; quality flags; occupancy of grids."""

from __future__ import annotations

from .anatomy.parts import PARTS
from .external import LABEL_TABLES, external_organs
from .pictures.montage import montage, save_montage
from .regions.base import lung_bases
from .regions.bitmaps import REGION_NAMES, organ_regions, pack_bitmaps, unpack_bitmaps
from .regions.occupancy import lung_thirds, organ_occupancy, rough_regions
from .regions.shrink import reference_regions
from .segment import METHODS, segment_organs
from .types import BACKGROUND, HEART_MEDIASTINUM, LEFT_LUNG, ORGANS, RIGHT_LUNG, Flag, OrganSegmentation, Quality

__all__ = [
    "BACKGROUND",
    "HEART_MEDIASTINUM",
    "LABEL_TABLES",
    "LEFT_LUNG",
    "METHODS",
    "ORGANS",
    "PARTS",
    "REGION_NAMES",
    "RIGHT_LUNG",
    "Flag",
    "OrganSegmentation",
    "Quality",
    "external_organs",
    "lung_bases",
    "lung_thirds",
    "montage",
    "organ_occupancy",
    "organ_regions",
    "pack_bitmaps",
    "reference_regions",
    "rough_regions",
    "save_montage",
    "segment_organs",
    "unpack_bitmaps",
]
