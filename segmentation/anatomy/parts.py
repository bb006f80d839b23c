"""Optional finer labels inside the chest: central airways, descending aorta, and a guess of the heart itself.

They narrow heart and mediastinum down for those who want it; allowed regions use the three organs only.
"""

from __future__ import annotations

import numpy as np

from ..morphology import close, dilate, fill_holes, largest_component, open_mask
from ..types import HEART_MEDIASTINUM, BoolArray, FloatArray, LabelArray
from .airways import Airways
from .thorax import Thorax

__all__ = ["PARTS", "find_parts"]

PARTS = ("airways", "descending_aorta", "heart")
"""Names of the values 1, 2, 3."""

FAT_HU = -40.0


def find_parts(volume: FloatArray, labels: LabelArray, airways: Airways, thorax: Thorax) -> LabelArray:
    """Airways (1), descending aorta (2) and heart (3), on the working grid.

    Args:
        volume: HU, [D, H, W] in the frame (I, P, L).
        labels: organs of the same grid.
        airways: of the same grid.
        thorax: landmarks of the same grid.
    """
    mediastinum = labels == HEART_MEDIASTINUM
    out = np.zeros(labels.shape, dtype=np.uint8)
    aorta = _descending_aorta(volume, mediastinum, thorax)
    out[_heart(volume, mediastinum & ~dilate(aorta, 3.0, thorax.spacing), thorax)] = 3
    out[aorta] = 2
    out[airways.mask] = 1
    return out


def _heart(volume: FloatArray, mediastinum: BoolArray, thorax: Thorax) -> BoolArray:
    """The bulk of soft tissue below the carina: fat is left out, what is thinner than 28 mm too."""
    below = np.arange(volume.shape[0])[:, None, None] >= thorax.carina + 5.0 / thorax.spacing[0]
    before = thorax.before_spine(volume.shape[1]) > 10.0 * thorax.scale
    tissue = close(mediastinum & below & before & (volume > FAT_HU), 6.0, thorax.spacing)
    return fill_holes(largest_component(open_mask(tissue, 14.0 * thorax.scale, thorax.spacing))) & mediastinum


def _descending_aorta(volume: FloatArray, mediastinum: BoolArray, thorax: Thorax) -> BoolArray:
    """A tube beside and before the left of the spine, from its arch down: what is thinner than 12 mm is left out."""
    before = thorax.before_spine(volume.shape[1])
    across = thorax.from_midline(volume.shape[2])
    level = np.arange(volume.shape[0])[:, None, None]
    strip = (before > -28.0 * thorax.scale) & (before < 24.0 * thorax.scale)
    beside = (across > 0.0) & (across < 46.0 * thorax.scale) & (level >= thorax.carina - 25.0 / thorax.spacing[0])
    return largest_component(
        open_mask(mediastinum & strip & beside & (volume > FAT_HU), 6.0 * thorax.scale, thorax.spacing)
    )
