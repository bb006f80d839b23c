"""What an audit needs of a model: scores and maps of any scan that it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from organcam.segmentation.regions.occupancy import organ_occupancy

from ..data.network_input import grid_on_scan
from ..data.volume import Volume
from ..geometry import FeatureGrid

__all__ = ["Answer", "Model"]


@dataclass(frozen=True)
class Answer:
    """What a model says of one scan.

    Attributes:
        logits: ``[M]``.
        maps: raw signed HiResCAM, ``[M, *grid]``.
        grid: where the cells lie in the network's input; None where they have no regular places there.
        affine: of the network's input, voxel index to RAS+ mm.
    """

    logits: NDArray[np.float64]
    maps: NDArray[np.float32]
    grid: FeatureGrid | None
    affine: NDArray[np.float64] | None

    def shares(self, masks: Volume, values: tuple[int, ...]) -> NDArray[np.float32] | None:
        """Share of each cell that each value of a label map fills, ``[R, *grid]``; None without places."""
        if self.grid is None or self.affine is None or self.grid.axes != 3:
            return None
        aligned = masks.reoriented("".join(nib.aff2axcodes(self.affine)))
        cells = grid_on_scan(self.grid, self.affine, aligned.affine, aligned.array.shape)
        found: NDArray[np.float32] = organ_occupancy(aligned.array, cells, values)
        return found


@dataclass(frozen=True)
class Model:
    """A model that can be asked.

    Attributes:
        name: for tables.
        labels: names of its M outputs.
        answer: of a scan in HU.
    """

    name: str
    labels: tuple[str, ...]
    answer: Callable[[Volume], Answer]
