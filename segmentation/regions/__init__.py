"""From organs to the cells of a network's feature grid: occupancy, bitmaps, and the published shrinking."""

from __future__ import annotations

from .base import LUNG_BASES, lung_bases
from .bitmaps import REGION_NAMES, organ_regions, pack_bitmaps, unpack_bitmaps
from .occupancy import LUNG_THIRDS, lung_thirds, organ_occupancy, rough_regions
from .shrink import reference_regions

__all__ = [
    "LUNG_BASES",
    "LUNG_THIRDS",
    "REGION_NAMES",
    "lung_bases",
    "lung_thirds",
    "organ_occupancy",
    "organ_regions",
    "pack_bitmaps",
    "reference_regions",
    "rough_regions",
    "unpack_bitmaps",
]
