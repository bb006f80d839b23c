"""A single DICOM file with one frame of grey, by ITK: rescaled, and inverted where its low values are white."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .dicom_header import is_whole

__all__ = ["RadiographHeader", "read_header", "read_radiograph"]

PHOTOMETRIC, FRAMES, BITS, SIGNED = "0028|0004", "0028|0008", "0028|0101", "0028|0103"
INTERCEPT, SLOPE = "0028|1052", "0028|1053"
ALLOCATED, SYNTAX = "0028|0100", "0002|0010"
NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # transfer syntaxes without compression
MOST_BITS = 16


class RadiographHeader(NamedTuple):
    """What the header of a radiograph tells: its size, mm between rows and columns, and the range of its values."""

    size: tuple[int, int]
    spacing: tuple[float, float]
    lowest: float
    highest: float


def read_header(path: Path) -> RadiographHeader:
    """The header alone; no field that names a patient is looked at.

    Raises:
        DataError: if the file is no DICOM image, has several frames or colours, or is cut short.
    """
    if not is_whole(path):
        msg = f"{path}: is no readable DICOM image, or is cut short"
        raise DataError(msg)
    reader = _reader(path)
    tags = {key: reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys()}
    size = reader.GetSize()
    frames = int(_number(tags, FRAMES, 1))
    if frames > 1 or (len(size) > 2 and size[2] > 1):
        msg = f"{path}: has {max(frames, size[-1])} frames; a radiograph has one"
        raise DataError(msg)
    values = reader.GetNumberOfComponents()
    kind = tags.get(PHOTOMETRIC, "")
    if values != 1 or kind not in {"MONOCHROME1", "MONOCHROME2"}:
        msg = f"{path}: is no image of grey values ({kind or 'no photometric interpretation'}, {values} a pixel)"
        raise DataError(msg)
    bits = int(_number(tags, BITS, MOST_BITS))
    if not 1 <= bits <= MOST_BITS:
        msg = f"{path}: states {bits} bits a pixel; 1 to {MOST_BITS} are possible"
        raise DataError(msg)
    wanted = size[0] * size[1] * int(_number(tags, ALLOCATED, MOST_BITS)) // 8
    if tags.get(SYNTAX, NATIVE[0]) in NATIVE and path.stat().st_size < wanted:
        msg = f"{path}: is cut short: its pixels alone take {wanted:,} bytes"
        raise DataError(msg)
    first = -(2 ** (bits - 1)) if _number(tags, SIGNED, 0) else 0
    slope, intercept = _number(tags, SLOPE, 1.0), _number(tags, INTERCEPT, 0.0)
    ends = sorted((slope * first + intercept, slope * (first + 2**bits - 1) + intercept))
    across, down = reader.GetSpacing()[:2]
    return RadiographHeader((size[1], size[0]), (down, across), ends[0], ends[1])


def read_radiograph(path: Path) -> tuple[NDArray, RadiographHeader]:
    """Pixels ``[1, H, W]``, rescaled, in which high values are white, and the header.

    Raises:
        DataError: as `read_header`.
        RuntimeError: whatever ITK raises for damaged pixels.
    """
    import SimpleITK as sitk  # noqa: PLC0415 - 0.3 s that users of PNG need not pay

    header = read_header(path)
    # ITK inverts MONOCHROME1 as it reads it, within the bits stored, and rescales after that.
    return sitk.GetArrayFromImage(_reader(path).Execute()).reshape(1, *header.size), header


def _reader(path: Path) -> Any:
    import SimpleITK as sitk  # noqa: PLC0415

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        msg = f"{path}: is no readable DICOM image, or is cut short"
        raise DataError(msg) from None
    return reader


def _number(tags: dict[str, str], tag: str, usual: float) -> float:
    try:
        value = float(tags[tag].split("\\")[0])
    except (KeyError, ValueError):
        return usual
    return value if np.isfinite(value) else usual
