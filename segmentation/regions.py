"""How much of each cell of a feature grid every organ covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .types import ORGANS, FloatArray, LabelArray

__all__ = ["GridLike", "box_weights", "organ_occupancy"]


class GridLike(Protocol):
    """What occupancy needs to know of a feature grid; ``organcam.geometry.FeatureGrid`` is one."""

    shape: tuple[int, int, int]
    stride: tuple[float, float, float]
    offset: tuple[float, float, float]
    input_shape: tuple[int, int, int]


def box_weights(n: int, cells: int, stride: float, offset: float) -> FloatArray:
    """Share of each cell's length that each voxel covers along one axis.

    Cell ``c`` is ``offset + c * stride`` -+ ``stride / 2`` in voxel coordinates, where voxel ``i`` spans ``i - 0.5`` to
    ``i + 0.5``. What lies outside the volume is covered by nothing.

    Returns:
        ``[cells, n]``; rows sum to 1, less where a cell leaves the volume.
    """
    centre = offset + np.arange(cells) * stride
    low, high = (centre - stride / 2)[:, None], (centre + stride / 2)[:, None]
    voxel = np.arange(n)[None]
    overlap = np.minimum(high, voxel + 0.5) - np.maximum(low, voxel - 0.5)
    return (np.maximum(overlap, 0.0) / stride).astype(np.float32)


def organ_occupancy(labels: LabelArray, grid: GridLike, values: Sequence[int] = (1, 2, 3)) -> FloatArray:
    """Fraction of each cell's box that each organ covers, exactly (separable box sums).

    Args:
        labels: organ labels in the network frame, shape ``grid.input_shape``.
        grid: the network's feature grid.
        values: label values to measure, in the order of the result.

    Returns:
        float32 ``[len(values), S, h, w]`` in [0, 1]; by default right lung, left lung, heart and mediastinum.

    Raises:
        ValueError: if the labels do not have the grid's input shape.
    """
    array = np.asarray(labels)
    if array.shape != tuple(grid.input_shape):
        msg = f"labels have shape {array.shape}, the grid was made for input shape {tuple(grid.input_shape)}"
        raise ValueError(msg)
    geometry = zip(array.shape, grid.shape, grid.stride, grid.offset, strict=True)
    wz, wy, wx = (box_weights(n, cells, stride, offset) for n, cells, stride, offset in geometry)
    out = np.zeros((len(values), *grid.shape), dtype=np.float32)
    for s in range(grid.shape[0]):
        for k in np.flatnonzero(wz[s]):
            for i, value in enumerate(values):
                out[i, s] += wz[s, k] * _plane_sums(array[k] == value, wy, wx)
    return np.clip(out, 0.0, 1.0)


def _plane_sums(mask: npt.NDArray[np.bool_], wy: FloatArray, wx: FloatArray) -> FloatArray:
    if not mask.any():
        return np.zeros((wy.shape[0], wx.shape[0]), dtype=np.float32)
    return (wy @ mask.astype(np.float32)) @ wx.T
