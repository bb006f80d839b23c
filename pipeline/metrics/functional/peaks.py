"""The highest places of a map one after another, and how many of a label's lesions they touch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import validate_maps

__all__ = ["lesion_recall", "peaks_of"]


def peaks_of(attention: Tensor, count: int, distance: int | Sequence[int] = 1) -> Tensor:
    """The ``count`` highest places of each map; cells near a place that was taken are passed over.

    Greedy non-maximum suppression: without it the places of one broad peak would be the first ten.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        count: how many.
        distance: cells, one number or one per axis; what lies at most this far from a taken place along every axis is
            passed over. 0 takes cells as they come.

    Returns:
        int64 ``[B, M, count]``: flat (row-major) index of the cell, -1 once no positive value is left; the first of
        equal values is taken.

    Raises:
        ValueError: for maps that are not finite, a count below 1 or a negative distance.

    Example:
        >>> peaks_of(torch.tensor([[[5.0, 4.0, 0.0, 3.0, -1.0]]]), 3).tolist()
        [[[0, 3, -1]]]
    """
    validate_maps(attention)
    grid = attention.shape[2:]
    reach = (distance,) * len(grid) if isinstance(distance, int) else tuple(distance)
    if count < 1 or len(reach) != len(grid) or any(cells < 0 for cells in reach):
        msg = (
            f"peaks need a count of 1 or more and distances of 0 or more for {len(grid)} axes, got {count}, {distance}"
        )
        raise ValueError(msg)
    left = attention.detach().flatten(2).clone()
    cells = torch.arange(left.shape[-1], device=left.device)
    places = torch.stack(torch.unravel_index(cells, grid))  # [axes, cells]
    near = torch.tensor(reach, device=left.device)[:, None]
    found = []
    for _ in range(count):
        value, best = left.max(-1)
        found.append(torch.where(value > 0, best, -1))
        centre = places[:, best].movedim(0, -1)[..., None]  # [B, M, axes, 1]
        left.masked_fill_(((places - centre).abs() <= near).all(-2), -torch.inf)
    return torch.stack(found, dim=-1)


def lesion_recall(
    attention: Tensor, lesions: Tensor, counts: Sequence[int] = (1, 3, 5, 10), distance: int | Sequence[int] = 1
) -> Tensor:
    """Share of a label's lesions that one of the k highest places of its map touches.

    With several lesions a scan, pointing says whether the easiest one is found; recall says how many. Does not change
    when a map is multiplied by a positive number.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        lesions: whole numbers, same shape: 0 nothing, every other value one lesion.
        counts: the k, ascending.
        distance: see ``peaks_of``.

    Returns:
        ``[B, M, len(counts)]`` float64; NaN for a label without a lesion.

    Raises:
        ValueError: for other shapes, negative or broken numbers, maps that are not finite, or other counts.

    Example:
        >>> attention = torch.tensor([[[5.0, 4.0, 0.0, 3.0, 2.0, 0.0]]])
        >>> lesion_recall(attention, torch.tensor([[[0, 0, 0, 1, 0, 2]]]), counts=(1, 2)).tolist()
        [[[0.0, 0.5]]]
    """
    validate_maps(attention)
    if lesions.shape != attention.shape:
        msg = f"attention and lesions must have the same shape, got {tuple(attention.shape)} and {tuple(lesions.shape)}"
        raise ValueError(msg)
    values = lesions.to(torch.int64).flatten(2)
    if (values < 0).any() or (lesions.flatten(2) != values).any():
        msg = "lesions hold whole numbers: 0 for nothing, and one number for each lesion"
        raise ValueError(msg)
    if not counts or list(counts) != sorted(set(counts)) or counts[0] < 1:
        msg = f"counts must be ascending whole numbers from 1, got {list(counts)}"
        raise ValueError(msg)
    peaks = peaks_of(attention, counts[-1], distance)
    touched = values.gather(-1, peaks.clamp_min(0)).masked_fill(peaks < 0, 0)
    earlier = (touched[..., None, :] == touched[..., None]).tril(-1).any(-1)
    fresh = ((touched > 0) & ~earlier).cumsum(-1).to(torch.float64)
    ordered = values.sort(-1).values
    steps = (ordered.diff(dim=-1) > 0).sum(-1) + (ordered[..., 0] > 0)
    share = fresh[..., [count - 1 for count in counts]] / steps[..., None]
    return share.masked_fill((steps == 0)[..., None], float("nan"))
