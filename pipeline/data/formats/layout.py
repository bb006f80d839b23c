"""Voxels as a run of bytes in a file: read to the stream's end, checksum included, and never past what is declared.

NIfTI, NRRD and MetaImage are the same thing under different headers. Their usual readers take as many bytes as the
header asks for and stop before the stream's checksum, so that a flipped bit in a compressed file gives wrong voxels
without an error; here the stream is read to its end. gzip ends with a CRC and a length, zlib with an Adler checksum,
bzip2 has a CRC in each block. Raw bytes have no checksum: of them only the number is checked.
"""

from __future__ import annotations

import bz2
import os
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from ...errors import DataError
from ..limits import check_voxels

__all__ = ["Encoding", "Header", "Layout", "beside", "read_voxels"]

Encoding = Literal["raw", "gzip", "zlib", "bzip2"]

PIECE = 1 << 20


@dataclass(frozen=True)
class Layout:
    """Where the voxels of a file lie and how they are packed.

    Attributes:
        file: the file that holds them.
        dtype: of a voxel, byte order included.
        shape: fastest axis first, as all three formats tell it.
        encoding: of the bytes from ``start`` on.
        start: offset in the file; negative counts back from its end.
        skip: decoded bytes before the first voxel.
    """

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    encoding: Encoding = "raw"
    start: int = 0
    skip: int = 0


@dataclass(frozen=True)
class Header:
    """What a header tells.

    Attributes:
        layout: of the voxels.
        affine: voxel index to RAS+ millimetres.
        slope: of the stored values.
        intercept: of the stored values.
    """

    layout: Layout
    affine: NDArray[np.float64]
    slope: float = 1.0
    intercept: float = 0.0


def read_voxels(layout: Layout, path: Path, max_voxels: int) -> NDArray:
    """The voxels ``[x, y, z]``.

    Args:
        layout: from the header.
        path: the scan, for errors.
        max_voxels: largest number that is read.

    Raises:
        DataError: if more is declared than allowed, the stream holds less or more than declared, or its checksum does
            not fit.
    """
    check_voxels(path, layout.shape, max_voxels)
    declared = prod(layout.shape) * layout.dtype.itemsize
    with layout.file.open("rb") as file:
        file.seek(layout.start, os.SEEK_END if layout.start < 0 else os.SEEK_SET)
        if layout.encoding == "raw":
            _check_size(path, os.fstat(file.fileno()).st_size - file.tell() - layout.skip, declared)
        buffer = np.empty(declared, np.uint8)  # pages are taken as they are filled
        with _decoded(file, layout.encoding) as stream:
            skipped = _skip(stream, layout.skip)
            filled = _fill(stream, buffer) if skipped else 0
            more = bool(filled == declared and stream.read(1))  # at its end a stream compares its checksum
    if filled < declared:
        _check_size(path, filled, declared)
    if more:
        msg = f"{path}: holds more than the {declared:,} bytes of voxels that its header declares"
        raise DataError(msg)
    return buffer.view(layout.dtype).reshape(layout.shape[::-1]).transpose()


def beside(path: Path, name: str) -> Path:
    """The data file that a header names.

    Raises:
        DataError: if it names a list or a pattern of files, or one outside the header's folder.
    """
    if name.split()[:1] == ["LIST"] or "%" in name:
        msg = f"{path}: its voxels lie in several files ({name}); save the scan as one file"
        raise DataError(msg)
    folder = Path(os.path.abspath(path.parent))
    found = Path(os.path.normpath(folder / name))
    if not found.is_relative_to(folder) or found == folder:
        msg = f"{path}: its header points at {name}, outside the scan's own folder; that is not followed"
        raise DataError(msg)
    if not found.is_file():
        msg = f"{path}: its voxels lie in {name}, which is not there"
        raise DataError(msg)
    return found


def _check_size(path: Path, there: int, declared: int) -> None:
    if there != declared:
        msg = f"{path}: its header declares {declared:,} bytes of voxels, the file holds {max(there, 0):,}"
        raise DataError(msg)


def _decoded(file: BinaryIO, encoding: Encoding) -> BinaryIO:
    if encoding == "gzip":
        return igzip.IGzipFile(fileobj=file, mode="rb")  # type: ignore[return-value]  # a third of zlib's time, the same checks
    if encoding == "bzip2":
        return bz2.BZ2File(file)  # type: ignore[return-value]
    return _Zlib(file) if encoding == "zlib" else file  # type: ignore[return-value]


def _skip(stream: BinaryIO, count: int) -> bool:
    while count:
        piece = stream.read(min(count, PIECE))
        if not piece:
            return False
        count -= len(piece)
    return True


def _fill(stream: BinaryIO, buffer: NDArray[np.uint8]) -> int:
    """Fill the buffer as far as the stream goes; returns how far."""
    filled = 0
    while filled < len(buffer):
        piece = stream.read(min(len(buffer) - filled, PIECE))
        if not piece:
            break
        buffer[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return filled


class _Zlib:
    """A zlib stream (or gzip, which some writers of MetaImage use) read piece by piece."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def read(self, count: int) -> bytes:
        while not self._decoder.eof:
            packed = self._decoder.unconsumed_tail or self._file.read(PIECE)
            if not packed:
                msg = "the compressed stream ends before its checksum"
                raise EOFError(msg)
            piece = self._decoder.decompress(packed, count)
            if piece:
                return piece
        return self._decoder.unused_data[:count] or self._file.read(count)  # there should be none

    def __enter__(self) -> _Zlib:
        return self

    def __exit__(self, *error: object) -> None:
        return None
