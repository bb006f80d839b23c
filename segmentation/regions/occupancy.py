"""How much of each cell of a feature grid every organ covers, and the thirds of the lungs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ..types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray

__all__ = ["LUNG_THIRDS", "GridLike", "box_weights", "lung_thirds", "organ_occupancy", "rough_regions"]

LUNG_THIRDS = ("right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower")
"""Order of the labels 1 to 6 of ``lung_thirds``."""


class GridLike(Protocol):
    """What occupancy needs to know of a feature grid; ``organcam.geometry.FeatureGrid`` is one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per axis (S, h, w)."""

    @property
    def stride(self) -> tuple[float, ...]:
        """Input voxels between neighbouring cell centres."""

    @property
    def offset(self) -> tuple[float, ...]:
        """Voxel coordinate of the centre of cell 0."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Voxels of the network's input (D, H, W)."""


def box_weights(n: int, cells: int, stride: float, offset: float) -> FloatArray:
    """Share of each cell's length that each voxel covers along one axis.

    Cell ``c`` is ``offset + c * stride`` -+ ``stride / 2`` in voxel coordinates, where voxel ``i`` spans ``i - 0.5`` to
    ``i + 0.5``. What lies outside the volume is covered by nothing.

    Returns:
        ``[cells, n]``; rows sum to 1, less where a cell leaves the volume.

    Example:
        >>> box_weights(4, 2, stride=2, offset=0.5).tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    centre = offset + np.arange(cells) * stride
    low, high = (centre - stride / 2)[:, None], (centre + stride / 2)[:, None]
    voxel = np.arange(n)[None]
    overlap = np.minimum(high, voxel + 0.5) - np.maximum(low, voxel - 0.5)
    return (np.maximum(overlap, 0.0) / stride).astype(np.float32)


def organ_occupancy(
    labels: LabelArray, grid: GridLike, values: Sequence[int] = (RIGHT_LUNG, LEFT_LUNG, HEART_MEDIASTINUM)
) -> FloatArray:
    """Fraction of each cell's box that each organ covers, exactly (separable box sums).

    Args:
        labels: organ labels in the network frame, shape ``grid.input_shape``.
        grid: the network's feature grid.
        values: label values to measure, in the order of the result; 1 to 6 for ``lung_thirds``.

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
    rows = _extent(np.bitwise_or.reduce(array, axis=0).max(axis=1))
    if rows is None:
        return out
    row_sums = sparse.csr_matrix(wy[:, rows])  # a row lies in two cells at most: four times faster than a dense product
    for s in range(grid.shape[0]):
        slices = np.flatnonzero(wz[s])
        if slices.size == 0:
            continue
        slab, weights = array[slices[0] : slices[-1] + 1, rows], wz[s, slices]
        # Which values a column may hold, seen by their bits (1 and 2 together look like 3, which costs time only).
        bits = np.bitwise_or.reduce(np.bitwise_or.reduce(slab, axis=0), axis=0)
        for i, value in enumerate(values):
            columns = _extent((bits & value) == value)
            if columns is not None:
                plane = _weighted_sum(slab[:, :, columns] == value, weights)
                out[i, s] = (row_sums @ plane) @ wx[:, columns].T
    return np.clip(out, 0.0, 1.0, out=out)


def _extent(line: npt.NDArray[np.generic]) -> slice | None:
    """From the first non-zero entry to the last, None where there is none."""
    used = np.flatnonzero(line)
    return slice(int(used[0]), int(used[-1]) + 1) if used.size else None


def _weighted_sum(masks: BoolArray, weights: FloatArray) -> FloatArray:
    """Sum of masks along axis 0; counted in bytes where slices weigh the same, as all but the outermost do."""
    inner = slice(int(abs(weights[0] - weights[len(weights) // 2]) > 1e-6), len(weights))
    if inner.stop - inner.start > 1 and abs(weights[-1] - weights[len(weights) // 2]) > 1e-6:
        inner = slice(inner.start, inner.stop - 1)
    if masks.shape[0] > 255:
        return np.tensordot(weights, masks.astype(np.float32), axes=1)
    count = masks[inner.start].view(np.uint8).copy()
    for mask in masks[inner.start + 1 : inner.stop]:
        count += mask.view(np.uint8)
    out = np.multiply(count, weights[inner.start], dtype=np.float32)
    for k in (*range(inner.start), *range(inner.stop, len(weights))):
        out += np.multiply(masks[k], weights[k], dtype=np.float32)
    return out


def lung_thirds(labels: LabelArray) -> LabelArray:
    """Upper, middle and lower third of each lung, of equal volume, cut along the body axis.

    Args:
        labels: organ labels in the network frame (axis 0 from superior to inferior).

    Returns:
        uint8, same shape, 1 to 6 in the order of ``LUNG_THIRDS``, 0 elsewhere. A slice belongs to one third.
    """
    out = np.zeros(labels.shape, dtype=np.uint8)
    for base, label in ((0, RIGHT_LUNG), (3, LEFT_LUNG)):
        lung = labels == label
        volume = np.cumsum(lung.sum(axis=(1, 2), dtype=np.int64))
        if volume[-1] == 0:
            continue
        middle_of_slice = (volume + np.concatenate([[0], volume[:-1]])) / (2.0 * volume[-1])
        third = np.clip((middle_of_slice * 3).astype(np.uint8), 0, 2)
        out[lung] = np.broadcast_to((third + base + 1).astype(np.uint8)[:, None, None], lung.shape)[lung]
    return out


def rough_regions(grid: GridLike) -> BoolArray:
    """Regions for a scan whose organs are unknown: cells by the side of their centre, as in the published fallback.

    Right lung is the half of the image on the patient's right, left lung the other, heart the four middle sixths.

    Returns:
        bool ``[3, S, h, w]``.
    """
    out = np.zeros((3, *grid.shape), dtype=bool)
    place = (grid.offset[2] + np.arange(grid.shape[2]) * grid.stride[2] + 0.5) / grid.input_shape[2]
    out[0, :, :, place < 0.5] = True
    out[1, :, :, place >= 0.5] = True
    out[2, :, :, (place >= 1 / 6) & (place < 5 / 6)] = True
    return out
