"""How large a volume may be: told from what a file declares, before anything is allocated for it."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from pathlib import Path

from ..errors import DataError

__all__ = ["MAX_VOXELS", "check_voxels"]

MAX_VOXELS = 2**30
"""Default of ``data.max_voxels``: 512 x 512 x 4096 voxels, 2 GB as int16; a thin-sliced whole body is half of that."""


def check_voxels(path: Path | str, shape: Iterable[int], limit: int, verb: str = "declares") -> None:
    """Refuse a shape that is none, or more voxels than the limit.

    Args:
        path: named in the error.
        shape: as declared, or as it would come of a resampling.
        limit: largest number of voxels (``data.max_voxels``).
        verb: what the file does with this shape.

    Raises:
        DataError: naming the file, the shape and the limit.
    """
    sizes = [int(size) for size in shape]
    told = " x ".join(map(str, sizes)) or "no"
    if not sizes or min(sizes) < 1:
        msg = f"{path}: {verb} {told} voxels, which is no volume"
        raise DataError(msg)
    if prod(sizes) > limit:
        msg = f"{path}: {verb} {told} voxels, more than the {limit:,} of data.max_voxels"
        raise DataError(msg)
