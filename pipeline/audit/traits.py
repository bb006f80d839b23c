"""What a scan shows that is no finding, and a shortcut could be made of: habitus, field of view, acquisition, metal."""

from __future__ import annotations

import numpy as np

from ..data.volume import Volume
from .parts import BODY, OUTSIDE, PARTS
from .texture import measure_noise

__all__ = ["TRAITS", "traits_of"]

METAL_HU = 2000
TABLE_HU = -700
FAT_HU = (-150, -50)

TRAITS = {
    "body_width_mm": "width of the body",
    "body_depth_mm": "depth of the body",
    "wall_mm": "thickness of the body wall",
    "fat_share": "fat in the body wall",
    "field_of_view_mm": "field of view",
    "slice_mm": "slice thickness",
    "pixel_mm": "pixel size",
    "noise_hu": "noise",
    "grain": "softness of the kernel",
    "mediastinum_hu": "density of the mediastinum (contrast)",
    "metal_ml": "metal, in or on the body",
    "table_ml": "table and what lies outside the body",
    "right_lung_ml": "volume of the right lung",
    "left_lung_ml": "volume of the left lung",
    "heart_mediastinum_ml": "volume of heart and mediastinum",
}
"""Name -> in words."""


def traits_of(scan: Volume, parts: Volume) -> dict[str, float]:
    """Measure one scan; NaN for what cannot be.

    Args:
        scan: HU.
        parts: of ``parts_of``.
    """
    hu, labels = scan.reoriented(), parts.reoriented().array
    voxel_ml = float(np.prod(hu.spacing)) / 1000
    body, outside = labels != OUTSIDE, labels == OUTSIDE
    wall, heart = labels == BODY, labels == 3
    found = dict.fromkeys(TRAITS, float("nan"))
    levels = np.flatnonzero(((labels == 1) | (labels == 2)).any(axis=(1, 2)))
    if body.any() and levels.size:
        middle = body[levels[0] : levels[-1] + 1]
        across, deep = middle.any(axis=1).sum(axis=1), middle.any(axis=2).sum(axis=1)
        found["body_width_mm"] = float(np.median(across)) * hu.spacing[2]
        found["body_depth_mm"] = float(np.median(deep)) * hu.spacing[1]
        found["wall_mm"] = _wall(labels[levels[len(levels) // 2]], hu.spacing[2])
        fat = (hu.array > FAT_HU[0]) & (hu.array < FAT_HU[1]) & wall
        found["fat_share"] = float(fat.sum() / max(wall.sum(), 1))
    noise = measure_noise(hu.array, heart)
    found |= {
        "field_of_view_mm": hu.array.shape[2] * hu.spacing[2],
        "slice_mm": hu.spacing[0],
        "pixel_mm": hu.spacing[2],
        "noise_hu": noise.level or float("nan"),
        "grain": noise.neighbour if noise.level else float("nan"),
        "metal_ml": float((hu.array >= METAL_HU).sum()) * voxel_ml,
        "table_ml": float(((hu.array > TABLE_HU) & outside).sum()) * voxel_ml,
    }
    for value in (1, 2, 3):
        found[f"{PARTS[value].replace(' and ', '_').replace(' ', '_')}_ml"] = float((labels == value).sum()) * voxel_ml
    if heart.any():
        found["mediastinum_hu"] = float(np.median(hu.array[heart]))
    return found


def _wall(labels: np.ndarray, pixel_mm: float) -> float:
    """Mean way from the skin to the lung at the sides of one slice."""
    ways = []
    for row in labels:
        lungs, body = np.flatnonzero((row == 1) | (row == 2)), np.flatnonzero(row != OUTSIDE)
        if lungs.size:
            ways += [lungs[0] - body[0], body[-1] - lungs[-1]]
    return float(np.median(ways)) * pixel_mm if ways else float("nan")
