"""How much of each cell of a feature grid every organ covers, and the published way of shrinking masks.

``organ_occupancy`` measures by the network's true stride and offset. ``reference_regions`` reproduces the published
code (nearest, area or trilinear to 135 x 6 x 6 cells that tile the image). Both give [organ, S, h, w] in the order
right lung, left lung, heart and mediastinum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from organcam.errors import did_you_mean

from .types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray

__all__ = [
    "LUNG_THIRDS",
    "REFERENCE_MODES",
    "GridLike",
    "box_weights",
    "lung_thirds",
    "organ_occupancy",
    "pack_bitmaps",
    "pad_or_crop",
    "reference_regions",
    "reference_rough_regions",
    "rough_regions",
    "unpack_bitmaps",
]

REFERENCE_MODES = ("area", "nearest", "trilinear")
REFERENCE_INPUT = (405, 420, 420)
REFERENCE_CELLS = (135, 6, 6)

LUNG_THIRDS = ("right_upper", "right_middle", "right_lower", "left_upper", "left_middle", "left_lower")
"""Order of the labels 1 to 6 of ``lung_thirds``."""


class GridLike(Protocol):
    """What occupancy needs to know of a feature grid; ``organcam.geometry.FeatureGrid`` is one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells per axis (S, h, w)."""

    @property
    def stride(self) -> tuple[float, float, float]:
        """Input voxels between neighbouring cell centres."""

    @property
    def offset(self) -> tuple[float, float, float]:
        """Voxel coordinate of the centre of cell 0."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
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
    for s in range(grid.shape[0]):
        slices = np.flatnonzero(wz[s])
        if slices.size == 0:
            continue
        slab = array[slices[0] : slices[-1] + 1]
        rows = np.flatnonzero(np.bitwise_or.reduce(slab, axis=0).max(axis=1))
        if rows.size == 0:
            continue
        box = slice(int(rows[0]), int(rows[-1]) + 1)
        for i, value in enumerate(values):
            plane = _weighted_sum(slab[:, box] == value, wz[s, slices])
            out[i, s] = (wy[:, box] @ plane) @ wx.T
    return np.clip(out, 0.0, 1.0, out=out)


def _weighted_sum(masks: BoolArray, weights: FloatArray) -> FloatArray:
    """Sum of masks along axis 0; counted in bytes where all slices weigh the same, as they do in AxialNet."""
    if masks.shape[0] < 256 and float(np.ptp(weights)) < 1e-6:
        count = masks[0].view(np.uint8).copy()
        for mask in masks[1:]:
            count += mask.view(np.uint8)
        return count.astype(np.float32) * weights[0]
    return np.tensordot(weights, masks.astype(np.float32), axes=1)


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


def reference_regions(labels: LabelArray, mode: str = "nearest", dilate: bool = False) -> BoolArray:
    """Allowed regions exactly as the published code shrinks them, per organ.

    The label map is padded and cropped to 405 x 420 x 420 as the CT is, then shrunk to 135 x 6 x 6; non-zero is
    allowed. ``nearest`` (the published choice) reads the first corner of each tile, so that half of every organ is
    forbidden. An empty label map gives the rough boxes.

    Args:
        labels: organ labels in the network frame, any shape.
        mode: ``nearest``, ``area`` or ``trilinear`` of ``torch.nn.functional.interpolate``.
        dilate: whether to grow the small mask by a 3 x 3 x 3 box.

    Returns:
        bool ``[3, 135, 6, 6]``: right lung, left lung, heart.

    Raises:
        ValueError: for an unknown mode.
    """
    if mode not in REFERENCE_MODES:
        msg = f"unknown mode {mode!r}; {did_you_mean(mode, REFERENCE_MODES)}"
        raise ValueError(msg)
    if not labels.any():
        small = reference_rough_regions()
    else:
        full = pad_or_crop(labels, REFERENCE_INPUT)
        small = np.stack([_shrink(full == value, mode) for value in (RIGHT_LUNG, LEFT_LUNG, HEART_MEDIASTINUM)])
    return np.stack([_dilate_box(mask) for mask in small]) if dilate else small


def reference_rough_regions() -> BoolArray:
    """The published boxes for a bad mask: columns 0-2 right lung, 3-5 left lung, 1-4 heart."""
    out = np.zeros((3, *REFERENCE_CELLS), dtype=bool)
    out[0, ..., 0:3] = out[1, ..., 3:6] = out[2, ..., 1:5] = True
    return out


def pad_or_crop(labels: LabelArray, shape: Sequence[int]) -> LabelArray:
    """Pad with background, centred (the smaller half in front), then cut the centre out, axis by axis."""
    out = labels
    for axis, target in enumerate(shape):
        need = target - out.shape[axis]
        if need > 0:
            width = [(0, 0)] * out.ndim
            width[axis] = (need // 2, need - need // 2)
            out = np.pad(out, width)
        elif need < 0:
            start = -need // 2
            out = out.take(range(start, start + target), axis=axis)
    return out


def pack_bitmaps(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Bits of some masks, eight to a byte: 3 organs on 135 x 14 x 14 cells are 9.9 kB, and compress tenfold."""
    return np.packbits(np.ascontiguousarray(masks))


def unpack_bitmaps(packed: npt.NDArray[np.uint8], shape: Sequence[int]) -> BoolArray:
    """Inverse of ``pack_bitmaps``; ``shape`` is that of the masks."""
    return np.unpackbits(packed, count=int(np.prod(shape))).astype(bool).reshape(tuple(shape))


def _shrink(mask: BoolArray, mode: str) -> BoolArray:
    """One mask to 135 x 6 x 6; any weight above zero counts."""
    for axis, (n, cells) in enumerate(zip(mask.shape, REFERENCE_CELLS, strict=True)):
        step = n / cells
        if mode == "nearest":
            mask = mask.take((np.arange(cells) * step).astype(np.intp), axis=axis)
        elif mode == "area":
            mask = np.logical_or.reduceat(mask, (np.arange(cells) * step).astype(np.intp), axis=axis)
        else:
            place = (np.arange(cells) + 0.5) * step - 0.5
            low = np.floor(place).astype(np.intp)
            high = np.minimum(low + (place > low), n - 1)
            mask = mask.take(low, axis=axis) | mask.take(high, axis=axis)
    return mask


def _dilate_box(mask: BoolArray) -> BoolArray:
    for axis in range(mask.ndim):
        grown = mask.copy()
        lead, lag = [slice(None)] * mask.ndim, [slice(None)] * mask.ndim
        lead[axis], lag[axis] = slice(1, None), slice(None, -1)
        grown[tuple(lead)] |= mask[tuple(lag)]
        grown[tuple(lag)] |= mask[tuple(lead)]
        mask = grown
    return mask
