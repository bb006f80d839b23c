"""A CT volume in memory: Hounsfield units and where the voxels lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

__all__ = ["NETWORK_AXES", "Volume"]

NETWORK_AXES = "IPL"
"""Direction of the array axes that networks see: superior to inferior, anterior to posterior, right to left."""


@dataclass(frozen=True)
class Volume:
    """An array with its place in the patient.

    Attributes:
        array: ``[i, j, k]``; for a CT in HU.
        affine: 4 x 4, voxel index to RAS+ millimetres (nibabel's world).
    """

    array: NDArray
    affine: NDArray[np.float64]

    @property
    def axes(self) -> str:
        """Direction of each array axis, such as ``LPS``."""
        return "".join(nib.aff2axcodes(self.affine))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each array axis in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def reoriented(self, axes: str = NETWORK_AXES) -> Volume:
        """The same voxels with axes flipped and swapped so that they point to ``axes``; nothing is interpolated."""
        change = orientations.ornt_transform(nib.io_orientation(self.affine), orientations.axcodes2ornt(tuple(axes)))
        affine = self.affine @ orientations.inv_ornt_aff(change, self.array.shape)
        return Volume(orientations.apply_orientation(self.array, change), affine)
