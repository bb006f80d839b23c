"""The lung's root: the great vessels that closing bridges there are mediastinum, not lung."""

from __future__ import annotations

import numpy as np

from ..morphology import component_sizes, components, dilate, open_mask
from ..types import BoolArray, FloatArray, LabelArray
from .body import AIR_HU
from .pleura import DENSE_HU
from .thorax import Thorax

__all__ = ["without_hilum"]

ROOT_MM = 60.0
ABOVE_CARINA_MM, BELOW_CARINA_MM = 10.0, 60.0
"""How far from the midline, above and below the carina the main pulmonary vessels of an adult are met."""

VESSEL_MM = 4.0
"""Radius from which a vessel at the root is no branch inside the lung any more."""


def without_hilum(
    volume: FloatArray, closed: LabelArray, aerated: LabelArray, body: BoolArray, thorax: Thorax
) -> LabelArray:
    """Closed lungs without the thick vessels at their roots, and the half-filled voxels around those.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        closed: closed aerated lungs, 1 right and 2 left.
        aerated: the same before closing.
        body: bool, same shape.
        thorax: landmarks of the same grid.
    """
    aside = np.abs(thorax.from_midline(closed.shape[2])) < ROOT_MM * thorax.scale
    below = (np.arange(closed.shape[0]) - thorax.carina) * thorax.spacing[0] / thorax.scale
    level = (below > -ABOVE_CARINA_MM) & (below < BELOW_CARINA_MM)
    added = (closed > 0) & (aerated == 0) & aside & level[:, None, None]
    thick = open_mask((volume > DENSE_HU) & body & (aerated == 0), VESSEL_MM, thorax.spacing)
    # A nodule near the root has lung all around it; a vessel comes out of the mediastinum.
    pieces, count = components(thick)
    rooted = component_sizes(pieces, count, closed == 0) > 0
    thick = rooted[pieces]
    rim = dilate(thick, 2.5, thorax.spacing) & (volume > AIR_HU)
    return np.where(added & (thick | rim), 0, closed).astype(np.uint8)
