"""Point localisation against boxes, in images and volumes.

A box is a start and a size along every axis of the map, in cells of that map: ``[axes, 2]``, axes in the map's order
(row, column; or slice, row, column). ``boxes_of_xywh`` makes them of COCO's x, y, width, height.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import validate_maps

__all__ = ["box_mask", "boxes_of_xywh", "point_localization"]

Boxes = Sequence[Sequence[Tensor]]
"""``boxes[item][label]``: the boxes of one label in one item, ``[K, axes, 2]``; K may be 0."""


def boxes_of_xywh(boxes: Tensor | Sequence[Sequence[float]]) -> Tensor:
    """COCO boxes (x, y, width, height), ``[K, 4]``, as start and size along row and column, ``[K, 2, 2]``.

    Example:
        >>> boxes_of_xywh([[20.5, 3.0, 8.0, 12.0]]).tolist()
        [[[3.0, 12.0], [20.5, 8.0]]]
    """
    flat = torch.as_tensor(boxes, dtype=torch.float64).reshape(-1, 4)
    return torch.stack([flat[:, [1, 3]], flat[:, [0, 2]]], dim=1)


def box_mask(boxes: Tensor, shape: Sequence[int]) -> Tensor:
    """Cells that one of the boxes covers, as in the published evaluation of PYLON.

    Start and size are cut to whole numbers one by one, then the cells ``start <= i < start + size`` are filled; what
    lies outside the map is cut off.

    Args:
        boxes: ``[K, axes, 2]``.
        shape: of the map.

    Returns:
        bool, ``shape``.

    Raises:
        ValueError: if a box has another number of axes, a negative size, or a value that is not finite.

    Example:
        >>> box_mask(torch.tensor([[[0.9, 1.0], [1.0, 2.9]]]), (2, 4)).int().tolist()
        [[0, 1, 1, 0], [0, 0, 0, 0]]
    """
    given = _validate_boxes(boxes, len(shape))
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    for box in given.to(torch.int64).tolist():  # cut towards zero
        mask[tuple(slice(max(start, 0), max(start + size, 0)) for start, size in box)] = True
    return mask


def point_localization(attention: Tensor, boxes: Boxes) -> Tensor:
    """Whether the highest cell of a map lies in one of its label's boxes.

    Preechakul et al., "Improved image classification explainability with high-accuracy heatmaps" (2022), point
    localisation accuracy: both edges of a box count as inside, ``start <= i <= start + size``, the index of a cell is
    its coordinate, and of equal peaks the first in row-major order is taken. Maps are upsampled to the image before
    (bilinear, ``align_corners=False``, after the sigmoid), as published; on the network's own cells the same boxes,
    divided by the stride, do as well. Against masks, or on cells that a lesion fills in part: ``pointing_accuracy``.

    Does not change when a map is multiplied by a positive number. Unlike there, the peak of a map without a positive
    value counts too: heat maps that are logits have their best place below zero.

    Args:
        attention: ``[B, M, *grid]``.
        boxes: ``boxes[item][label]``, ``[K, axes, 2]`` each.

    Returns:
        ``[B, M]`` float32: 1 hit, 0 miss, NaN for a label without a box. ``nanmean()`` is the weighted accuracy of the
        paper, the mean of ``nanmean(0)`` its macro average.

    Raises:
        ValueError: if maps and boxes do not fit, or maps are not finite.

    Example:
        >>> attention = torch.tensor([[[[0.0, 7.0], [1.0, 3.0]]]])
        >>> point_localization(attention, [[torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])]]).item()
        1.0
    """
    validate_maps(attention)
    if len(boxes) != len(attention) or any(len(row) != attention.shape[1] for row in boxes):
        msg = (
            f"boxes must be given for every item and label, {attention.shape[0]} x {attention.shape[1]}, got "
            f"{[len(row) for row in boxes]}"
        )
        raise ValueError(msg)
    grid = attention.shape[2:]
    flat = attention.detach().flatten(2).argmax(-1).cpu()  # of equal values torch gives the first
    peaks = torch.stack(torch.unravel_index(flat, grid), dim=-1).to(torch.float64)
    hits = torch.full(attention.shape[:2], float("nan"))
    for item, row in enumerate(boxes):
        for label, given in enumerate(row):
            own = _validate_boxes(given, len(grid))
            if len(own):
                start, stop = own[..., 0], own[..., 0] + own[..., 1]
                inside = (start <= peaks[item, label]) & (peaks[item, label] <= stop)
                hits[item, label] = float(inside.all(-1).any())
    return hits.to(attention.device)


def _validate_boxes(boxes: Tensor, axes: int) -> Tensor:
    given = torch.as_tensor(boxes, dtype=torch.float64).cpu()
    if given.numel() == 0:
        return given.reshape(0, axes, 2)
    if given.ndim != 3 or given.shape[1:] != (axes, 2):
        msg = f"boxes must be [K, {axes}, 2] (start and size along each axis of the map), got {tuple(given.shape)}"
        raise ValueError(msg)
    if not torch.isfinite(given).all() or (given[..., 1] < 0).any():
        msg = f"boxes need finite starts and sizes of 0 or more, got {given.reshape(-1, 2).tolist()}"
        raise ValueError(msg)
    return given
