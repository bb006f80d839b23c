"""Which inputs an output of a convolution, pooling, padding or resampling reads along one axis.

PyTorch's operators under their ``aten`` names and with their positional arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WINDOWS", "window_of"]

POOLS = {
    f"{prefix}{kind}_pool{dims}d{suffix}"
    for prefix in ("", "_", "mkldnn_")
    for kind in ("max", "avg")
    for dims in (1, 2, 3)
    for suffix in ("", "_with_indices")
}
ADAPTIVE = {
    f"{prefix}adaptive_{kind}_pool{dims}d" for prefix in ("", "_") for kind in ("max", "avg") for dims in (1, 2, 3)
}
PADS = {"constant_pad_nd", *(f"{kind}_pad{dims}d" for kind in ("reflection", "replication") for dims in (1, 2, 3))}
RESIZES = {
    *(
        f"{prefix}upsample_nearest{exact}{dims}d"
        for prefix in ("", "_")
        for exact in ("", "_exact")
        for dims in (1, 2, 3)
    ),
    *("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d"),
}
WINDOWS = {"convolution", *POOLS, *ADAPTIVE, *PADS, *RESIZES}
"""Names of the operators that ``window_of`` knows."""


def window_of(
    name: str, args: Sequence[Any], axis: int, axes: int, inputs: int, outputs: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Indices of the inputs that each output reads; they may lie outside, where padding is.

    Args:
        name: one of ``WINDOWS``.
        args: the operator's positional arguments.
        axis: the spatial axis, counted from 0.
        axes: how many there are.
        inputs: length of the axis.
        outputs: length of the operator's output along it.

    Returns:
        Indices ``[outputs, reads]`` and the share of each, 0 where it is not read.
    """
    at = np.arange(outputs)[:, None]
    if name in PADS:
        before = args[1][2 * (axes - 1 - axis)]  # PyTorch names the last axis first
        index = at - before
    elif name in RESIZES:
        return _resized(name, args, at, inputs, outputs)
    elif name in ADAPTIVE:
        start, stop = at * inputs // outputs, -(-(at + 1) * inputs // outputs)
        index = start + np.arange((stop - start).max())
        return np.minimum(index, inputs - 1), _shares(index < stop)
    elif name == "convolution":
        kernel = args[1].shape[2 + axis]
        stride, padding, dilation = (_of_axis(args[position], axis, 1) for position in (3, 4, 5))
        if args[6]:  # transposed: output j is reached from input i where j = i * stride - padding + tap * dilation
            reached = at + padding - np.arange(kernel) * dilation
            return reached // stride, _shares(reached % stride == 0)
        index = at * stride - padding + np.arange(kernel) * dilation
    else:
        kernel = _of_axis(args[1], axis, 1)
        stride = _of_axis(args[2] if len(args) > 2 else [], axis, kernel)
        padding = _of_axis(args[3] if len(args) > 3 else 0, axis, 0)
        dilation = _of_axis(args[4], axis, 1) if "max" in name and len(args) > 4 else 1
        index = at * stride - padding + np.arange(kernel) * dilation
    return index, _shares(np.ones(index.shape, dtype=bool))


def _shares(read: NDArray[np.bool_]) -> NDArray[np.float64]:
    return read / np.maximum(read.sum(axis=1, keepdims=True), 1)


def _resized(
    name: str, args: Sequence[Any], at: NDArray, inputs: int, outputs: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest: the one that is read. Otherwise the two neighbours, by their distance (cubic weights are as central)."""
    if "nearest" in name:
        index = np.floor((at + (0.5 if "exact" in name else 0.0)) * inputs / outputs).astype(np.int64)
        return index, np.ones(index.shape)
    if len(args) > 2 and args[2] is True:  # corners aligned
        position = at * (inputs - 1) / max(outputs - 1, 1)
    else:
        position = (at + 0.5) * inputs / outputs - 0.5
    lower = np.floor(position + 1e-9)
    shares = np.concatenate([1 - (position - lower), position - lower], axis=1)
    return lower.astype(np.int64) + np.arange(2), np.where(shares < 1e-9, 0.0, shares)


def _of_axis(value: Any, axis: int, default: int) -> int:
    if isinstance(value, int):
        return value
    if not len(value):
        return default
    return int(value[axis] if len(value) > 1 else value[0])
