"""Reading and writing ``regions/<id>.npz``: a few packed bitmaps of each feature grid, under 10 kB a scan.

An entry of the file is named after its grid (`grid_key`) and holds the bits of all regions, eight to a byte; beside it
stands the grid's shape. The order of the regions is `organcam.segmentation.REGION_NAMES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from organcam.segmentation.regions.bitmaps import pack_bitmaps, unpack_bitmaps

from ..errors import DataError
from .formats.npz import npz_names, read_npz

__all__ = ["has_regions", "read_regions", "write_regions"]


def write_regions(stream: BinaryIO, regions: Mapping[str, NDArray[np.bool_]]) -> None:
    """Write the bitmaps ``[R, S, h, w]`` of each grid."""
    arrays: dict[str, NDArray] = {}
    for key, masks in regions.items():
        arrays[key] = pack_bitmaps(masks)
        arrays[f"{key}.shape"] = np.asarray(masks.shape[1:], np.int16)
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def read_regions(path: str | Path, key: str) -> NDArray[np.bool_]:
    """The bitmaps ``[R, S, h, w]`` of one grid.

    Raises:
        DataError: if the file is damaged, or has none for it.
    """
    if f"{key}.shape" not in npz_names(path):
        msg = f"{path}: no regions of the grid {key}; run the regions stage again"
        raise DataError(msg)
    arrays = read_npz(path, [key, f"{key}.shape"])
    packed, shape = arrays[key], tuple(int(n) for n in arrays[f"{key}.shape"].ravel())
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] * 8 not in range(prod(shape), prod(shape) + 8):
        msg = f"{path}: damaged: its bitmaps of the grid {key} do not fit their shape {shape}; run regions again"
        raise DataError(msg)
    return unpack_bitmaps(packed, shape)


def has_regions(path: str | Path, key: str) -> bool:
    """Whether the file is there and holds this grid.

    Raises:
        DataError: if it is damaged.
    """
    return Path(path).is_file() and f"{key}.shape" in npz_names(path)
