"""Body without table, and the air inside it: everything that may be lung, airway or bowel gas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .morphology import close, component_sizes, components, dilate, erode, largest_component, open_mask
from .types import BoolArray, FloatArray

__all__ = ["body_mask", "cut_lung", "inner_air", "outer_air"]

SKIN_HU = -400.0
"""Tissue against air at the skin."""

AIR_HU = -420.0
"""Air against tissue inside the body; a lung border lies half-way between about -850 and 40."""


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


def outer_air(body: BoolArray) -> BoolArray:
    """Everything that reaches the lateral border of its axial slice without crossing the body."""
    outside = np.zeros_like(body)
    for k in range(body.shape[0]):
        labels, count = components(~body[k], connectivity=4)
        if count == 0:
            continue
        edge = np.zeros(count + 1, dtype=bool)
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            edge[line] = True
        edge[0] = False
        outside[k] = edge[labels]
    return outside


def cut_lung(volume: FloatArray, body: BoolArray, outside: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Lung that a small or circular field of view connects with the border of the slice.

    Lung-like (-940 to -420 HU) parts of the outer air, thicker than 8 mm, over 20 ml, that have body before and
    behind them in their column or on both sides in their row: clothes, mattress and table foam do not.
    """
    lungish = outside & (volume < AIR_HU) & (volume > -940.0)
    columns = np.logical_or.accumulate(body, axis=1) & np.logical_or.accumulate(body[:, ::-1], axis=1)[:, ::-1]
    rows = np.logical_or.accumulate(body, axis=2) & np.logical_or.accumulate(body[:, :, ::-1], axis=2)[:, :, ::-1]
    lungish &= columns | rows
    if lungish.sum() * np.prod(spacing) < 20_000:
        return np.zeros_like(body)
    lungish = open_mask(lungish, 4.0, spacing)
    labels, count = components(lungish)
    if count == 0:
        return lungish
    sizes = component_sizes(labels, count) * np.prod(spacing) / 1000.0
    return (sizes > 20.0)[labels]


def inner_air(volume: FloatArray, spacing: Sequence[float]) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Air inside the body, the body, and the part of the inner air that the field of view cuts off.

    Returns:
        ``(air, body, cut)``: bool [D, H, W].
    """
    body = body_mask(volume, spacing)
    outside = outer_air(close(body, 3.0, (1e9, *spacing[1:])))
    outside &= ~body
    cut = cut_lung(volume, body, outside, spacing)
    air = (volume < AIR_HU) & (~outside | cut)
    return air, body, cut
