"""A scan while something is put into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from organcam.segmentation.anatomy.body import body_mask

from .shapes import Box, Inside, box_around, coverage_of
from .texture import Noise

__all__ = ["Scene"]

PART_HU = -20.0
"""Below it a voxel beside the lung holds some of it."""


@dataclass
class Scene:
    """A scan in the network's axes (z down, y to the back, x to the left) while something is put in."""

    hu: NDArray[np.float32]
    organs: NDArray
    spacing: tuple[float, float, float]
    noise: Noise
    rng: np.random.Generator
    covered: NDArray[np.float32]

    def blend(self, box: Box, coverage: NDArray[np.float32], hu: float) -> None:
        """Put tissue where it is covered."""
        view = self.hu[box]
        tissue = hu + self.noise.sample(view.shape, self.rng)
        view += coverage * (tissue - view)
        np.maximum(self.covered[box], coverage, out=self.covered[box])

    def paint(
        self,
        centre: tuple[float, float, float],
        reach_mm: tuple[float, float, float],
        inside: Inside,
        hu: float,
        within: NDArray[np.bool_] | None = None,
        share: float = 1.0,
    ) -> None:
        """Put in a shape, cut to a region."""
        box = box_around(centre, reach_mm, self.spacing, self.hu.shape)
        if box is None:
            return
        coverage = coverage_of(inside, box, centre, self.spacing) * np.float32(share)
        if within is not None:
            coverage = coverage * within[box]
        self.blend(box, coverage, hu)

    def lung(self, *values: int) -> NDArray[np.bool_]:
        """Lungs with the voxels beside them in a slice that hold lung in part, or a gap would stay at the pleura."""
        own = np.isin(self.organs, values)
        near = binary_dilation(own, np.ones((1, 3, 3), bool))
        return own | (near & (self.organs == 0) & (self.hu < PART_HU))

    def body(self) -> NDArray[np.bool_]:
        """The patient, without the table; looked for on every other pixel where these are fine."""
        step = max(1, round(2.0 / self.spacing[1]))
        coarse = body_mask(
            self.hu[:, ::step, ::step], (self.spacing[0], self.spacing[1] * step, self.spacing[2] * step)
        )
        found = np.repeat(np.repeat(coarse, step, axis=1), step, axis=2)
        return found[:, : self.hu.shape[1], : self.hu.shape[2]]
