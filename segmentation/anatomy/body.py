"""Body without table, and the air inside it: everything that may be lung, airway or bowel gas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..morphology import bounding_box, close, component_sizes, components, dilate, erode, largest_component, open_mask
from ..types import BoolArray, FloatArray

__all__ = ["body_mask", "cut_lung", "inner_air", "is_padded", "outer_air"]

SKIN_HU = -400.0
"""Tissue against air at the skin."""

AIR_HU = -420.0
"""Air against tissue inside the body; a lung border lies half-way between about -850 and 40."""

MIN_CUT_ML = 20.0

PADDING_HU = -1023.5
"""Padding counts as -1024 on the working grid; room air with its noise does not get there over an area."""


def body_mask(volume: FloatArray, spacing: Sequence[float]) -> BoolArray:
    """The patient's tissue: the largest piece denser than -400 HU once connections thinner than 6 mm are cut.

    That drops table, mattress, blankets, lines and, in low slices, arms that do not touch the trunk.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        spacing: millimetres.
    """
    tissue = volume > SKIN_HU
    core = erode(tissue, 3.0, spacing)
    if not core.any():
        return largest_component(tissue)
    return dilate(largest_component(core), 4.0, spacing) & tissue


def outer_air(volume: FloatArray, body: BoolArray) -> tuple[BoolArray, BoolArray]:
    """What reaches the border of its axial slice, or its padding, without crossing the body.

    Room air and lung cut by the field of view are different pieces of a slice, since the chest wall between them runs
    to the border too; the mean tells them apart.

    Args:
        volume: HU on the working grid, [D, H, W].
        body: bool, same shape, without gaps at the skin.

    Returns:
        ``(outside, lung_like)``: all of it, and the pieces of it with the mean of lung (-925 to -500 HU).
    """
    outside, lung_like = np.zeros_like(body), np.zeros_like(body)
    padded = is_padded(volume)
    for k in range(body.shape[0]):
        padding = _corner_padding(volume[k]) if padded else np.zeros_like(body[k])
        labels, count = components(~body[k] & ~padding, connectivity=4)
        outside[k] = padding & ~body[k]
        if count == 0:
            continue
        edge = np.zeros(count + 1, dtype=bool)
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1], labels[_beside(padding)]):
            edge[line] = True
        edge[0] = False
        flat = labels.ravel()
        sizes = np.maximum(np.bincount(flat, minlength=count + 1), 1)
        mean = np.bincount(flat, weights=volume[k].ravel(), minlength=count + 1) / sizes
        outside[k] |= edge[labels]
        lung_like[k] = (edge & (mean > -925.0) & (mean < -500.0))[labels]
    return outside, lung_like


def is_padded(volume: FloatArray) -> bool:
    """Whether the corners of the slices hold one and the same value, as a circular field of view is filled up with."""
    corners = np.stack([volume[:, 0, 0], volume[:, 0, -1], volume[:, -1, 0], volume[:, -1, -1]])
    return bool(np.ptp(corners) < 0.5 and corners[0, 0] <= PADDING_HU)


def _corner_padding(plane: FloatArray) -> BoolArray:
    """Pixels of the padding value that hang together with a corner."""
    labels, _ = components(plane <= PADDING_HU, connectivity=4)
    corners = {int(labels[0, 0]), int(labels[0, -1]), int(labels[-1, 0]), int(labels[-1, -1])} - {0}
    return np.isin(labels, list(corners))


def _beside(padding: BoolArray) -> BoolArray:
    """Pixels next to padding."""
    return dilate(padding, 1.0, (1.0, 1.0)) & ~padding if padding.any() else padding


def cut_lung(volume: FloatArray, body: BoolArray, lung_like: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Lung that a small or circular field of view connects with the border of the slice.

    Lung-like parts of the outer air (-940 to -420 HU), thicker than 8 mm and over 20 ml, that lie mostly between parts
    of the body, or that have the median and the vessels of lung, and not behind or before the trunk: clothes, mattress
    and table foam do not.
    """
    voxel = float(np.prod(spacing)) / 1000.0
    lungish = lung_like & (volume < AIR_HU) & (volume > -1000.0)
    if lungish.sum() * voxel < MIN_CUT_ML:
        return np.zeros_like(body)
    lungish = open_mask(lungish, 4.0, spacing)
    labels, count = components(lungish)
    if count == 0:
        return lungish
    sizes = component_sizes(labels, count)
    keep = np.zeros(count + 1, dtype=bool)
    for label in np.flatnonzero(sizes * voxel > MIN_CUT_ML):
        box = bounding_box(labels == label)
        own = labels[box] == label
        if _beside_trunk(own, body, box):
            keep[label] = float(_between(body, box)[own].mean()) > 0.5 or _like_lung(volume[box][own])
    return keep[labels]


def _beside_trunk(own: BoolArray, body: BoolArray, box: tuple[slice, ...]) -> bool:
    """Whether the middle of a piece lies among the rows of the body, as lung does and a table does not."""
    mass = np.cumsum(body[box[0]].sum(axis=(0, 2)))
    low, high = np.searchsorted(mass, (0.06 * mass[-1], 0.94 * mass[-1]))
    middle = box[1].start + float(np.nonzero(own)[1].mean())
    return bool(low < middle < high)


def _like_lung(values: FloatArray) -> bool:
    """Whether a piece has the median and the vessels of lung."""
    return -900.0 < float(np.median(values)) < -600.0 and float(values.std()) > 45.0


def _between(body: BoolArray, box: tuple[slice, ...]) -> BoolArray:
    """Voxels of a box with body before and behind them in their column, or on both sides in their row."""
    z, y, x = box
    tall, wide = body[z, :, x], body[z, y, :]
    columns = np.logical_or.accumulate(tall, axis=1) & np.logical_or.accumulate(tall[:, ::-1], axis=1)[:, ::-1]
    rows = np.logical_or.accumulate(wide, axis=2) & np.logical_or.accumulate(wide[:, :, ::-1], axis=2)[:, :, ::-1]
    return columns[:, y] | rows[:, :, x]


def inner_air(volume: FloatArray, spacing: Sequence[float]) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Air inside the body, the body, and the part of the inner air that the field of view cuts off.

    Returns:
        ``(air, body, cut)``: bool [D, H, W].
    """
    body = body_mask(volume, spacing)
    outside, lung_like = outer_air(volume, close(body, 3.0, (1e9, *spacing[1:])))
    cut = cut_lung(volume, body, lung_like, spacing)
    air = (volume < AIR_HU) & (~outside | cut)
    return air, body, cut
