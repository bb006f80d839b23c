"""How well the lit part of a map agrees with a mask: IoR, IoU and Dice at one threshold, IoU at many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import validate_pair
from .organ_iou import normalise_map, validate_levels

__all__ = ["WSS_THRESHOLDS", "Overlap", "localization_hits", "mask_iou_curve", "mask_overlap"]

WSS_THRESHOLDS: tuple[float, ...] = tuple(round(0.02 * step, 2) for step in range(1, 50))
"""The 49 thresholds of HiResCAM's table 2."""


class Overlap(NamedTuple):
    """Agreement of lit cells with a mask, ``[B, M]`` each; NaN for a label whose mask is empty.

    Attributes:
        ior: share of the lit cells inside the mask (intersection over region; IoBB where the mask is a box).
        iou: intersection over union.
        dice: twice the intersection over the sum of both.
    """

    ior: Tensor
    iou: Tensor
    dice: Tensor


def mask_overlap(attention: Tensor, mask: Tensor, threshold: float = 0.5) -> Overlap:
    """IoR, IoU and Dice of a map's lit cells and a mask.

    A cell is lit where the map, divided by its largest value, is above the threshold (strictly); the minimum is not
    subtracted, as in the published evaluation of PYLON. Multiplying a map by a positive number changes nothing, adding
    to it does. A map without a positive value lights nothing and scores 0.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``, images or volumes.
        mask: bool or 0/1, same shape; boxes become one by ``box_mask``.
        threshold: share of the largest value, in [0, 1).

    Raises:
        ValueError: for different shapes, other values of the mask, maps that are not finite, or another threshold.

    Example:
        >>> found = mask_overlap(torch.tensor([[[4.0, 3.0, 1.0, 0.0]]]), torch.tensor([[[1, 0, 1, 0]]]))
        >>> [round(value.item(), 4) for value in found]
        [0.5, 0.3333, 0.5]
    """
    validate_pair(attention, mask)
    validate_levels([threshold])
    values = attention.detach().flatten(2)
    largest = values.amax(-1, keepdim=True)
    lit = (values / torch.where(largest > 0, largest, 1) > threshold) & (largest > 0)
    inside = _as_bool(mask).flatten(2)
    both, either = (lit & inside).sum(-1), (lit | inside).sum(-1)
    size, wanted = lit.sum(-1), inside.sum(-1)
    nothing = wanted == 0
    parts = (both / size.clamp_min(1), both / either.clamp_min(1), 2 * both / (size + wanted).clamp_min(1))
    return Overlap(*(part.masked_fill(nothing, float("nan")) for part in parts))


def localization_hits(overlap: Overlap, least: float = 0.1, by: str = "ior or iou") -> Tensor:
    """Whether a map finds its lesion at all, for a hit rate.

    PYLON's localisation accuracy takes IoR or IoU above 0.1, 0.25 and 0.5; a hit by Dice of 0.1 asks for about the
    right place and size. ``nanmean()`` weighs pairs alike.

    Args:
        overlap: of ``mask_overlap``.
        least: what must be exceeded (of Dice: reached).
        by: ``"ior or iou"``, ``"ior"``, ``"iou"`` or ``"dice"``.

    Returns:
        ``[B, M]`` float32: 1, 0, or NaN where the mask is empty.

    Raises:
        ValueError: for another criterion.
    """
    if by == "dice":
        hits = overlap.dice >= least
    elif by in ("ior", "iou"):
        hits = getattr(overlap, by) > least
    elif by == "ior or iou":
        hits = (overlap.ior > least) | (overlap.iou > least)
    else:
        msg = f"by={by!r} is unknown. Legal: ior or iou, ior, iou, dice"
        raise ValueError(msg)
    return hits.to(torch.float32).masked_fill(overlap.iou.isnan(), float("nan"))


def mask_iou_curve(
    attention: Tensor, mask: Tensor, thresholds: Sequence[float] = WSS_THRESHOLDS, ignore: Tensor | None = None
) -> Tensor:
    """IoU of the map with a segmentation at every threshold: weakly supervised segmentation.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM" (2020), table 2: maps are clipped and scaled to [0, 1]
    (``normalise_map``), a cell is lit strictly above the threshold, and each label keeps the threshold with the best
    mean over its scans: ``find_thresholds(curves, labels, WSS_THRESHOLDS)``; the paper chooses and scores on the same
    images. Multiplying a map by a positive number changes nothing.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        mask: bool or 0/1, same shape.
        thresholds: ascending values in [0, 1), T of them.
        ignore: bool, ``[B, *grid]``, cells that belong to no side (the void borders of PASCAL VOC), as if they were
            not there after the map has been scaled.

    Returns:
        ``[B, M, T]`` float64; 0 where nothing is lit and nothing masked.

    Raises:
        ValueError: see ``mask_overlap``; or unsorted thresholds.

    Example:
        >>> mask_iou_curve(torch.tensor([[[4.0, 2.0, 1.0, 0.0]]]), torch.tensor([[[1, 1, 0, 0]]]), (0.1, 0.3, 0.6))
        tensor([[[0.6667, 1.0000, 0.5000]]], dtype=torch.float64)
    """
    validate_pair(attention, mask)
    levels = validate_levels(thresholds).to(attention.device)
    values = normalise_map(attention).to(torch.float32).flatten(2)
    inside = _as_bool(mask).flatten(2)
    counted = torch.ones_like(inside) if ignore is None else (~ignore.to(torch.bool)).flatten(1)[:, None]
    bins = levels.numel() + 1
    # bin = number of thresholds strictly below the value, so that a cell is lit at threshold j where its bin is > j
    bin_of_cell = torch.bucketize(values, levels) + bins * inside
    histogram = torch.zeros(*values.shape[:2], 2 * bins, dtype=torch.int64, device=values.device)
    histogram.scatter_add_(-1, bin_of_cell, counted.expand_as(values).to(torch.int64))
    split = histogram.unflatten(-1, (2, bins))
    lit = split.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    wanted = split[..., 1, :].sum(-1, keepdim=True)
    return lit[..., 1, :].to(torch.float64) / (lit[..., 0, :] + wanted).clamp_min(1)


def _as_bool(mask: Tensor) -> Tensor:
    if mask.dtype != torch.bool and not ((mask == 0) | (mask == 1)).all():
        msg = f"a mask holds 0 and 1 only, got values from {mask.min().item()} to {mask.max().item()}"
        raise ValueError(msg)
    return mask.to(torch.bool)
