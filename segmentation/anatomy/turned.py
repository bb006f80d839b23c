"""A patient who lies turned in the scanner: the steps see the chest upright, and the masks go back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..types import BoolArray

__all__ = ["LEAST_TURN_DEGREES", "MOST_TURN_DEGREES", "trunk_angle", "turn"]

LEAST_TURN_DEGREES, MOST_TURN_DEGREES = 6.5, 40.0
"""Smaller turns do not matter to the steps (up to 6 in three real scans); a larger one is somebody on the side."""

LEAST_ELONGATION = 1.18
"""A trunk that is wider than deep by less, or cut by the field of view, does not show its angle."""


def trunk_angle(trunk: BoolArray, air: BoolArray, spacing: Sequence[float]) -> float:
    """Degrees by which `turn` makes the chest lie straight; 0 where the trunk does not show it.

    The long axis of the trunk's cross-sections, from the second moments of all slices with lung.

    Args:
        trunk: bool, [D, H, W] in the frame (I, P, L), body with the air inside it.
        air: bool, same shape, that air.
        spacing: millimetres.
    """
    down, across = ((np.arange(n) - n / 2) * mm for n, mm in zip(trunk.shape[1:], spacing[1:], strict=True))
    moments = np.zeros((2, 2))
    area = air.sum(axis=(1, 2))
    for k in np.flatnonzero(area > 0.2 * area.max()):
        rows, columns = trunk[k].sum(axis=1), trunk[k].sum(axis=0)
        count = max(1, rows.sum())
        middle = np.array([rows @ down, columns @ across]) / count
        mixed = down @ (trunk[k] @ across)
        moments += np.array([[rows @ down**2, mixed], [mixed, columns @ across**2]]) - count * np.outer(middle, middle)
    shares, axes = np.linalg.eigh(moments)
    if shares[1] <= LEAST_ELONGATION**2 * shares[0]:
        return 0.0
    along = axes[:, 1] * np.copysign(1.0, axes[1, 1])
    return float(np.degrees(np.arctan2(along[0], along[1])))


def turn(array: npt.NDArray[Any], degrees: float, spacing: Sequence[float]) -> npt.NDArray[Any]:
    """The array turned about the middle of its axial plane, on the same grid; labels by the nearest voxel.

    Args:
        array: [D, H, W], HU as floats or labels as integers.
        degrees: as `trunk_angle` gives them; the opposite turns back.
        spacing: millimetres.
    """
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    ratio = spacing[2] / spacing[1]
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, cosine, sine * ratio], [0.0, -sine / ratio, cosine]])
    middle = (np.asarray(array.shape) - 1) / 2
    order = 1 if np.issubdtype(array.dtype, np.floating) else 0
    # The edge goes on outwards: a constant would look like the padding of a circular field of view.
    return np.asarray(ndi.affine_transform(array, matrix, middle - matrix @ middle, order=order, mode="nearest"))
