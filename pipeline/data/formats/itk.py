"""Geometry of a NRRD or MetaImage header, by ITK, without reading a voxel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import DataError
from . import metaimage, nrrd
from .layout import Header, Layout

__all__ = ["affine_of", "read_header", "read_layout"]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_header(path: Path) -> Header:
    """Layout and geometry of a ``.nrrd``, ``.mha`` or ``.mhd`` file.

    Raises:
        DataError: if the header is damaged, or a voxel holds several values.
    """
    import SimpleITK as sitk  # noqa: PLC0415 - 0.3 s that NIfTI users need not pay

    layout = read_layout(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    values = reader.GetNumberOfComponents()
    if values != 1:
        msg = f"{path}: holds {values} values a voxel; a CT has one"
        raise DataError(msg)
    if tuple(reader.GetSize()) != layout.shape:
        msg = f"{path}: its header is damaged ({layout.shape} and {tuple(reader.GetSize())} voxels)"
        raise DataError(msg)
    return Header(layout, affine_of(reader.GetOrigin(), reader.GetSpacing(), reader.GetDirection()))


def read_layout(path: Path) -> Layout:
    """Where the voxels lie, as the header says."""
    return (nrrd if path.suffix.lower() == ".nrrd" else metaimage).read_layout(path)


def affine_of(origin: ArrayLike, spacing: Sequence[float], direction: Sequence[float]) -> NDArray[np.float64]:
    """ITK's geometry as voxel index to RAS+ millimetres; of a fourth axis nothing is taken."""
    axes = len(spacing)
    affine = np.eye(4)
    used = min(axes, 3)
    matrix = np.asarray(direction).reshape(axes, axes) * np.asarray(spacing)
    affine[:used, :used] = matrix[:used, :used]
    affine[:used, 3] = np.asarray(origin)[:used]
    return LPS_TO_RAS @ affine
