"""From feature cells to the voxels of the scan that a network's input was made of, whatever lies between them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from ..data.volume import Volume
from ..errors import DataError
from ..geometry import FeatureGrid
from .resample import sampled

__all__ = ["SourceGrid", "map_on_source", "source_grid_of"]

SLAB = 1 << 22
"""Voxels that are looked up at a time."""
ALONG = 1e-6
"""Largest slope, in voxels a voxel, between two axes that count as parallel."""
RIM = 1e-6
"""Voxels by which affines may err where a voxel's centre lies on the very edge of the input."""


class SourceGrid(NamedTuple):
    """The voxels of a scan as it was read: shape, and 4 x 4 from voxel index to RAS+ millimetres."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def source_grid_of(image: Any) -> SourceGrid:
    """Where the voxels of a network's input come from.

    Args:
        image: one item, MONAI's MetaTensor as ``LoadImaged`` and the transforms after it left it.

    Raises:
        DataError: if it does not know.
    """
    meta = getattr(image, "meta", None) or {}
    shape, affine = meta.get("spatial_shape"), meta.get("original_affine")
    if shape is None or affine is None:
        msg = (
            "the image does not know the scan it was made of: load it by LoadImaged, and keep its metadata up to here "
            "(or ask for maps on the input's voxels, space='input')"
        )
        raise DataError(msg)
    sizes = tuple(int(size) for size in np.asarray(shape).ravel()[:3])
    return SourceGrid(sizes, np.asarray(torch.as_tensor(affine).cpu(), dtype=np.float64))


def map_on_source(
    cells: NDArray[np.float32],
    grid: FeatureGrid,
    input_affine: NDArray[np.float64],
    source: SourceGrid,
    unseen: float = np.nan,
) -> Volume:
    """A map on the voxels of the source scan: orientation, spacing, cropping, padding and rotation undone at once.

    The affines say where input and scan lie in the patient (MONAI's transforms keep them), so nothing is interpolated
    twice, and random or lazy transforms need no inverse. Each voxel of the scan takes the value between the true
    centres of the cells around it (``organcam.attention.to_input_grid``): the nearest cell's within half a stride of
    the outermost ones, 0 farther out. Voxels that lie outside the network's input, because they were cropped away, have
    not been seen by it, and are not to be read as places without evidence.

    Args:
        cells: raw signed values ``[S, h, w]``.
        grid: where they lie in the network's input.
        input_affine: of the network's input, voxel index to RAS+ mm.
        source: the scan's voxels.
        unseen: value of voxels outside the network's input. NaN by default, which no reader takes for a number.

    Returns:
        Float32 with the scan's shape and affine.

    Raises:
        ValueError: if the map has not three axes or not the grid's shape.
    """
    if grid.axes != 3 or tuple(cells.shape) != grid.shape:
        msg = f"expected a map of three axes and {grid.shape} cells, got {tuple(cells.shape)}"
        raise ValueError(msg)
    to_input = np.linalg.inv(np.asarray(input_affine, dtype=np.float64)) @ source.affine
    partners = _parallel_axes(to_input)
    values = np.asarray(cells, dtype=np.float32)
    if partners is None:
        found = _anywhere(values, grid, to_input, source.shape, unseen)
    else:
        found = _axis_by_axis(values, grid, to_input, source.shape, partners, unseen)
    return Volume(found, source.affine)


def _parallel_axes(to_input: NDArray[np.float64]) -> list[int] | None:
    """For each axis of the input the axis of the scan that is parallel to it; None where the two are turned."""
    matrix = np.abs(to_input[:3, :3])
    partners = matrix.argmax(1).tolist()
    others = matrix.copy()
    others[range(3), partners] = 0
    return partners if len(set(partners)) == 3 and others.max() < ALONG else None


def _axis_by_axis(
    values: NDArray[np.float32],
    grid: FeatureGrid,
    to_input: NDArray[np.float64],
    shape: tuple[int, ...],
    partners: list[int],
    unseen: float,
) -> NDArray[np.float32]:
    along = [to_input[axis, 3] + to_input[axis, one] * np.arange(shape[one]) for axis, one in enumerate(partners)]
    found = sampled(torch.from_numpy(values), grid, along).numpy()
    for axis, voxels in enumerate(along):
        hidden: list[Any] = [slice(None)] * 3
        hidden[axis] = ~_inside(voxels, grid.input_shape[axis])
        found[tuple(hidden)] = unseen
    return np.ascontiguousarray(found.transpose(np.argsort(partners)))


def _positions(
    grid: FeatureGrid, axis: int, voxels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Coordinates in cells, kept among their centres, and whether they are within half a stride of a centre."""
    position = (voxels - grid.offset[axis]) / grid.stride[axis]
    cells = grid.shape[axis]
    return np.clip(position, 0, cells - 1), (position >= -0.5) & (position <= cells - 0.5)


def _inside(voxels: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    return (voxels >= -0.5 - RIM) & (voxels <= size - 0.5 + RIM)


def _anywhere(
    values: NDArray[np.float32],
    grid: FeatureGrid,
    to_input: NDArray[np.float64],
    shape: tuple[int, ...],
    unseen: float,
) -> NDArray[np.float32]:
    found = np.empty(shape, dtype=np.float32)
    step = max(1, SLAB // max(1, shape[1] * shape[2]))
    for start in range(0, shape[0], step):
        rows = range(start, min(start + step, shape[0]))
        index = np.meshgrid(rows, range(shape[1]), range(shape[2]), indexing="ij", sparse=True)
        positions = []
        near: NDArray[np.bool_] = np.ones((), bool)
        seen: NDArray[np.bool_] = np.ones((), bool)
        for axis in range(3):
            voxels = to_input[axis, 3] + sum(to_input[axis, other] * index[other] for other in range(3))
            position, close = _positions(grid, axis, voxels)
            positions.append(position)
            near, seen = near & close, seen & _inside(voxels, grid.input_shape[axis])
        part = map_coordinates(values, positions, order=1, mode="nearest", prefilter=False)
        found[rows.start : rows.stop] = np.where(seen, np.where(near, part, 0), unseen)
    return found
