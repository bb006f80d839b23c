"""A volume whose header is blank, with a small JSON beside it that says what a table of metadata tells of it.

CT-RATE's original volumes are such: voxel sizes, slope and intercept stand in ``train_metadata.csv`` alone. What a
header says itself comes before the table, and values that are in HU already are left alone: nothing is scaled twice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .layout import read_voxels
from .nifti import read_header

__all__ = ["SUFFIX", "described_file", "facts", "is_blank", "read_geometry", "read_volume"]

SUFFIX = ".header.json"
LARGEST = 1 << 16
AIR = -500.0
"""A chest CT in HU holds lower values (air); stored values of a scanner do not."""


def is_blank(affine: NDArray[np.float64]) -> bool:
    """Whether a header says nothing: voxels of one millimetre that begin at the origin."""
    return bool(np.array_equal(np.abs(affine), np.eye(4)))


def described_file(path: Path) -> Path:
    """The volume that a description is of.

    Raises:
        DataError: if it is no description.
    """
    return Path(_description(path)["file"])


def facts(path: Path) -> bytes:
    """What a description says, without where the volume lies: the same when data are moved."""
    told = _description(path)
    return json.dumps([told["spacing_mm"], told["slope"], told["intercept"]]).encode()


def read_geometry(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine: the header's own, or where that is blank the table's voxel size, axes L, P, S."""
    told = _description(path)
    header = read_header(Path(told["file"]))
    return header.layout.shape, _affine(header.affine, told)


def read_volume(path: Path, max_voxels: int) -> tuple[NDArray, NDArray[np.float64]]:
    """Values in HU and affine; slope and intercept of the table only where neither header nor values have them yet."""
    told = _description(path)
    header = read_header(Path(told["file"]))
    array = read_voxels(header.layout, Path(told["file"]), max_voxels)
    if (header.slope, header.intercept) != (1.0, 0.0):
        array = array.astype(np.float32) * np.float32(header.slope) + np.float32(header.intercept)
    elif array.size and array.min() > AIR:
        array = array.astype(np.float32) * np.float32(told["slope"]) + np.float32(told["intercept"])
    whole = array.dtype.kind == "f" and np.array_equal(array, np.rint(array)) and np.abs(array).max(initial=0) < 2**15
    return (array.astype(np.int16) if whole else array), _affine(header.affine, told)


def _affine(affine: NDArray[np.float64], told: dict[str, Any]) -> NDArray[np.float64]:
    if not is_blank(affine):
        return affine
    x, y, z = told["spacing_mm"]
    return np.diag([-x, -y, z, 1.0])


def _description(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError
        told = json.loads(path.read_text(encoding="utf-8"))
        numbers = [*told["spacing_mm"], told["slope"], told["intercept"]]
        if (
            len(numbers) != 5
            or not np.isfinite(np.array(numbers, dtype=float)).all()
            or not isinstance(told["file"], str)
        ):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        msg = f"{path}: is damaged: run the ingest stage again"
        raise DataError(msg) from None
    if not Path(told["file"]).is_file():
        msg = f"{told['file']}: no such file"
        raise DataError(msg)
    return dict(told)
