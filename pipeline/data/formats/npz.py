"""NumPy archives: what each array declares is compared with what the archive holds before it is read."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import DataError
from ..limits import MAX_VOXELS, check_voxels

__all__ = ["array_header", "npz_names", "read_npz"]

LONGEST_HEADER = 10_000


def read_npz(
    path: str | Path | IO[bytes],
    names: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
    limit: int = MAX_VOXELS,
) -> dict[str, NDArray]:
    """Arrays of an archive; pickles are never loaded, checksums are compared.

    Args:
        path: the ``.npz`` file, or an open one.
        names: arrays that must be there; None reads all.
        optional: arrays that are read where they are there.
        limit: largest number of values of one array.

    Raises:
        DataError: naming the file, if it is damaged, lacks an array, or holds objects.
    """
    source: Any = path
    path = Path(path if isinstance(path, (str, Path)) else str(getattr(path, "name", "the stream")))
    try:
        with zipfile.ZipFile(source) as archive:
            there = _names(archive)
            wanted = there if names is None else [*names, *(name for name in optional if name in there)]
            missing = [name for name in wanted if name not in there]
            if missing:
                msg = f"{path}: no array '{missing[0]}' inside, found {', '.join(there) or 'nothing'}"
                raise DataError(msg)
            return {name: _read(path, archive, name, limit) for name in wanted}
    except (DataError, MemoryError):
        raise
    except FileNotFoundError:
        msg = f"{path}: no such file"
        raise DataError(msg) from None
    except Exception as error:  # zipfile, zlib and numpy raise anything for a damaged archive
        text = " ".join(str(error).split())[:200]
        msg = f"{path}: unreadable or truncated ({type(error).__name__}: {text or 'no further detail'})"
        raise DataError(msg) from None


def npz_names(path: str | Path) -> list[str]:
    """Names of an archive's arrays.

    Raises:
        DataError: if it is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _names(archive)
    except Exception as error:
        msg = f"{path}: unreadable or truncated ({type(error).__name__})"
        raise DataError(msg) from None


def array_header(path: Path, name: str) -> tuple[int, ...]:
    """Shape of one array, without reading it."""
    with zipfile.ZipFile(path) as archive:
        return _header(path, archive, name)[0]


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name[: -len(".npy")] for name in archive.namelist() if name.endswith(".npy")]


def _header(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, type and number of bytes before the values."""
    with archive.open(f"{name}.npy") as stream:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            msg = f"{path}: the array '{name}' is of the unknown format {version}"
            raise DataError(msg)
        shape, _, dtype = read(stream, max_header_size=LONGEST_HEADER)
        if dtype.hasobject:
            msg = f"{path}: unreadable: the array '{name}' holds Python objects, which are never loaded"
            raise DataError(msg)
        return shape, dtype, stream.tell()


def _read(path: Path, archive: zipfile.ZipFile, name: str, limit: int) -> NDArray:
    shape, dtype, start = _header(path, archive, name)
    if prod(shape):
        check_voxels(path, shape or (1,), limit)
    declared = start + prod(shape) * dtype.itemsize
    held = archive.getinfo(f"{name}.npy").file_size
    if declared != held:
        msg = f"{path}: the array '{name}' declares {declared:,} bytes, the archive holds {held:,}"
        raise DataError(msg)
    with archive.open(f"{name}.npy") as stream:
        array: NDArray = npy.read_array(stream, allow_pickle=False)
        if stream.read(1):  # at its end the checksum is compared
            msg = f"{path}: the array '{name}' is longer than it declares"
            raise DataError(msg)
    return array
