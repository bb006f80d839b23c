"""A picture of a feature grid over the CT: its cells, those that a label may use, and the organs' contours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..regions.occupancy import GridLike
from ..types import BoolArray, LabelArray
from .montage import draw_contours, grey_tile, spread, tile_places

__all__ = ["ALLOWED_RGB", "cells_picture"]

ALLOWED_RGB = (40, 190, 255)
LINE_RGB = (150, 150, 150)
TINT, LINE = 0.38, 0.45
TILE_MM = 400.0
NARROWEST_LINE_PIXELS = 5
"""Lines closer together than this (the slabs in a coronal slice) would hide the picture."""

Grey = npt.NDArray[np.uint8]


def cells_picture(
    volume: npt.NDArray[np.generic],
    labels: LabelArray,
    grid: GridLike,
    allowed: BoolArray,
    spacing: Sequence[float],
    *,
    axial: int = 6,
    columns: int = 4,
    pixel_mm: float = 1.25,
) -> Grey:
    """RGB picture: axial slices over the allowed cells, then three coronal and three sagittal ones.

    Args:
        volume: HU in the frame (I, P, L).
        labels: organ labels on the same grid.
        grid: the cells, in voxels of this array.
        allowed: bool ``[S, h, w]``, cells that are tinted.
        spacing: millimetres for each axis.
        axial: number of axial slices.
        columns: tiles in a row.
        pixel_mm: size of a pixel of the picture.

    Returns:
        uint8 [rows, columns, 3]; patient right is at the left. Grid lines are the cells' borders by the network's
        stride and offset; where they would lie closer than 5 pixels they are left out.

    Raises:
        ValueError: if shapes do not fit.
    """
    if volume.shape != labels.shape or tuple(grid.input_shape) != volume.shape or allowed.shape != tuple(grid.shape):
        msg = (
            f"volume {volume.shape}, labels {labels.shape} and the grid's input {tuple(grid.input_shape)} must agree, "
            f"and allowed cells {allowed.shape} with the grid's {tuple(grid.shape)}"
        )
        raise ValueError(msg)
    tiles = []
    for axis, count in ((0, axial), (1, 3), (2, 3)):
        for cell in spread(_extent(allowed if allowed.any() else np.ones_like(allowed), axis), count + 2)[1:-1]:
            tiles.append(_tile(volume, labels, grid, allowed, spacing, axis, cell, pixel_mm))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)


def _extent(allowed: BoolArray, axis: int) -> slice:
    used = np.flatnonzero(allowed.any(axis=tuple(a for a in range(3) if a != axis)))
    return slice(int(used[0]), int(used[-1]) + 1)


def _tile(
    volume: npt.NDArray[np.generic],
    labels: LabelArray,
    grid: GridLike,
    allowed: BoolArray,
    spacing: Sequence[float],
    axis: int,
    cell: int,
    pixel_mm: float,
) -> Grey:
    """The slice through the middle of one layer of cells."""
    k = int(np.clip(round(grid.offset[axis] + cell * grid.stride[axis]), 0, volume.shape[axis] - 1))
    size = int(TILE_MM / pixel_mm)
    plane = [a for a in range(3) if a != axis]
    places = [tile_places(volume.shape[a], spacing[a], size, pixel_mm) for a in plane]
    rgb = grey_tile(np.take(volume, k, axis=axis), places)
    numbers = [_cell_numbers(places[i], grid, a) for i, a in enumerate(plane)]
    inside = [(n >= 0) & (n < grid.shape[a]) for n, a in zip(numbers, plane, strict=True)]
    index = np.ix_(*(np.clip(n, 0, grid.shape[a] - 1) for n, a in zip(numbers, plane, strict=True)))
    covered = inside[0][:, None] & inside[1][None]
    _blend(rgb, covered & np.take(allowed, cell, axis=axis)[index], ALLOWED_RGB, TINT)
    for i, a in enumerate(plane):
        if grid.stride[a] * spacing[a] / pixel_mm >= NARROWEST_LINE_PIXELS:
            edge = np.diff(numbers[i], prepend=numbers[i][0]) != 0
            edge &= (numbers[i] >= 0) & (numbers[i] <= grid.shape[a])
            beside = inside[1 - i]
            _blend(rgb, edge[:, None] & beside[None] if i == 0 else beside[:, None] & edge[None], LINE_RGB, LINE)
    draw_contours(rgb, np.take(labels, k, axis=axis), places)
    return rgb


def _cell_numbers(places: npt.NDArray[np.float64], grid: GridLike, axis: int) -> npt.NDArray[np.intp]:
    """Cell of each pixel along one axis: pixels count from the first voxel's edge, cells from its centre."""
    from_first_edge = places - 0.5 - grid.offset[axis] + grid.stride[axis] / 2
    return np.floor(from_first_edge / grid.stride[axis]).astype(np.intp)


def _blend(rgb: Grey, where: BoolArray, colour: Sequence[int], weight: float) -> None:
    rgb[where] = (rgb[where] * (1 - weight) + np.asarray(colour) * weight).astype(np.uint8)
