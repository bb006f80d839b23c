"""Heart and mediastinum with the great vessels: between the lungs, behind the sternum, before the spine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..morphology import dilate, fill_holes, largest_component, open_mask
from ..types import LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray
from .heart_floor import heart_floor
from .thorax import Thorax

__all__ = ["find_mediastinum"]

ABOVE_CARINA_MM = 110.0
"""How far above the carina the mediastinum begins: there is the thoracic inlet of an adult."""

SIDE_MARGIN_MM, SPINE_MARGIN_MM = 12.0, 4.0
"""What is not lung belongs to the mediastinum a little outside the zone that tells it from dense lung, too."""


SPINE_HALF_WIDTH_MM = 20.0
"""Left of this, bone beside the spine cannot be told from contrast in the aorta; there only the zone keeps it out."""


def find_mediastinum(
    volume: FloatArray, lungs: LabelArray, aerated: LabelArray, body: BoolArray, thorax: Thorax, zone: BoolArray
) -> BoolArray:
    """Heart and mediastinum.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: pleural lungs, 1 right and 2 left.
        aerated: closed aerated lungs; the mediastinum lies between them, whatever dense disease lies before it.
        body: bool, same shape, with the airways.
        thorax: landmarks of the same grid.
        zone: ``central_zone`` of the same grid.
    """
    spacing = thorax.spacing
    depth, height, width = lungs.shape
    right, left = lungs == RIGHT_LUNG, lungs == LEFT_LUNG
    columns, rows, slices = np.arange(width), np.arange(height), np.arange(depth)
    inner_right, inner_left = medial_borders(aerated == RIGHT_LUNG, aerated == LEFT_LUNG, thorax)
    mask = (columns >= inner_right[:, :, None]) & (columns < inner_left[:, :, None])
    mask &= _with_margin(zone, thorax)
    mask &= (rows[None] >= thorax.front[:, None])[:, :, None]
    floor = heart_floor(right, left, thorax)
    over = slices[:, None, None] <= floor[None]
    before = thorax.before_spine(height)
    across = thorax.from_midline(width)
    # Below the heart only the aorta goes on, with the oesophagus, for the 70 mm to its gap in the diaphragm.
    strip = (before < 20.0) & (across > -10.0) & (across < 40.0)
    strip &= slices[:, None, None] <= float(np.median(floor)) + 70.0 * thorax.scale / spacing[0]
    mask &= over | strip
    mask[: max(thorax.top, int(thorax.carina - ABOVE_CARINA_MM * thorax.scale / spacing[0]))] = False
    mask[thorax.bottom + 1 :] = False
    mask &= ~(lungs > 0)
    mask &= body & ~_wall_bones(volume, thorax)
    mask = largest_component(open_mask(mask, 3.0, spacing))
    return fill_holes(mask) & ~(lungs > 0)


def _with_margin(zone: BoolArray, thorax: Thorax) -> BoolArray:
    """The zone grown sideways, and on the right of the vertebrae backwards."""
    before, across = thorax.before_spine(zone.shape[1]), thorax.from_midline(zone.shape[2])
    out = zone.copy()
    for k in range(1, round(SIDE_MARGIN_MM * thorax.scale / thorax.spacing[2]) + 1):
        out[:, :, k:] |= zone[:, :, :-k]
        out[:, :, :-k] |= zone[:, :, k:]
    not_left = across < 13.0 * thorax.scale
    beside = not_left & (across > -(28.0 + SIDE_MARGIN_MM) * thorax.scale)
    out |= beside & (before <= 0) & (before >= -SPINE_MARGIN_MM)
    return out & ~(not_left & (before < -SPINE_MARGIN_MM))


def medial_borders(
    right: BoolArray, left: BoolArray, thorax: Thorax
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For every (slice, row): the column after the right lung and the first of the left.

    Rows that miss a lung take the nearest row that has it; a side without any lung is mirrored from the other, but at
    least 60 mm (left) or 35 mm (right) from the midline.
    """
    depth, height, width = right.shape
    has_right, has_left = right.any(axis=2), left.any(axis=2)
    inner_right = width - right[:, :, ::-1].argmax(axis=2)
    inner_left = left.argmax(axis=2)
    for values, known in ((inner_right, has_right), (inner_left, has_left)):
        if known.any():
            nearest = ndi.distance_transform_edt(
                ~known, sampling=thorax.spacing[:2], return_distances=False, return_indices=True
            )
            values[...] = values[tuple(nearest)]
    middle = np.broadcast_to(thorax.midline[:, None], (depth, height))
    if not has_left.any():
        inner_left = np.maximum(2 * middle - inner_right, middle + 60.0 * thorax.scale / thorax.spacing[2]).astype(
            np.intp
        )
    if not has_right.any():
        inner_right = np.minimum(2 * middle - inner_left, middle - 35.0 * thorax.scale / thorax.spacing[2]).astype(
            np.intp
        )
    return inner_right, inner_left


def _wall_bones(volume: FloatArray, thorax: Thorax) -> BoolArray:
    """Bone of the chest wall: dense voxels at the front edge or at the spine, not contrast in the aorta beside it."""
    rows = np.arange(volume.shape[1])
    at_front = (rows[None] < (thorax.front + 12.0 / thorax.spacing[1])[:, None])[:, :, None]
    at_spine = thorax.from_midline(volume.shape[2]) < SPINE_HALF_WIDTH_MM * thorax.scale
    at_back = (thorax.before_spine(volume.shape[1]) < -12.0) & at_spine
    return dilate((volume > 220.0) & (at_front | at_back), 1.5, thorax.spacing)
