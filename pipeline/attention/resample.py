"""From the coarse cells of a map back to the voxels of the network's input, one label at a time."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..geometry import FeatureGrid

__all__ = ["to_input_grid"]

Array = TypeVar("Array", np.ndarray, Tensor)


def to_input_grid(attention: Array, grid: FeatureGrid) -> Array:
    """Linear interpolation of one map between the true centres of its cells.

    ``torch.nn.functional.interpolate`` would spread the cells over the whole input, which is wrong wherever they do not
    tile it (2.2 times too wide for AxialNet's reference head). Beyond the outermost centres a voxel takes the nearest
    cell's value within half a stride, and 0 farther out, where there is no cell. Call it for one label at a time: 80
    labels of 405 x 420 x 420 voxels are 23 GB.

    Args:
        attention: one map, ``[S, h, w]`` or with the grid's axes, numpy or torch.
        grid: of the network that made the map.

    Returns:
        The input's voxels ``[D, H, W]``, float32, of the same kind and on the same device.

    Raises:
        ValueError: if the map's shape is not the grid's.
    """
    if tuple(attention.shape) != grid.shape:
        msg = f"expected a map of {grid.shape} cells, got {tuple(attention.shape)}"
        raise ValueError(msg)
    if isinstance(attention, Tensor):
        return _interpolate(attention.float(), grid)
    return _interpolate(torch.as_tensor(np.asarray(attention, dtype=np.float32)), grid).numpy()


def _interpolate(values: Tensor, grid: FeatureGrid) -> Tensor:
    for axis in range(grid.axes):
        weights = torch.as_tensor(_interpolation(grid, axis), device=values.device)
        values = torch.tensordot(weights, values, dims=([1], [axis])).movedim(0, axis)
    return values.contiguous()


def _interpolation(grid: FeatureGrid, axis: int) -> np.ndarray:
    """Weights ``[voxels, cells]`` of linear interpolation along one axis."""
    cells, voxels = grid.shape[axis], np.arange(grid.input_shape[axis])
    position = (voxels - grid.offset[axis]) / grid.stride[axis]
    inside = (position >= -0.5) & (position <= cells - 0.5)
    lower = np.clip(np.floor(position), 0, max(cells - 2, 0)).astype(int)
    fraction = np.clip(position - lower, 0.0, 1.0)
    weights = np.zeros((len(voxels), cells), dtype=np.float32)
    weights[voxels, lower] = 1 - fraction
    weights[voxels, np.minimum(lower + 1, cells - 1)] += fraction
    weights[~inside] = 0
    return weights
