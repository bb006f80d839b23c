"""What a network sees of a stored volume, and how its voxels and feature cells map back to the scan.

Stored volume -> centred padding with air or cropping to a fixed shape -> window. All of it is a shift and a scale along
the array axes, so a point of the network's input has exactly one place in the source scan and nothing needs resampling
to go back.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..geometry import FeatureGrid

__all__ = ["grid_key", "grid_on_scan", "input_affine", "input_start"]


def input_start(stored_shape: tuple[int, ...], input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Index of the input's first voxel in the stored volume, per axis; negative where air is padded before it.

    Centred as in the published code: floor(need / 2) voxels are padded before, floor(excess / 2) are cropped.

    Example:
        >>> input_start((400, 425, 420), (405, 420, 420))
        (-2, 2, 0)
    """
    starts = []
    for stored, wanted in zip(stored_shape, input_shape, strict=True):
        starts.append((stored - wanted) // 2 if stored >= wanted else -((wanted - stored) // 2))
    return tuple(starts)


def input_affine(
    stored_affine: NDArray[np.float64], stored_shape: tuple[int, ...], input_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Voxel index of the network's input to RAS+ millimetres."""
    shift = np.eye(4)
    shift[:3, 3] = input_start(stored_shape, input_shape)
    return stored_affine @ shift


def grid_on_scan(
    grid: FeatureGrid,
    affine: NDArray[np.float64],
    scan_affine: NDArray[np.float64],
    scan_shape: tuple[int, int, int],
) -> FeatureGrid:
    """The same cells, told in voxels of the scan.

    Args:
        grid: cells in voxels of the network's input.
        affine: of the network's input (`input_affine`).
        scan_affine: of the scan, reoriented to the network's axes.
        scan_shape: shape of the scan in those axes.

    Raises:
        ValueError: if the two grids are not aligned axis by axis.
    """
    mapping = np.linalg.inv(scan_affine) @ affine
    scale = np.diag(mapping)[:3]
    if np.abs(mapping[:3, :3] - np.diag(scale)).max() > 1e-3 or (scale <= 0).any():
        msg = "the scan and the network's input are turned against each other; reorient the scan first"
        raise ValueError(msg)
    offset = scale * np.asarray(grid.offset) + mapping[:3, 3]
    stride = scale * np.asarray(grid.stride)
    field = np.ceil(scale * np.asarray(grid.receptive_field)).astype(int)
    return replace(
        grid,
        stride=(stride[0], stride[1], stride[2]),
        offset=(offset[0], offset[1], offset[2]),
        receptive_field=(field[0], field[1], field[2]),
        input_shape=scan_shape,
    )


def grid_key(grid: FeatureGrid) -> str:
    """A short name of a grid: equal grids, equal names."""
    digest = hashlib.sha256(json.dumps(grid.to_dict(), sort_keys=True).encode()).hexdigest()
    return f"{'x'.join(map(str, grid.shape))}-{digest[:8]}"
