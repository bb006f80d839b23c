"""Back to full resolution: only a band at the border is looked at again, the rest is a lookup."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .grid import WorkingGrid
from .morphology import bounding_box, dilate
from .types import LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray

__all__ = ["to_native"]

BORDER_HU = -400.0


def to_native(
    labels: LabelArray, closed: LabelArray, aerated: LabelArray, grid: WorkingGrid, out: LabelArray, *, redraw: bool
) -> None:
    """Write working labels to the native grid with the border of the aerated lung redrawn at -400 HU.

    Within one working voxel of that border a native voxel is lung if it is air; elsewhere it keeps its label. The
    result holds the labels in bits 0 and 1 and the aerated lung in bits 2 and 3.

    Args:
        labels: working labels, 0 to 3.
        closed: working labels of the lungs without dense disease, 0 to 2.
        aerated: working labels of the air in the lungs before closing, 0 to 2.
        grid: the working grid.
        out: uint8 zeros, native shape in the frame (I, P, L); written in place.
        redraw: whether the border needs it; not where the labels were made on this very grid.
    """
    iz, iy, ix = (grid.lookup(axis) for axis in range(3))
    code = labels | (np.where(labels == closed, closed, 0).astype(np.uint8) << 2)
    band = _border_band(labels, aerated) if redraw else np.zeros(labels.shape, dtype=bool)
    side = _side_of_band(band, aerated, labels)
    # What a border voxel is when it is not air: heart where the heart is next to it, else background.
    code = np.where(band, np.where(labels == side, 0, labels), code).astype(np.uint8) | (side << 4)
    box = bounding_box(code > 0)
    rows, columns = _native_range(iy, box[1]), _native_range(ix, box[2])
    iy, ix = iy[rows], ix[columns]
    for level in range(box[0].start, box[0].stop):
        full = code[level].take(iy, axis=0).take(ix, axis=1)
        border = full >> 4
        full &= 15
        near, as_air = border > 0, border * 5
        for k in range(*np.searchsorted(iz, (level, level + 1)).tolist()):
            own = out[k, rows, columns]
            own[...] = full
            np.copyto(own, as_air, where=near & np.less(grid.native[k, rows, columns], BORDER_HU))


def _native_range(lookup: npt.NDArray[np.intp], extent: slice) -> slice:
    """Native indices whose working index lies in ``extent``."""
    low, high = np.searchsorted(lookup, (extent.start, extent.stop))
    return slice(int(low), int(high))


def _border_band(labels: LabelArray, aerated: LabelArray) -> BoolArray:
    """Working voxels within one voxel of the border between aerated lung and what is not lung."""
    unit = (1.0, 1.0, 1.0)
    lung = (labels == RIGHT_LUNG) | (labels == LEFT_LUNG)
    band = dilate(aerated > 0, 1.0, unit) & dilate(~lung, 1.0, unit)
    return band & ~(lung & (aerated == 0))


def _side_of_band(band: BoolArray, aerated: LabelArray, labels: LabelArray) -> LabelArray:
    """Which lung a border voxel belongs to if it is air: its own label, else the one that it touches."""
    side = np.zeros(labels.shape, dtype=np.uint8)
    side[band & dilate(aerated == LEFT_LUNG, 1.0, (1.0, 1.0, 1.0))] = LEFT_LUNG
    right = band & dilate(aerated == RIGHT_LUNG, 1.0, (1.0, 1.0, 1.0))
    side[right] = RIGHT_LUNG
    own = band & ((labels == RIGHT_LUNG) | (labels == LEFT_LUNG))
    side[own] = labels[own]
    return side
