"""Is this a CT volume at all? What cannot be segmented is refused here, in words for the person at the keyboard."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
import numpy.typing as npt

from organcam.errors import DataError

__all__ = ["check_array", "check_geometry", "check_hounsfield"]

SPACING_MM = (0.1, 20.0)
MIN_SLICES = 3


def check_array(volume: npt.NDArray[np.generic]) -> None:
    """A real 3D array of at least 3 slices and 16 x 16 pixels.

    Raises:
        ValueError: with the shape or dtype at fault.
    """
    if volume.ndim != 3:
        hint = " (pick one volume of the series, e.g. volume[..., 0])" if volume.ndim == 4 else ""
        msg = f"expected a 3D volume, got {volume.ndim} dimensions with shape {volume.shape}{hint}"
        raise ValueError(msg)
    if volume.size == 0:
        msg = f"the volume is empty: shape {volume.shape}"
        raise ValueError(msg)
    if volume.dtype.kind not in "iuf":
        msg = f"expected real numbers in HU, got dtype {volume.dtype}"
        raise ValueError(msg)


def check_geometry(affine: npt.ArrayLike | None, spacing: Sequence[float] | None) -> None:
    """Exactly one of affine and spacing, with steps between 0.1 and 20 mm.

    Raises:
        ValueError: with the geometry at fault.
    """
    if (affine is None) == (spacing is None):
        msg = "give either affine= (4x4, voxel to RAS+ mm) or spacing= (mm for axes I, P, L), exactly one of them"
        raise ValueError(msg)
    if affine is not None:
        matrix = np.asarray(affine, dtype=float)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            msg = f"affine must be a finite 4x4 matrix, got shape {matrix.shape}: {matrix.tolist()}"
            raise ValueError(msg)
        sizes = nib.affines.voxel_sizes(matrix)
        if np.min(sizes) <= 0 or abs(np.linalg.det(matrix[:3, :3])) < 0.3 * np.prod(sizes):
            msg = f"affine has no usable axes (voxel sizes {sizes.round(4).tolist()} mm, axes not independent)"
            raise ValueError(msg)
    else:
        sizes = np.asarray(spacing, dtype=float)
        if sizes.shape != (3,):
            msg = f"spacing needs three values in mm for axes (I, P, L), got {spacing!r}"
            raise ValueError(msg)
    if not np.isfinite(sizes).all() or sizes.min() < SPACING_MM[0] or sizes.max() > SPACING_MM[1]:
        msg = (
            f"voxel size {np.round(sizes, 4).tolist()} mm is outside {SPACING_MM[0]} to {SPACING_MM[1]} mm; "
            "is the affine in metres or missing?"
        )
        raise ValueError(msg)


def check_hounsfield(volume: npt.NDArray[np.generic]) -> None:
    """Values that look like Hounsfield units of a body in air, from a sample of the volume.

    Raises:
        DataError: for NaN, a constant, stored values without the rescale intercept, a mask, normalised values, all air
            or no air.
    """
    step = tuple(slice(None, None, max(1, n // 64)) for n in volume.shape)
    sample = np.asarray(volume[step], dtype=np.float64).ravel()
    finite = np.isfinite(sample)
    if not finite.all():
        msg = (
            f"{100 * (1 - finite.mean()):.1f} % of the values are not finite (NaN or infinity); "
            "replace them by -1024 if they are padding"
        )
        raise DataError(msg)
    low, high = float(sample.min()), float(sample.max())
    if low == high:
        msg = f"the volume is constant ({low:g}); this is no CT"
        raise DataError(msg)
    if low >= 0 and high > 600:
        msg = (
            f"values run from {low:g} to {high:g} without a negative one: stored values without their rescale "
            "intercept? Subtract it (usually 1024) to get HU"
        )
        raise DataError(msg)
    if high < -500:
        msg = f"values run from {low:g} to {high:g} HU: nothing but air, no body in this volume"
        raise DataError(msg)
    if high - low < 200:
        msg = f"values run from {low:g} to {high:g}: not Hounsfield units (a mask, or a normalised image?)"
        raise DataError(msg)
    air = float((sample < -600).mean())
    tissue = float(((sample > -200) & (sample < 400)).mean())
    if tissue < 0.01:
        msg = (
            f"only {100 * tissue:.2f} % of the voxels have the HU of soft tissue (-200 to 400): no body in this volume"
        )
        raise DataError(msg)
    if air < 0.002:
        msg = (
            f"only {100 * air:.2f} % of the voxels have the HU of air (under -600): not a chest CT in Hounsfield units"
        )
        raise DataError(msg)
