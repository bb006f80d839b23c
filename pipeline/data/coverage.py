"""Whether a grid can hold a chest at all, and which way up it lies: told by its header, before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .volume import NETWORK_AXES, Volume

__all__ = ["coverage_problem", "first_slice_at"]

LEAST_MM = (120.0, 120.0, 150.0)
"""Least length along (superior-inferior, anterior-posterior, right-left). Lungs of adults are 20 to 30 cm high; scans
of small children may fall below and are told, not refused."""
LARGEST_STEP_MM = 15.0
"""Largest distance between slices: lobes are some 10 cm high, and fewer than seven slices of one show little of it."""


def first_slice_at(affine: NDArray[np.float64]) -> str:
    """Where a header puts the first of a scan's axial slices: at the ``head`` or at the ``feet``.

    Args:
        affine: voxel index to RAS+ millimetres.

    Example:
        >>> first_slice_at(np.diag([-0.7, -0.7, 3.0, 1.0]))
        'feet'
    """
    return "head" if "I" in Volume(np.zeros((1, 1, 1)), affine).axes else "feet"


def coverage_problem(shape: Sequence[int], affine: NDArray[np.float64]) -> str:
    """What of a chest a grid cannot hold, in one sentence; empty where it can.

    Args:
        shape: voxels along each axis.
        affine: voxel index to RAS+ millimetres.

    Example:
        >>> coverage_problem((512, 512, 6), np.diag([-0.7, -0.7, 3.0, 1.0]))
        'covers 18 mm from top to bottom, a chest needs at least 120 mm'
    """
    empty = np.broadcast_to(np.int8(0), tuple(int(n) for n in shape))  # no memory is taken
    grid = Volume(empty, affine).reoriented(NETWORK_AXES)
    lengths = [count * step for count, step in zip(grid.array.shape, grid.spacing, strict=True)]
    ways = ("from top to bottom", "from front to back", "from side to side")
    for length, least, way in zip(lengths, LEAST_MM, ways, strict=True):
        if length < least:
            return f"covers {length:.0f} mm {way}, a chest needs at least {least:.0f} mm"
    if grid.spacing[0] > LARGEST_STEP_MM:
        return f"has slices {grid.spacing[0]:.1f} mm apart, at most {LARGEST_STEP_MM:.0f} mm show the lobes"
    return ""
