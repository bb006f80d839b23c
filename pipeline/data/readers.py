"""Reading a CT volume from any of the formats groups keep them in, with messages a person can act on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .volume import Volume

__all__ = ["VOLUME_SUFFIXES", "is_dicom_folder", "read_volume", "volume_suffix"]

RAD_CHESTCT_SPACING_MM = 0.8
SMALLEST_AXIS = 2  # a single slice is no volume


def read_volume(path: str | Path) -> Volume:
    """Read one CT volume.

    Args:
        path: ``.nii``/``.nii.gz`` (nibabel), ``.nrrd``/``.mha``/``.mhd`` (SimpleITK), ``.npz`` with key ``ct`` as in
            RAD-ChestCT (axes I, P, L; 0.8 mm; an optional ``affine`` key overrides that), or a folder that holds DICOM
            slices, of which the series with most slices is taken.

    Returns:
        Finite values in HU, ``int16`` where the file holds integers without a fractional scale, else ``float32``.

    Raises:
        DataError: if the file is missing, unreadable, truncated, not 3D, holds NaN, or has no usable geometry; the
            message names the file.
    """
    path = Path(path)
    if not path.exists():
        msg = f"{path}: no such file"
        raise DataError(msg)
    reader = _READERS.get(volume_suffix(path)) if path.is_file() else _read_dicom
    if reader is None:
        msg = f"{path}: not a volume file. Legal: {', '.join(VOLUME_SUFFIXES)}, or a folder of DICOM slices"
        raise DataError(msg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array, affine = reader(path)
    except DataError:
        raise
    except MemoryError:
        msg = f"{path}: does not fit into memory"
        raise DataError(msg) from None
    except Exception as error:  # libraries raise anything from EOFError to zlib.error for a broken file
        msg = f"{path}: unreadable or truncated ({type(error).__name__}: {_one_line(error)})"
        raise DataError(msg) from None
    return _checked(array, affine, path)


def volume_suffix(path: str | Path) -> str:
    """The format suffix of a file name, ``.nii.gz`` as one; lower case."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_dicom_folder(path: Path) -> bool:
    """Whether a folder itself (not its sub-folders) holds DICOM files, told by their preamble."""
    return any(_has_dicom_preamble(file) for file in sorted(path.iterdir()) if file.is_file())


def _has_dicom_preamble(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _read_nifti(path: Path) -> tuple[NDArray, NDArray]:
    image = nib.load(path)
    slope, inter = image.dataobj.slope, image.dataobj.inter  # type: ignore[attr-defined]
    if (slope, inter) == (1, 0) or (float(slope).is_integer() and float(inter).is_integer()):
        raw = np.asanyarray(image.dataobj.get_unscaled())  # type: ignore[attr-defined]
        scaled = raw if (slope, inter) == (1, 0) else raw.astype(np.int32) * int(slope) + int(inter)
        return scaled, image.affine  # type: ignore[attr-defined]
    return image.dataobj.get_scaled(np.float32), image.affine  # type: ignore[attr-defined]


def _read_itk(path: Path) -> tuple[NDArray, NDArray]:
    import SimpleITK as sitk  # noqa: PLC0415 - 0.3 s that NIfTI users need not pay

    return _from_itk(sitk.ReadImage(str(path)))


def _read_dicom(path: Path) -> tuple[NDArray, NDArray]:
    import SimpleITK as sitk  # noqa: PLC0415

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    files = [sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), name) for name in series]
    if not files:
        msg = f"{path}: a folder without a readable DICOM series"
        raise DataError(msg)
    reader = sitk.ImageSeriesReader()
    slices = max(files, key=len)
    reader.SetFileNames(slices)
    image = reader.Execute()
    _check_slice_gaps(path, slices)
    return _from_itk(image)


def _check_slice_gaps(path: Path, files: tuple[str, ...]) -> None:
    """Refuse a series with missing slices: ITK would stack what is left as if it were evenly spaced."""
    import SimpleITK as sitk  # noqa: PLC0415

    positions = []
    for file in files:
        reader = sitk.ImageFileReader()
        reader.SetFileName(file)
        reader.ReadImageInformation()
        positions.append(reader.GetOrigin())
    gaps = np.linalg.norm(np.diff(np.asarray(positions), axis=0), axis=1)
    if len(gaps) and gaps.max() > 1.5 * np.median(gaps):
        msg = f"{path}: slices are missing (gap of {gaps.max():.2f} mm where {np.median(gaps):.2f} mm is usual)"
        raise DataError(msg)


def _from_itk(image: object) -> tuple[NDArray, NDArray]:
    import SimpleITK as sitk  # noqa: PLC0415

    assert isinstance(image, sitk.Image)
    if image.GetNumberOfComponentsPerPixel() != 1:
        msg = f"holds {image.GetNumberOfComponentsPerPixel()} values a voxel; a CT has one"
        raise DataError(msg)
    array = sitk.GetArrayFromImage(image)
    dimensions = image.GetDimension()
    if dimensions != 3:
        return array.transpose(), np.eye(4)
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return array.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # ITK's world is LPS


def _read_npz(path: Path) -> tuple[NDArray, NDArray]:
    with np.load(path, allow_pickle=False) as archive:
        if "ct" not in archive:
            msg = f"{path}: no array 'ct' inside, found {', '.join(archive.files) or 'nothing'}"
            raise DataError(msg)
        array = archive["ct"]
        affine = archive["affine"].astype(np.float64) if "affine" in archive else None
    if affine is None:
        step = RAD_CHESTCT_SPACING_MM
        affine = np.array([[0, 0, -step, 0], [0, -step, 0, 0], [-step, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)
    return array, affine


_READERS: dict[str, Callable[[Path], tuple[NDArray, NDArray]]] = {
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".nrrd": _read_itk,
    ".mha": _read_itk,
    ".mhd": _read_itk,
    ".npz": _read_npz,
}

VOLUME_SUFFIXES = tuple(_READERS)
"""File name endings that `read_volume` knows."""


def _checked(array: NDArray, affine: NDArray, path: Path) -> Volume:
    while array.ndim > 3 and array.shape[-1] == 1:  # NIfTI writers often append a time axis of one
        array = array[..., 0]
    if array.ndim != 3:
        msg = f"{path}: a CT volume has 3 axes, this file has {array.ndim} ({' x '.join(map(str, array.shape))})"
        raise DataError(msg)
    if min(array.shape) < SMALLEST_AXIS:
        msg = f"{path}: {' x '.join(map(str, array.shape))} voxels; at least {SMALLEST_AXIS} along each axis are needed"
        raise DataError(msg)
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        msg = f"{path}: holds values of type {array.dtype}, not numbers in HU"
        raise DataError(msg)
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        msg = f"{path}: holds {int((~np.isfinite(array)).sum())} voxels that are NaN or infinite"
        raise DataError(msg)
    affine = np.asarray(affine, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        msg = f"{path}: its affine does not give every voxel a place (zero spacing or singular directions)"
        raise DataError(msg)
    return Volume(_compact(array), affine)


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
