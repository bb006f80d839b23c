"""From the coarse cells of a map back to the voxels of the network's input, or to other cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..geometry import FeatureGrid

__all__ = ["resized_grid", "reversed_grid", "sampled", "to_cells", "to_input_grid", "voxel_grid"]

Array = TypeVar("Array", np.ndarray, Tensor)


def to_input_grid(attention: Array, grid: FeatureGrid) -> Array:
    """Linear interpolation of maps between the true centres of their cells.

    ``torch.nn.functional.interpolate`` would spread the cells over the whole input, which is wrong wherever they do not
    tile it (2.2 times too wide for AxialNet's reference head). Beyond the outermost centres a voxel takes the nearest
    cell's value within half a stride, and 0 farther out, where there is no cell. Call it for one label at a time: 80
    labels of 405 x 420 x 420 voxels are 23 GB.

    Args:
        attention: one map, ``[S, h, w]`` or with the grid's axes, or several ``[..., S, h, w]``; numpy or torch.
        grid: of the network that made the map.

    Returns:
        The input's voxels ``[..., D, H, W]``, float32 (float64 tensors stay), of the same kind and on the same device.

    Raises:
        ValueError: if the map's shape is not the grid's.
    """
    if tuple(attention.shape[-grid.axes :]) != grid.shape:
        msg = f"expected a map of {grid.shape} cells, got {tuple(attention.shape)}"
        raise ValueError(msg)
    places = [np.arange(size) for size in grid.input_shape]
    if isinstance(attention, Tensor):
        return sampled(attention, grid, places)
    return sampled(torch.as_tensor(np.asarray(attention, dtype=np.float32)), grid, places).numpy()


def sampled(values: Tensor, grid: FeatureGrid, places: Sequence[NDArray]) -> Tensor:
    """The same at some places of the input only: those of every axis, crossed with each other.

    Args:
        values: ``[..., *grid]``.
        grid: where the cells lie.
        places: voxel coordinates along each axis.
    """
    values = values if values.dtype == torch.float64 else values.float()
    axes = grid.axes
    for axis, places_of_axis in enumerate(places):
        weights = torch.as_tensor(_interpolation(grid, axis, places_of_axis), device=values.device, dtype=values.dtype)
        from_end = axis - axes
        if from_end == -1:  # written in the order in which it stays
            values = values @ weights.T
        else:
            values = (weights @ values.movedim(from_end, -2)).movedim(-2, from_end)
    return values.contiguous()


def to_cells(values: Tensor, grid: FeatureGrid, cells: FeatureGrid) -> Tensor:
    """Maps on other cells of the same input.

    What is finer is summed over each cell's box (as wide as its stride, around its centre), so that evidence stays what
    it was; what is coarser is read at the cells' centres.

    Args:
        values: ``[..., *grid]``.
        grid: where they lie.
        cells: where they shall lie.

    Raises:
        ValueError: if the two belong to inputs of different sizes.
    """
    if grid == cells:
        return values
    if grid.input_shape != cells.input_shape:
        msg = f"cells of an input of {grid.input_shape} voxels cannot become those of one of {cells.input_shape}"
        raise ValueError(msg)
    if any(fine > coarse for fine, coarse in zip(grid.stride, cells.stride, strict=True)):
        return sampled(values, grid, [cells.centres(axis) for axis in range(cells.axes)])
    values = values if values.dtype == torch.float64 else values.float()
    for axis in range(cells.axes):
        start, stop = cells.cell_bounds(axis)
        centres = grid.centres(axis)
        inside = (centres >= start[:, None]) & (centres < stop[:, None])
        weights = torch.as_tensor(inside, device=values.device, dtype=values.dtype)
        from_end = axis - cells.axes
        values = torch.tensordot(values.movedim(from_end, -1), weights.T, dims=1).movedim(-1, from_end)
    return values.contiguous()


def voxel_grid(input_shape: Sequence[int]) -> FeatureGrid:
    """The grid whose cells are the voxels themselves."""
    axes = len(input_shape)
    return FeatureGrid(tuple(input_shape), (1,) * axes, (0,) * axes, (1,) * axes, tuple(input_shape))


def resized_grid(grid: FeatureGrid, size: Sequence[int]) -> FeatureGrid:
    """The same cells on an input that is resampled to another size, edges on edges.

    Raises:
        ValueError: if the number of axes is another one, or a size is less than 1.
    """
    if len(size) != grid.axes or min(size) < 1:
        msg = f"size must be {grid.axes} positive numbers of voxels, for instance {grid.input_shape}, got {tuple(size)}"
        raise ValueError(msg)
    scale = [new / old for new, old in zip(size, grid.input_shape, strict=True)]
    return replace(
        grid,
        stride=tuple(stride * by for stride, by in zip(grid.stride, scale, strict=True)),
        offset=tuple((offset + 0.5) * by - 0.5 for offset, by in zip(grid.offset, scale, strict=True)),
        receptive_field=tuple(int(np.ceil(field * by)) for field, by in zip(grid.receptive_field, scale, strict=True)),
        input_shape=tuple(int(voxels) for voxels in size),
    )


def reversed_grid(grid: FeatureGrid) -> FeatureGrid:
    """The same cells with the axes in reverse order."""
    return FeatureGrid(*(getattr(grid, field.name)[::-1] for field in fields(grid)))


def _interpolation(grid: FeatureGrid, axis: int, places: NDArray) -> np.ndarray:
    """Weights ``[places, cells]`` of linear interpolation along one axis."""
    cells, rows = grid.shape[axis], np.arange(len(places))
    position = (np.asarray(places) - grid.offset[axis]) / grid.stride[axis]
    inside = (position >= -0.5) & (position <= cells - 0.5)
    lower = np.clip(np.floor(position), 0, max(cells - 2, 0)).astype(int)
    fraction = np.clip(position - lower, 0.0, 1.0)
    weights = np.zeros((len(rows), cells), dtype=np.float32)
    weights[rows, lower] = 1 - fraction
    weights[rows, np.minimum(lower + 1, cells - 1)] += fraction
    weights[~inside] = 0
    return weights
