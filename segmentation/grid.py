"""The frame and grid that every step works on: axes (I, P, L), about 2 mm, as light as the scan allows.

Whatever the orientation and spacing of the input, the steps see an array whose axis 0 runs from superior to inferior,
axis 1 from anterior to posterior and axis 2 from the patient's right to left. Axes finer than ``WORKING_MM`` are
averaged down to it (area weights, which also removes noise); coarser axes are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import sparse

from .types import FloatArray

__all__ = ["AIR_HU", "WORKING_MM", "WorkingGrid", "make_working_grid", "shear_degrees", "to_frame"]

WORKING_MM = 2.0
"""Working spacing. 2.5 or 3 mm cost up to 0.04 Dice on noisy scans; 1.6 mm doubles the time for 0.001."""

AIR_HU, METAL_HU = -1024.0, 3071.0


@dataclass(frozen=True)
class WorkingGrid:
    """A volume on its working grid, and how to get back.

    Attributes:
        volume: float32 HU, [D, H, W] in the frame (I, P, L), clipped to -1024..3071.
        spacing: millimetres for each working axis.
        native: the input as a view in the frame (I, P, L); no copy.
        native_spacing: its millimetres.
        weights: for each axis the sparse averaging matrix [working, native], or None where the axis was kept.
    """

    volume: FloatArray
    spacing: tuple[float, float, float]
    native: npt.NDArray[np.generic]
    native_spacing: tuple[float, float, float]
    weights: tuple[sparse.csr_matrix | None, sparse.csr_matrix | None, sparse.csr_matrix | None]

    @property
    def voxel_ml(self) -> float:
        """Millilitres of one working voxel."""
        return float(np.prod(self.spacing)) / 1000.0

    @property
    def is_native(self) -> bool:
        """Whether the working grid is the input's own grid."""
        return all(matrix is None for matrix in self.weights)

    def lookup(self, axis: int) -> npt.NDArray[np.intp]:
        """Working index of each native index along ``axis``."""
        n, m = self.native.shape[axis], self.volume.shape[axis]
        return np.minimum(((np.arange(n) + 0.5) * m / n).astype(np.intp), m - 1)


def to_frame(
    array: npt.NDArray[Any], affine: npt.ArrayLike | None
) -> tuple[npt.NDArray[Any], tuple[float, float, float]]:
    """A view of ``array`` with axes (I, P, L), by the nearest orientation of its affine, and the spacing in mm.

    Args:
        array: [D0, D1, D2].
        affine: 4x4 from voxel to RAS+ millimetres; None means that the array is in the frame already (1 mm).
    """
    if affine is None:
        return array, (1.0, 1.0, 1.0)
    matrix = np.asarray(affine, dtype=float)
    orientation = nib.orientations.io_orientation(matrix)
    change = nib.orientations.ornt_transform(orientation, nib.orientations.axcodes2ornt(("I", "P", "L")))
    view = nib.orientations.apply_orientation(array, change)
    sizes = nib.affines.voxel_sizes(matrix)
    order = np.argsort(change[:, 0])
    spacing = (float(sizes[order[0]]), float(sizes[order[1]]), float(sizes[order[2]]))
    return view, spacing


def shear_degrees(affine: npt.ArrayLike) -> float:
    """How far the axes of an affine are from right angles; a CT with a tilted gantry has up to 30.

    Args:
        affine: 4x4 from voxel to RAS+ millimetres.
    """
    matrix = np.asarray(affine, dtype=float)[:3, :3]
    axes = matrix / np.linalg.norm(matrix, axis=0)
    cosines = np.abs(axes.T @ axes)[np.triu_indices(3, 1)]
    return float(np.degrees(np.arcsin(min(1.0, cosines.max()))))


def make_working_grid(
    native: npt.NDArray[np.generic], spacing: Sequence[float], target_mm: float = WORKING_MM
) -> WorkingGrid:
    """Average a volume down to the working grid.

    Args:
        native: HU in the frame (I, P, L); any real dtype. Values under -1024 (padding) count as -1024, NaN too.
        spacing: its millimetres.
        target_mm: working spacing of the axes that are finer.
    """
    native_spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    weights = [_area_weights(n, s, target_mm) for n, s in zip(native.shape, native_spacing, strict=True)]
    shape = [n if w is None else w.shape[0] for n, w in zip(native.shape, weights, strict=True)]
    out = np.empty(shape, dtype=np.float32)
    for k in range(shape[0]):
        out[k] = _plane(native, weights, k)
    working = tuple(s * n / m for s, n, m in zip(native_spacing, native.shape, shape, strict=True))
    return WorkingGrid(out, working, native, native_spacing, tuple(weights))  # type: ignore[arg-type]


def _area_weights(n: int, spacing: float, target: float) -> sparse.csr_matrix | None:
    """Sparse weights [m, n] that average n voxels into m of about ``target`` mm; None for an axis coarse enough."""
    m = max(1, round(n * spacing / target))
    if m >= n:
        return None
    edges = np.arange(m + 1) * (n / m)
    low = np.maximum(edges[:-1, None], np.arange(n)[None])
    high = np.minimum(edges[1:, None], np.arange(n)[None] + 1.0)
    return sparse.csr_matrix((np.maximum(high - low, 0) * (m / n)).astype(np.float32))


def _plane(native: npt.NDArray[np.generic], weights: Sequence[sparse.csr_matrix | None], k: int) -> FloatArray:
    """Working slice ``k``: weighted sum of native slices, then the two in-plane averages (sparse: 25 times faster)."""
    if weights[0] is None:
        plane = _clean(native[k])
    else:
        row = weights[0].getrow(k)
        plane = sum(_clean(native[i]) * w for i, w in zip(row.indices, row.data, strict=True))
    if weights[1] is not None:
        plane = weights[1] @ plane
    if weights[2] is not None:
        plane = (weights[2] @ np.ascontiguousarray(plane.T)).T
    return plane


def _clean(plane: npt.NDArray[np.generic]) -> FloatArray:
    values = np.array(plane, dtype=np.float32, order="C")
    np.clip(values, AIR_HU, METAL_HU, out=values)
    if np.issubdtype(plane.dtype, np.floating):
        np.nan_to_num(values, copy=False, nan=AIR_HU)
    return values
