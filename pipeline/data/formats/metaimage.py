"""MetaImage, ``.mha`` and ``.mhd``: which bytes are the voxels. What the axes mean is ITK's to say."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from ...errors import DataError
from .layout import Layout, beside

__all__ = ["read_layout"]

TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # MetaIO: four bytes on every machine
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
GEOMETRY = ("TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin", "ElementSpacing")
LONGEST_HEADER = 1 << 20


def read_layout(path: Path) -> Layout:
    """Where the voxels lie.

    Raises:
        DataError: if the header is none, is damaged, or its voxels are text or lie where they must not.
    """
    fields, end = _fields(path)
    _check_damaged_keys(path, fields)
    if not _true(fields.get("BinaryData", "True")):
        msg = f"{path}: holds its voxels as text; save it in binary form"
        raise DataError(msg)
    if fields["ElementType"] not in TYPES:
        msg = f"{path}: unknown ElementType {fields['ElementType']}. Legal: {', '.join(TYPES)}"
        raise DataError(msg)
    order = _true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    dtype = np.dtype(TYPES[fields["ElementType"]]).newbyteorder(">" if order else "<")
    shape = tuple(int(size) for size in fields["DimSize"].split())
    name, skip = fields["ElementDataFile"], int(fields.get("HeaderSize", "0"))
    if name.upper() == "LOCAL":
        file, start = path, end
    else:
        file, start = beside(path, name), max(skip, 0)
        if skip < 0:  # the voxels end with the file; one that is too short is told when it is read
            start = max(file.stat().st_size - prod(shape) * dtype.itemsize, 0)
    return Layout(file, dtype, shape, "zlib" if _true(fields.get("CompressedData", "False")) else "raw", start)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """``Key = Value`` lines up to ElementDataFile, and where they end."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        while "ElementDataFile" not in fields:
            line = stream.readline(LONGEST_HEADER)
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals or stream.tell() > LONGEST_HEADER:
                break
            fields[key.strip()] = value.strip()
        for key in ("DimSize", "ElementType", "ElementDataFile"):
            if key not in fields:
                msg = f"{path}: its header has no {key}"
                raise DataError(msg)
        return fields, stream.tell()


def _check_damaged_keys(path: Path, fields: dict[str, str]) -> None:
    """ITK passes over keys it does not know, so that one flipped bit in a key would turn a scan without a word."""
    for key in fields:
        for known in GEOMETRY:
            if len(key) == len(known) and sum(a != b for a, b in zip(key, known, strict=True)) == 1:
                msg = f"{path}: its header is damaged ('{key}' where '{known}' belongs)"
                raise DataError(msg)


def _true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")
