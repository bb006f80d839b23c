"""NRRD: which bytes are the voxels. What the axes mean is ITK's to say."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from ...errors import DataError
from .layout import Encoding, Layout, beside

__all__ = ["read_layout"]

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
CODES = {name: code for code, names in TYPES.items() for name in names}
ENCODINGS: dict[str, Encoding] = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
LONGEST_HEADER = 1 << 20


def read_layout(path: Path) -> Layout:
    """Where the voxels lie.

    Raises:
        DataError: if the header is none, is damaged, or its voxels are text or lie where they must not.
    """
    fields, end = _fields(path)
    encoding = ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        msg = f"{path}: unknown or textual encoding {fields['encoding']}. Legal: {', '.join(ENCODINGS)}"
        raise DataError(msg)
    if fields["type"].lower() not in CODES:
        msg = f"{path}: unknown type {fields['type']}. Legal: {', '.join(CODES)}"
        raise DataError(msg)
    dtype = np.dtype(CODES[fields["type"].lower()])
    if dtype.itemsize > 1:
        orders = {"little": "<", "big": ">"}
        if fields.get("endian") not in orders:
            msg = f"{path}: its endian is {fields.get('endian', 'not given')}. Legal: little, big"
            raise DataError(msg)
        dtype = dtype.newbyteorder(orders[fields["endian"]])  # type: ignore[arg-type]
    shape = tuple(int(size) for size in fields["sizes"].split())
    lines, skip = int(fields.get("line skip", "0")), int(fields.get("byte skip", "0"))
    if lines or skip < -1 or (skip and encoding != "raw"):
        msg = f"{path}: skips {lines} lines and {skip} bytes before its voxels, which is not read; save it anew"
        raise DataError(msg)
    name = fields.get("data file")
    file, start = (beside(path, name), 0) if name is not None else (path, end)
    if skip == -1:
        start = max(file.stat().st_size - prod(shape) * dtype.itemsize, 0)
    return Layout(file, dtype, shape, encoding, start, skip=max(skip, 0))


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The fields by name, and where the header ends: at a blank line, or the end of a detached header."""
    fields: dict[str, str] = {}
    with path.open("rb") as stream:
        if stream.readline(16)[:4] != b"NRRD":
            msg = f"{path}: is no NRRD file"
            raise DataError(msg)
        while (line := stream.readline(LONGEST_HEADER).strip()) and stream.tell() <= LONGEST_HEADER:
            key, colon, value = line.decode("latin-1").partition(":")
            if colon and not key.startswith("#") and not value.startswith("="):
                name = key.strip().lower()
                fields[_SPELLINGS.get(name, name)] = value.strip()
        for key in ("type", "sizes", "encoding"):
            if key not in fields:
                msg = f"{path}: its header has no field '{key}'"
                raise DataError(msg)
        return fields, stream.tell()


_SPELLINGS = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
