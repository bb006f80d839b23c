"""Where heart and mediastinum may be: a zone of an adult's chest scaled to this one, and what bulges out of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..types import LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray
from .heart_floor import diaphragm_level
from .thorax import Thorax

__all__ = ["central_zone", "with_bulges"]

AORTA_BEHIND_MM, AORTA_BEHIND_WET_MM = 36.0, 26.0
"""How far behind the vertebral front the descending aorta reaches; less is left to it where the left recess holds fluid
or airless lung, which lie there: a tenth of painted effusions was mediastinum."""

BULGE_RIGHT_MM, BULGE_LEFT_MM, BULGE_BEFORE_MM = 105.0, 145.0, 10.0
"""How far from the midline a heart may reach where air-filled lung ends it, and how far before the spine it begins.
Nearer to the spine more of a tumour at a real scan's hilum would be taken for heart."""

BULGE_WIDTH_MM = 25.0
"""Lower and shorter bumps on the heart's outline are airless lung that lies against it."""


def central_zone(thorax: Thorax, shape: tuple[int, ...], *, wet: bool = False) -> BoolArray:
    """Where mediastinum may be at all, by distance from midline and spine, for an adult's chest scaled to this one.

    Beside and just before the spine: 28 mm to the right (azygos vein, oesophagus), 48 mm to the left (aorta). Widening
    forward to 75 and 115 mm (heart), above the hila to 45 and 55 mm only. What lies between the lungs but outside this
    zone is dense lung or pleural fluid. ``wet``: the posterior recess of the left lung holds no air.
    """
    scale = thorax.scale
    before = thorax.before_spine(shape[1])
    across = thorax.from_midline(shape[2])
    above = (thorax.carina - np.arange(shape[0])) * thorax.spacing[0]
    high = np.clip((above - 20.0) / 30.0, 0.0, 1.0)[:, None, None].astype(np.float32)
    forward = np.clip((before - 20.0) / 40.0, 0.0, 1.0)
    right = 28.0 + forward * ((75.0 - 28.0) * (1 - high) + (45.0 - 28.0) * high)
    left = 48.0 + forward * ((115.0 - 48.0) * (1 - high) + (55.0 - 48.0) * high)
    zone = (across > -right * scale) & (across < left * scale)
    body_of_vertebra = (before < 0) & (across < 13.0 * scale)
    reach = AORTA_BEHIND_WET_MM if wet else AORTA_BEHIND_MM
    # Above its arch there is no aorta beside the spine.
    behind = np.where(above > 25.0, 0.0, reach * scale)[:, None, None]
    return zone & ~body_of_vertebra & (before > -behind)


def with_bulges(zone: BoolArray, dense: BoolArray, lungs: LabelArray, thorax: Thorax) -> BoolArray:
    """The zone with what bulges out of it into air-filled lung: a large or low heart.

    Row by row, between carina and diaphragm: dense tissue that goes on outwards from the zone's edge and ends in
    air-filled lung. What goes on to the chest wall is fluid or airless lung and stays outside.

    Args:
        zone: ``central_zone``.
        dense: bool, same shape, soft tissue that is not lung.
        lungs: closed aerated lungs, 1 right and 2 left.
        thorax: landmarks of the same grid.
    """
    air = lungs > 0
    slices = np.arange(zone.shape[0])[:, None]
    before = thorax.before_spine(zone.shape[1])[:, :, 0]
    rows = (before > BULGE_BEFORE_MM) & (slices > thorax.carina)
    reach = thorax.from_midline(zone.shape[2])[:, 0] / thorax.scale
    size = tuple(2 * int(BULGE_WIDTH_MM / 2 / mm) + 1 for mm in thorax.spacing[:2])
    left = _bulges(zone, dense, air, rows, reach < BULGE_LEFT_MM, size)
    zone_r, dense_r, air_r = (x[:, :, ::-1] for x in (zone, dense, air))
    right = _bulges(zone_r, dense_r, air_r, rows, reach[:, ::-1] > -BULGE_RIGHT_MM, size)[:, :, ::-1]
    level = diaphragm_level(lungs == RIGHT_LUNG, lungs == LEFT_LUNG, thorax)
    return zone | ((left | right) & (slices[:, :, None] <= level))


def _bulges(
    zone: BoolArray, dense: BoolArray, air: BoolArray, rows: BoolArray, near: BoolArray, size: tuple[int, ...]
) -> BoolArray:
    """What bulges from the zone towards higher columns.

    Args:
        zone: bool, [D, H, W].
        dense: bool, same shape, soft tissue.
        air: bool, same shape, air-filled lung.
        rows: bool, [D, H], rows that may bulge.
        near: bool, [D, W], columns within a heart's reach.
        size: slices and rows that a bulge must span.
    """
    last = zone.shape[2] - 1
    edge = last - zone[:, :, ::-1].argmax(axis=2)
    beyond = np.arange(last + 1) > edge[:, :, None]
    stop = (beyond & ~dense).argmax(axis=2)
    # A voxel half lung, half heart is neither: the air may begin after it.
    ends_in_air = _at(air, stop) | _at(air, np.minimum(stop + 1, last))
    accepted = rows & ends_in_air & np.take_along_axis(near, stop, axis=1)
    smooth = ndi.grey_opening(np.where(accepted, stop, edge + 1), size=size, mode="nearest")
    return beyond & (np.arange(last + 1) < np.minimum(stop, smooth)[:, :, None]) & accepted[:, :, None]


def _at(values: BoolArray, columns: npt.NDArray[np.intp]) -> BoolArray:
    """The value at one column of every (slice, row)."""
    return np.take_along_axis(values, columns[:, :, None], axis=2)[:, :, 0]
