"""Reading a CT volume from any of the formats groups keep them in, with messages a person can act on."""

from __future__ import annotations

import locale
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, is_out_of_memory
from .formats import described, dicom, itk, nifti, npz
from .formats.dicom_header import has_preamble
from .formats.layout import Header, read_voxels
from .limits import MAX_VOXELS
from .volume import Volume

__all__ = [
    "VOLUME_SUFFIXES",
    "is_dicom_folder",
    "read_geometry",
    "read_volume",
    "source_files",
    "volume_suffix",
    "without_ending",
]

Found = TypeVar("Found")

RAD_CHESTCT_SPACING_MM = 0.8
SMALLEST_AXIS = 2  # a single slice is no volume
SPACING_MM = (0.01, 100.0)
LARGEST_MM = 1e5
"""How far from the scanner's origin a voxel may lie: 100 m."""
SHEARED = 0.02
"""Cosine between two axes (1.1 degrees off a right angle) above which the grid is no box."""


def read_volume(path: str | Path, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read one CT volume, to the end of its streams: a checksum that does not fit is an error.

    Args:
        path: ``.nii``/``.nii.gz``, ``.nrrd``, ``.mha``/``.mhd``, ``.npz`` with key ``ct`` as in RAD-ChestCT (axes I, P,
            L; 0.8 mm; an optional ``affine`` key overrides that), a folder that holds the DICOM slices of one
            series (localizers beside it are passed over), or a DICOM file, which stands for all slices of its series in
            its folder.
        max_voxels: a file that declares more is refused before memory is taken for it.

    Returns:
        Finite values in HU, ``int16`` where the file holds integers without a fractional scale, else ``float32``.

    Raises:
        DataError: if the file is missing, damaged, cut short, not 3D, too large, holds NaN, has no usable geometry, or
            a series lacks slices; the message names the file.
        MemoryError: if the machine has not the memory for it.
    """
    path = Path(path)
    return guarded(path, lambda: _checked(*_format(path).read(path, max_voxels), path))


def read_geometry(path: str | Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine (voxel index to RAS+ millimetres) of a scan, by its header alone.

    Raises:
        DataError: as `read_volume`, for what a header tells.
    """
    path = Path(path)

    def read() -> tuple[tuple[int, ...], NDArray[np.float64]]:
        shape, affine = _format(path).geometry(path)
        shape = _three_axes(shape, path)
        return shape, _checked_affine(affine, shape, path)

    return guarded(path, read)


def source_files(path: Path) -> list[Path]:
    """All files that a scan consists of: those of a DICOM folder or series, or the file and what its header names.

    Raises:
        DataError: if the header cannot be read, or names a file that is not there or must not be followed.
    """
    if path.is_dir() or _is_dicom_file(path):
        return dicom.dicom_files(path)
    if volume_suffix(path) in (".mhd", ".nrrd", ".mha"):
        return sorted({path, guarded(path, lambda: itk.read_layout(path)).file})
    if volume_suffix(path) == described.SUFFIX:
        return [path, described.described_file(path)]
    return [path]


def volume_suffix(path: str | Path) -> str:
    """The format suffix of a file name, ``.nii.gz`` as one; lower case."""
    name = os.path.basename(path).lower()  # a hundred thousand names are asked at the start of a run
    suffix = os.path.splitext(name)[1]
    double = next((ending for ending in (".nii.gz", described.SUFFIX) if name.endswith(ending)), None)
    return double or ("" if suffix == "." else suffix)


def without_ending(name: str) -> str:
    """A name less the ending of a volume file, which tables of scans may or may not write.

    Example:
        >>> without_ending("trn00001.npz"), without_ending("scan.2")
        ('trn00001', 'scan.2')
    """
    ending = volume_suffix(name)
    return name[: -len(ending)] if ending in VOLUME_SUFFIXES else name


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder itself (not its sub-folders) holds DICOM files, told by their preamble."""
    for file in sorted(path.iterdir()):
        try:
            if file.is_file() and has_preamble(file):
                return True
        except OSError:  # told when the scan is read
            continue
    return False


@dataclass(frozen=True)
class _Format:
    """How a format is read, and what its header alone tells."""

    read: Callable[[Path, int], tuple[NDArray, NDArray]]
    geometry: Callable[[Path], tuple[tuple[int, ...], NDArray]]


def _by_header(read_header: Callable[[Path], Header]) -> _Format:
    def read(path: Path, max_voxels: int) -> tuple[NDArray, NDArray]:
        header = read_header(path)
        return _scaled(read_voxels(header.layout, path, max_voxels), header.slope, header.intercept), header.affine

    def geometry(path: Path) -> tuple[tuple[int, ...], NDArray]:
        header = read_header(path)
        return header.layout.shape, header.affine

    return _Format(read, geometry)


def _scaled(array: NDArray, slope: float, intercept: float) -> NDArray:
    if (slope, intercept) == (1, 0) or array.dtype.kind not in "iuf":
        return array
    whole = array.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer()
    if whole and max(abs(slope), abs(intercept)) < 2**15:
        return array.astype(np.int64 if array.dtype.itemsize > 2 else np.int32) * int(slope) + int(intercept)
    return array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _read_npz(path: Path, max_voxels: int) -> tuple[NDArray, NDArray]:
    arrays = npz.read_npz(path, ["ct"], optional=["affine"], limit=max_voxels)
    return arrays["ct"], _npz_affine(arrays)


def _npz_geometry(path: Path) -> tuple[tuple[int, ...], NDArray]:
    return npz.array_header(path, "ct"), _npz_affine(npz.read_npz(path, [], optional=["affine"]))


def _npz_affine(arrays: dict[str, NDArray]) -> NDArray[np.float64]:
    if "affine" in arrays:
        return arrays["affine"].astype(np.float64)
    step = RAD_CHESTCT_SPACING_MM
    return np.array([[0, 0, -step, 0], [0, -step, 0, 0], [-step, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


_DICOM = _Format(dicom.read_series, dicom.read_geometry)
_FORMATS: dict[str, _Format] = {
    ".nii": _by_header(nifti.read_header),
    ".nii.gz": _by_header(nifti.read_header),
    ".nrrd": _by_header(itk.read_header),
    ".mha": _by_header(itk.read_header),
    ".mhd": _by_header(itk.read_header),
    ".npz": _Format(_read_npz, _npz_geometry),
}

VOLUME_SUFFIXES = tuple(_FORMATS)
_FORMATS[described.SUFFIX] = _Format(described.read_volume, described.read_geometry)  # ours, of no user
"""File name endings that `read_volume` knows."""


def _format(path: Path) -> _Format:
    if not path.exists():
        msg = f"{path}: no such file"
        raise DataError(msg)
    found = _DICOM if path.is_dir() or _is_dicom_file(path) else _FORMATS.get(volume_suffix(path))
    if found is None:
        msg = f"{path}: not a volume file. Legal: {', '.join(VOLUME_SUFFIXES)}, or a folder of DICOM slices"
        raise DataError(msg)
    return found


def _is_dicom_file(path: Path) -> bool:
    return volume_suffix(path) not in _FORMATS and path.is_file() and has_preamble(path)


def guarded(path: Path, read: Callable[[], Found]) -> Found:
    """What a reader returns, with everything that libraries raise for a damaged file turned into one message.

    The locale stays the process's: reading DICOM, ITK sets it to "C", and Python then takes every text file that is
    opened without a stated encoding for ASCII.
    """
    own_locale = locale.setlocale(locale.LC_ALL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read()
    except (DataError, MemoryError):
        raise
    except Exception as error:  # libraries raise anything from EOFError to zlib.error for a broken file
        if is_out_of_memory(error):
            raise MemoryError from error
        msg = f"{path}: unreadable or truncated ({type(error).__name__}: {_one_line(error)})"
        raise DataError(msg) from None
    finally:
        if locale.setlocale(locale.LC_ALL) != own_locale:
            locale.setlocale(locale.LC_ALL, own_locale)


def _checked(array: NDArray, affine: NDArray, path: Path) -> Volume:
    shape = _three_axes(array.shape, path)
    array = array.reshape(shape)
    if array.dtype.kind not in "iuf":
        msg = f"{path}: holds values of type {array.dtype}, not numbers in HU"
        raise DataError(msg)
    affine = _checked_affine(affine, shape, path)
    with np.errstate(over="ignore"):  # what does not fit into float32 becomes infinite and is told
        compact = _compact(array)
    if compact.dtype.kind == "f" and not np.isfinite(compact).all():
        msg = f"{path}: holds {int((~np.isfinite(compact)).sum())} voxels that are NaN or infinite"
        raise DataError(msg)
    return Volume(compact, affine)


def _three_axes(shape: tuple[int, ...], path: Path) -> tuple[int, ...]:
    while len(shape) > 3 and shape[-1] == 1:  # NIfTI writers often append a time axis of one
        shape = shape[:-1]
    told = " x ".join(map(str, shape))
    if len(shape) != 3:
        msg = f"{path}: a CT volume has 3 axes, this file has {len(shape)} ({told})"
        raise DataError(msg)
    if min(shape) < SMALLEST_AXIS:
        msg = f"{path}: {told} voxels; at least {SMALLEST_AXIS} along each axis are needed"
        raise DataError(msg)
    return shape


def _checked_affine(affine: NDArray, shape: tuple[int, ...], path: Path) -> NDArray[np.float64]:
    """An affine that gives every voxel a place a patient could lie at, in a grid of right angles."""
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or not (affine[3] == (0, 0, 0, 1)).all():
        msg = f"{path}: its affine does not give every voxel a place (not a finite 4 x 4 matrix)"
        raise DataError(msg)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    told = " x ".join(f"{step:.3g}" for step in spacing)
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        msg = f"{path}: its affine gives voxels of {told} mm; {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm are possible"
        raise DataError(msg)
    axes = affine[:3, :3] / spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > SHEARED:
        msg = f"{path}: its affine is singular or sheared (axes not at right angles); resample the scan first"
        raise DataError(msg)
    corners = np.array([[0, 0, 0], shape]) @ affine[:3, :3].T + affine[:3, 3]
    if np.abs(corners).max() > LARGEST_MM:
        msg = f"{path}: its affine puts voxels {np.abs(corners).max():.3g} mm from the origin"
        raise DataError(msg)
    return affine


def _compact(array: NDArray) -> NDArray:
    """``int16`` for integers that fit, ``float32`` otherwise."""
    if np.issubdtype(array.dtype, np.integer):
        lowest, highest = int(array.min()), int(array.max())
        if np.iinfo(np.int16).min <= lowest and highest <= np.iinfo(np.int16).max:
            return array.astype(np.int16, copy=False)
    return array.astype(np.float32, copy=False)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or "no further detail"
