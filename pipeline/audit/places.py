"""Where a thing goes in a scan whose organs are known: places in lungs, heart and chest wall, and around the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from organcam.segmentation.regions.occupancy import LUNG_THIRDS, lung_thirds

from ..errors import DataError, did_you_mean

__all__ = ["Place", "in_lung", "on_heart", "outer_surface"]

Place = tuple[tuple[float, float, float], str]
"""Centre in voxels along (z, y, x), and its name."""

COARSEST_MM = 2.0
TRIES = 200
AERATED_HU = -500.0


def in_lung(
    hu: NDArray, organs: NDArray, spacing: tuple[float, ...], radius_mm: float, where: str, rng: np.random.Generator
) -> Place:
    """A point of aerated lung, in a third of it if one is named, as deep as the radius where there is room.

    Args:
        hu: ``[D, H, W]``.
        organs: 1 right lung, 2 left lung.
        spacing: mm.
        radius_mm: of what goes there.
        where: one of ``LUNG_THIRDS``, or empty for any.
        rng: random numbers.

    Raises:
        DataError: if the lung is not there or holds no air; ConfigError-like words for an unknown third.
    """
    if where and where not in LUNG_THIRDS:
        msg = f"unknown place '{where}': {did_you_mean(where, LUNG_THIRDS)}"
        raise DataError(msg)
    steps = tuple(max(1, round(COARSEST_MM / size)) for size in spacing)
    coarse = tuple(slice(None, None, step) for step in steps)
    thirds = lung_thirds(organs)[coarse]
    wanted = thirds == 1 + LUNG_THIRDS.index(where) if where else thirds > 0
    wanted = wanted & (hu[coarse] < AERATED_HU)
    if not wanted.any():
        msg = f"no aerated lung {'in ' + where if where else ''} to put it into".replace("  ", " ")
        raise DataError(msg)
    depth = distance_transform_edt(thirds > 0, [size * step for size, step in zip(spacing, steps, strict=True)])
    enough = wanted & (depth >= radius_mm + 2)
    if not enough.any():
        enough = wanted & (depth >= depth[wanted].max() * 0.9)
    cells = np.argwhere(enough)
    cell = cells[rng.integers(len(cells))]
    z, y, x = (float(at * step) for at, step in zip(cell, steps, strict=True))
    return (z, y, x), LUNG_THIRDS[int(thirds[tuple(cell)]) - 1]


def on_heart(organs: NDArray, spacing: tuple[float, ...], rng: np.random.Generator) -> Place:
    """A point some 8 mm below the front of the heart's left border, where coronary arteries run.

    Raises:
        DataError: if there is no heart and mediastinum.
    """
    heart = organs == 3
    held = np.flatnonzero(heart.any(axis=(1, 2)))
    if not held.size:
        msg = "no heart and mediastinum to put it into"
        raise DataError(msg)
    z = int(held[0] + (0.45 + 0.25 * rng.random()) * (held[-1] - held[0]))
    z = int(held[np.abs(held - z).argmin()])
    columns = np.flatnonzero(heart[z].any(axis=0))
    x = int(columns[0] + (0.55 + 0.3 * rng.random()) * (columns[-1] - columns[0]))
    x = int(columns[np.abs(columns - x).argmin()])
    rows = np.flatnonzero(heart[z, :, x])
    y = min(int(rows[0] + round(8 / spacing[1])), int(rows[-1]))
    return (float(z), float(y), float(x)), "heart"


def outer_surface(body: NDArray[np.bool_], level: float, across: float) -> tuple[int, int, int] | None:
    """The foremost voxel of the body at a level (share of its height) and a column (share of its width there)."""
    held = np.flatnonzero(body.any(axis=(1, 2)))
    if not held.size:
        return None
    z = int(held[round(level * (len(held) - 1))])
    columns = np.flatnonzero(body[z].any(axis=0))
    x = int(columns[round(across * (len(columns) - 1))])
    return z, int(np.flatnonzero(body[z, :, x])[0]), x
