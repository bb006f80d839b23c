"""NIfTI-1 and NIfTI-2 in one file, ``.nii`` and ``.nii.gz``."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np

from ...errors import DataError
from .layout import Header, Layout

__all__ = ["read_header"]

SIZES = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
LARGEST_OFFSET = 1 << 26  # extensions before the voxels are kilobytes


def read_header(path: Path) -> Header:
    """The header of a NIfTI file, by nibabel; its extensions are not looked at.

    Raises:
        DataError: if it is none, or its voxels lie in another file.
    """
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as stream:
        start = stream.read(max(SIZES))
    sizes = {int.from_bytes(start[:4], order) for order in ("little", "big")} & set(SIZES)
    if not sizes:
        msg = f"{path}: has no NIfTI header"
        raise DataError(msg)
    size = sizes.pop()
    header = SIZES[size](start[:size])
    if not bytes(header["magic"].tobytes()).startswith(b"n+"):
        msg = f"{path}: is half of a NIfTI pair, whose voxels lie elsewhere; save it as one file"
        raise DataError(msg)
    offset = float(header["vox_offset"])
    if not size <= offset <= LARGEST_OFFSET or not offset.is_integer():
        msg = f"{path}: its voxels begin at byte {offset:g}, which cannot be"
        raise DataError(msg)
    shape = tuple(int(length) for length in header.get_data_shape())
    layout = Layout(path, header.get_data_dtype(), shape, "gzip" if packed else "raw", skip=int(offset))
    slope, intercept = header.get_slope_inter()  # None where the file does not scale
    return Header(layout, np.asarray(header.get_best_affine(), dtype=np.float64), slope or 1.0, intercept or 0.0)
