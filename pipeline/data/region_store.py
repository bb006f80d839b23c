"""Reading and writing ``regions/<id>.npz``: a few packed bitmaps of each feature grid, under 10 kB a scan.

An entry of the file is named after its grid (`grid_key`) and holds the bits of all regions, eight to a byte; beside it
stands the grid's shape. The order of the regions is `organcam.segmentation.REGION_NAMES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from organcam.segmentation.regions.bitmaps import pack_bitmaps, unpack_bitmaps

from ..errors import DataError

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
        DataError: if the file has none for it.
    """
    with np.load(path, allow_pickle=False) as archive:
        if f"{key}.shape" not in archive:
            msg = f"{path}: no regions of the grid {key}; run the regions stage again"
            raise DataError(msg)
        return unpack_bitmaps(archive[key], tuple(int(n) for n in archive[f"{key}.shape"]))


def has_regions(path: str | Path, key: str) -> bool:
    """Whether the file is there and holds this grid."""
    if not Path(path).is_file():
        return False
    with np.load(path, allow_pickle=False) as archive:
        return f"{key}.shape" in archive.files
