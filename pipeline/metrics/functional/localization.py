"""Does the map point at the lesion: metrics on the feature grid, against the lesion's occupancy of each cell.

The publications that use such metrics score upsampled maps against boxes drawn in pixels. Here everything stays on the
network's own cells: upsampling adds no evidence and moves peaks towards borders. A lesion is given as the share of
each cell's box that it fills, computed with the network's true stride and offset.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .checks import validate_pair, validate_values

__all__ = ["energy_pointing", "evidence_by_region", "pointing_accuracy"]


def pointing_accuracy(attention: Tensor, lesions: Tensor, tolerance: int | Sequence[int] = 0) -> Tensor:
    """Whether the highest cell of a map touches the lesion.

    The pointing game of Zhang et al., "Top-down neural attention by excitation backprop" (2018), on cells: the peak is
    the first cell in row-major order with the map's largest value; it is a hit if the lesion fills any part of that
    cell's box, or of a cell at most ``tolerance`` cells away along every axis. A map without a positive value points
    nowhere and is a miss.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``, at most three grid axes.
        lesions: share of each cell that the label's lesions fill, 0 to 1 (or a bool mask), same shape.
        tolerance: cells, one number or one per grid axis. Slabs are thin (2.4 mm) and cells wide (26 mm in the
            published network), so one number per axis is the honest choice when any is allowed.

    Returns:
        ``[B, M]`` float32: 1 hit, 0 miss, NaN where there is no lesion to point at. The accuracy is its ``nanmean``.

    Raises:
        ValueError: for different shapes, shares outside 0 to 1, non-finite maps, or a negative tolerance.

    Example:
        >>> attention = torch.tensor([[[[0.0, 7.0], [1.0, 3.0]]]])
        >>> lesion = torch.tensor([[[[0.0, 0.0], [0.0, 0.2]]]])
        >>> pointing_accuracy(attention, lesion).item(), pointing_accuracy(attention, lesion, tolerance=1).item()
        (0.0, 1.0)
    """
    validate_pair(attention, lesions)
    touched = _dilate(lesions > 0, _validate_tolerance(tolerance, attention.ndim - 2)).flatten(2)
    values = attention.detach().flatten(2)
    first = values.argmax(-1, keepdim=True)  # of equal values torch gives the first
    hit = (touched.gather(-1, first) & (values.gather(-1, first) > 0)).squeeze(-1)
    has_lesion = (lesions > 0).flatten(2).any(-1)
    return hit.to(torch.float32).masked_fill(~has_lesion, float("nan"))


def energy_pointing(attention: Tensor, region: Tensor) -> Tensor:
    """Share of the positive evidence that lies inside a region.

    Wang et al., "Score-CAM" (2020), section 4.2, there for bounding boxes; here for lesions, organs or allowed regions
    on raw signed maps: negative evidence is left out instead of shifting the whole map, so that an untouched
    background stays at zero. A cell that the region fills in part counts in part.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        region: share of each cell inside the region, 0 to 1 (or a bool mask), same shape.

    Returns:
        ``[B, M]`` in [0, 1]; NaN where a map has no positive value, since there is nothing to share out.

    Raises:
        ValueError: for different shapes, shares outside 0 to 1, or non-finite maps.

    Example:
        >>> attention = torch.tensor([[[[3.0, -9.0], [0.0, 1.0]]]])
        >>> energy_pointing(attention, torch.tensor([[[[1, 1], [0, 0]]]])).item()
        0.75
    """
    validate_pair(attention, region)
    evidence = _positive(attention)
    return (evidence * region.to(evidence.dtype).flatten(2)).sum(-1) / evidence.sum(-1)  # 0 / 0 is NaN on purpose


def evidence_by_region(attention: Tensor, regions: Tensor) -> Tensor:
    """Share of every map's positive evidence in each of several regions, for example the three organs.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        regions: share of each cell inside each region, 0 to 1, ``[B, R, *grid]``.

    Returns:
        ``[B, M, R]``; NaN where a map has no positive value. What is missing to 1 lies outside all regions, where these
        do not overlap.

    Raises:
        ValueError: if batch or grid differ, shares are outside 0 to 1, or maps are not finite.
    """
    if attention.shape[:1] != regions.shape[:1] or attention.shape[2:] != regions.shape[2:]:
        msg = (
            f"attention [B, M, *grid] and regions [B, R, *grid] must share batch and grid, got "
            f"{tuple(attention.shape)} and {tuple(regions.shape)}"
        )
        raise ValueError(msg)
    validate_values(attention, regions)
    evidence = _positive(attention)
    inside = torch.einsum("bmn,brn->bmr", evidence, regions.to(evidence.dtype).flatten(2))
    return inside / evidence.sum(-1, keepdim=True)


def _positive(attention: Tensor) -> Tensor:
    dtype = torch.float64 if attention.dtype == torch.float64 else torch.float32
    return attention.detach().to(dtype).clamp_min(0).flatten(2)


def _dilate(mask: Tensor, tolerance: tuple[int, ...]) -> Tensor:
    """Grow a mask by a box, one grid axis after the other."""
    grown = mask.to(torch.float32)
    for axis, reach in enumerate(tolerance, start=2):
        if reach:
            lines = grown.movedim(axis, -1)
            pooled = functional.max_pool1d(
                lines.reshape(-1, 1, lines.shape[-1]), 2 * reach + 1, stride=1, padding=reach
            )
            grown = pooled.reshape(lines.shape).movedim(-1, axis)
    return grown > 0


def _validate_tolerance(tolerance: int | Sequence[int], axes: int) -> tuple[int, ...]:
    values = (tolerance,) * axes if isinstance(tolerance, int) else tuple(tolerance)
    if len(values) != axes or any(value < 0 for value in values):
        msg = f"tolerance must be a number of cells >= 0, or one for each of the {axes} grid axes, got {tolerance!r}"
        raise ValueError(msg)
    return values
