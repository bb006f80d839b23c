"""The published way of shrinking masks to the cells of a network: nearest, area or trilinear interpolation.

The cells are taken to tile the image, wherever the network really looks; ``organ_occupancy`` does it by the network's
own stride and offset instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from organcam.errors import did_you_mean

from ..types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray

__all__ = ["REFERENCE_CELLS", "REFERENCE_INPUT", "REFERENCE_MODES", "dilate_cells", "pad_or_crop", "reference_regions"]

REFERENCE_MODES = ("area", "nearest", "trilinear")
REFERENCE_INPUT = (405, 420, 420)
REFERENCE_CELLS = (135, 6, 6)


def reference_regions(
    labels: LabelArray,
    mode: str = "nearest",
    dilate: int = 0,
    *,
    input_shape: Sequence[int] = REFERENCE_INPUT,
    cells: Sequence[int] = REFERENCE_CELLS,
    values: Sequence[int] = (RIGHT_LUNG, LEFT_LUNG, HEART_MEDIASTINUM),
) -> BoolArray:
    """Allowed regions exactly as the published code shrinks them, per organ.

    The label map is padded and cropped as the CT is, then shrunk; non-zero is allowed. ``nearest`` (the published
    choice) reads the first corner of each tile, so that half of every organ is forbidden. An empty label map gives the
    published rough boxes: columns of the right half for the right lung, of the left half for the left, the four middle
    sixths for the heart.

    Args:
        labels: organ labels in the network frame, any shape.
        mode: ``nearest``, ``area`` or ``trilinear`` of ``torch.nn.functional.interpolate``.
        dilate: how often to grow the small mask by a 3 x 3 x 3 box; the published code does it once or not at all.
        input_shape: what the network sees, [D, H, W].
        cells: cells along each axis.
        values: label values, in the order of the result.

    Returns:
        bool ``[len(values), *cells]``; by default right lung, left lung, heart.

    Raises:
        ValueError: for an unknown mode.
    """
    if mode not in REFERENCE_MODES:
        msg = f"unknown mode {mode!r}; {did_you_mean(mode, REFERENCE_MODES)}"
        raise ValueError(msg)
    if not labels.any():
        small = _rough(cells)[: len(values)]
    else:
        full = pad_or_crop(labels, input_shape)
        small = np.stack([_shrink(full == value, mode, cells) for value in values])
    return dilate_cells(small, dilate)


def dilate_cells(masks: BoolArray, times: int) -> BoolArray:
    """Grow masks ``[R, S, h, w]`` by a 3 x 3 x 3 box, so many times."""
    for _ in range(times):
        for axis in (1, 2, 3):
            grown = masks.copy()
            lead, lag = [slice(None)] * 4, [slice(None)] * 4
            lead[axis], lag[axis] = slice(1, None), slice(None, -1)
            grown[tuple(lead)] |= masks[tuple(lag)]
            grown[tuple(lag)] |= masks[tuple(lead)]
            masks = grown
    return masks


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


def _rough(cells: Sequence[int]) -> BoolArray:
    """The published boxes for a bad mask: of six columns 0-2 right lung, 3-5 left lung, 1-4 heart."""
    out = np.zeros((3, *cells), dtype=bool)
    place = (np.arange(cells[2]) + 0.5) / cells[2]
    out[0, :, :, place < 0.5] = True
    out[1, :, :, place >= 0.5] = True
    out[2, :, :, (place >= 1 / 6) & (place < 5 / 6)] = True
    return out


def _shrink(mask: BoolArray, mode: str, cells: Sequence[int]) -> BoolArray:
    """One mask to the cells; any weight above zero counts."""
    for axis, (n, count) in enumerate(zip(mask.shape, cells, strict=True)):
        step = n / count
        if mode == "nearest":
            mask = mask.take((np.arange(count) * step).astype(np.intp), axis=axis)
        elif mode == "area":
            mask = _any_in_tiles(mask, axis, n, count)
        else:
            place = np.maximum((np.arange(count) + 0.5) * step - 0.5, 0.0)
            low = np.floor(place).astype(np.intp)
            high = np.minimum(low + (place > low), n - 1)
            mask = mask.take(low, axis=axis) | mask.take(high, axis=axis)
    return mask


def _any_in_tiles(mask: BoolArray, axis: int, n: int, count: int) -> BoolArray:
    """Whether anything lies in each tile along an axis; tiles that do not divide it overlap, as in adaptive pooling."""
    first = np.arange(count) * n // count
    last = -(-(np.arange(count) + 1) * n // count) - 1
    found = np.logical_or.reduceat(mask, first, axis=axis)
    if n >= count:
        return found | mask.take(last, axis=axis)
    return mask.take(first, axis=axis) | mask.take(last, axis=axis)
