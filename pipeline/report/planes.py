"""Axial, coronal and sagittal planes of a stored volume, and of everything that lies on another grid, cut alike.

Arrays run superior to inferior, anterior to posterior and right to left, so a plane drawn with its first row on top and
its first column on the left is in radiological convention: the patient's right on the left of the image, anterior on
top of an axial plane, the head on top of the others. A sagittal plane has anterior on its left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..attention import to_input_grid
from ..geometry import FeatureGrid

__all__ = [
    "IMAGE",
    "PLANES",
    "Plane",
    "centre_voxel",
    "cut",
    "cut_aligned",
    "cut_cells",
    "cut_map",
    "peak_voxel",
    "planes_through",
]


class Plane(NamedTuple):
    """A plane of the volume: the axis it stands on and the slice along that axis, from 0."""

    name: str
    axis: int
    slice: int

    @property
    def edges(self) -> tuple[str, str, str, str]:
        """Which side of the patient the left, right, top and bottom edges of the picture show."""
        return _EDGES[self.name]


PLANES = ("axial", "coronal", "sagittal")
"""Plane names by the axis they stand on."""

IMAGE = Plane("image", 0, 0)
"""The only plane of a 2D image. What its edges show of the patient is not known."""

_EDGES = {
    "axial": ("R", "L", "A", "P"),
    "coronal": ("R", "L", "H", "F"),
    "sagittal": ("A", "P", "H", "F"),
    "image": ("", "", "", ""),
}


def planes_through(voxel: Sequence[int]) -> tuple[Plane, Plane, Plane]:
    """The three planes that meet in a voxel."""
    axial, coronal, sagittal = (Plane(name, axis, int(voxel[axis])) for axis, name in enumerate(PLANES))
    return axial, coronal, sagittal


def cut(array: NDArray, plane: Plane) -> NDArray:
    """The plane of an array ``[D, H, W]`` as ``[rows, columns]``."""
    return np.take(array, plane.slice, axis=plane.axis)


def cut_aligned(
    array: NDArray,
    affine: NDArray[np.float64],
    volume_affine: NDArray[np.float64],
    volume_shape: Sequence[int],
    plane: Plane,
) -> NDArray:
    """The plane of a label map that lies on another grid: the nearest label of every voxel, 0 outside the map.

    Args:
        array: ``[d, h, w]``, axes as the volume's.
        affine: of the array, voxel index to millimetres.
        volume_affine: of the volume that the plane belongs to.
        volume_shape: its shape ``[D, H, W]``.
        plane: of the volume.

    Raises:
        ValueError: if the two grids are turned against each other.
    """
    mapping = np.linalg.inv(affine) @ volume_affine
    scale = np.diag(mapping)[:3]
    if np.abs(mapping[:3, :3] - np.diag(scale)).max() > 1e-3:
        msg = "the label map and the volume are turned against each other; reorient the map first"
        raise ValueError(msg)
    wanted = [np.arange(size) for size in volume_shape]
    wanted[plane.axis] = np.array([plane.slice])
    places = [np.rint(scale[axis] * wanted[axis] + mapping[axis, 3]).astype(int) for axis in range(3)]
    inside = [(place >= 0) & (place < size) for place, size in zip(places, array.shape, strict=True)]
    clipped = [np.clip(place, 0, size - 1) for place, size in zip(places, array.shape, strict=True)]
    values = array[np.ix_(*clipped)]
    for axis, there in enumerate(inside):
        np.moveaxis(values, axis, 0)[~there] = 0
    return np.take(values, 0, axis=plane.axis)


def cut_map(cells: NDArray[np.float32], grid: FeatureGrid, plane: Plane) -> NDArray[np.float32]:
    """The plane of a map, interpolated between its cells as `to_input_grid` does, without making the whole volume.

    Args:
        cells: ``[S, h, w]`` raw signed values.
        grid: the cells' place in voxels of the volume.
        plane: of that volume.
    """
    here = np.arange(3) == plane.axis
    offset = np.asarray(grid.offset) - here * plane.slice
    shape = np.where(here, 1, grid.input_shape)
    slab = replace(grid, offset=tuple(offset.tolist()), input_shape=tuple(shape.tolist()))
    return np.take(to_input_grid(np.ascontiguousarray(cells), slab), 0, axis=plane.axis)


def cut_cells(cells: NDArray[np.bool_], grid: FeatureGrid, plane: Plane) -> NDArray[np.bool_]:
    """The plane of a set of cells as the boxes they are; False where there is no cell.

    Args:
        cells: bool ``[S, h, w]``.
        grid: the cells' place in voxels of the volume.
        plane: of that volume.
    """
    places = []
    for axis in range(3):
        voxels = np.array([plane.slice]) if axis == plane.axis else np.arange(grid.input_shape[axis])
        places.append(np.floor((voxels - grid.offset[axis]) / grid.stride[axis] + 0.5).astype(int))
    outside = [np.flatnonzero((place < 0) | (place >= n)) for place, n in zip(places, grid.shape, strict=True)]
    clipped = [np.clip(place, 0, n - 1) for place, n in zip(places, grid.shape, strict=True)]
    boxes = cells[np.ix_(*clipped)]
    for axis, there in enumerate(outside):
        np.moveaxis(boxes, axis, 0)[there] = False
    return np.take(boxes, 0, axis=plane.axis)


def peak_voxel(cells: NDArray[np.float32], grid: FeatureGrid) -> tuple[int, int, int]:
    """The voxel at the centre of the cell with the highest value; the nearest one if the centre lies outside."""
    cell = np.unravel_index(int(np.argmax(cells)), cells.shape)
    places = [round(grid.offset[axis] + grid.stride[axis] * int(cell[axis])) for axis in range(3)]
    return _clipped(places, grid.input_shape)


def centre_voxel(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], volume_affine: NDArray[np.float64], shape: Sequence[int]
) -> tuple[int, int, int]:
    """A voxel of the volume in the middle of a mask that lies on another grid: on the slice with most of the mask.

    Args:
        mask: bool with at least one voxel.
        affine: of the mask.
        volume_affine: of the volume.
        shape: of the volume.
    """
    slice_ = int(np.argmax(mask.sum(axis=(1, 2))))
    rows, columns = np.nonzero(mask[slice_])
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    point = np.array([slice_, rows[nearest], columns[nearest], 1.0])
    return _clipped((np.linalg.inv(volume_affine) @ affine @ point)[:3], shape)


def _clipped(places: Sequence[float], shape: Sequence[int]) -> tuple[int, int, int]:
    z, y, x = (int(np.clip(round(float(place)), 0, size - 1)) for place, size in zip(places, shape, strict=True))
    return z, y, x
