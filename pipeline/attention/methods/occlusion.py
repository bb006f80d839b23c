"""Occlusion: the check that needs no gradient and no layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import ceil

import torch
from torch import Tensor

from ...geometry import FeatureGrid
from .place import looks_at

__all__ = ["occlusion"]

WINDOWS = 8
"""Windows along the longest axis where none are asked for: 512 forward passes of a cube."""


@looks_at("scores")
def occlusion(
    score: Callable[[Tensor], Tensor],
    volume: Tensor,
    *,
    window: int | Sequence[int] | None = None,
    stride: int | Sequence[int] | None = None,
    baseline: float = 0.0,
    chunk: int | None = None,
) -> tuple[Tensor, FeatureGrid]:
    """How much each score falls when a box of the input is covered.

    Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014), section 4.2. All scores come from
    the same forward passes, one for each box.

    Differences: the fall of the score, not what is left of it, so that evidence is positive as in all methods here;
    raw and signed.

    Args:
        score: ``[N, C, *voxels]`` to scores ``[N, M]``, without a gradient.
        volume: ``[B, C, *voxels]``.
        window: voxels that are covered, one number or one per axis; None for an eighth of the longest axis.
        stride: voxels from one box to the next; None for the window, so that boxes touch.
        baseline: what they are covered with, in the input's own units.
        chunk: covered inputs in one forward pass; None for as many as the batch has.

    Returns:
        Maps ``[B, M, *grid]``, one cell a box, and where the boxes lie. Those at the far edge may stick out of the
        volume.

    Raises:
        ValueError: if window, stride or chunk is less than 1 or has another number of axes.

    Example:
        >>> volume = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
        >>> maps, grid = occlusion(lambda x: x.sum(-1), volume, window=2)
        >>> maps.tolist(), grid.centres(0).tolist()
        ([[[3.0, 7.0]]], [0.5, 2.5])
    """
    shape = tuple(volume.shape[2:])
    sizes = _per_axis(ceil(max(shape) / WINDOWS) if window is None else window, len(shape), "window")
    sizes = tuple(min(size, voxels) for size, voxels in zip(sizes, shape, strict=True))
    steps = _per_axis(sizes if stride is None else stride, len(shape), "stride")
    together = len(volume) if chunk is None else chunk
    if together < 1:
        msg = f"chunk must be at least 1 covered input, or None, got {chunk}"
        raise ValueError(msg)
    counts = tuple(
        max(1, ceil((voxels - size) / step) + 1) for voxels, size, step in zip(shape, sizes, steps, strict=True)
    )
    grid = FeatureGrid(counts, steps, tuple((size - 1) / 2 for size in sizes), sizes, shape)
    before = score(volume)
    falls = [before[at : at + 1] - after for at, after in _covered(score, volume, grid, baseline, together)]
    maps = torch.stack([torch.cat(falls[item :: len(volume)]) for item in range(len(volume))])  # [B, boxes, M]
    return maps.transpose(1, 2).unflatten(2, counts), grid


def _covered(
    score: Callable[[Tensor], Tensor], volume: Tensor, grid: FeatureGrid, baseline: float, together: int
) -> Iterator[tuple[int, Tensor]]:
    """Item and scores ``[1, M]`` of every covered input: all items under the first box, then under the second."""
    waiting: list[tuple[int, Tensor]] = []
    boxes = list(product(*(range(count) for count in grid.shape)))
    for number, (box, item) in enumerate(product(boxes, range(len(volume))), start=1):
        covered = volume[item].clone()
        ranges = zip(box, grid.stride, grid.receptive_field, strict=True)
        starts = [(int(place * step), size) for place, step, size in ranges]
        inside: tuple[slice, ...] = (slice(None), *(slice(start, start + size) for start, size in starts))
        covered[inside] = baseline
        waiting.append((item, covered))
        if len(waiting) == together or number == len(boxes) * len(volume):
            found = score(torch.stack([one for _, one in waiting]))
            yield from zip([at for at, _ in waiting], found.split(1), strict=True)
            waiting = []


def _per_axis(value: int | Sequence[int], axes: int, name: str) -> tuple[int, ...]:
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes or min(values) < 1:
        msg = f"{name} must be a number of voxels of at least 1, or one for each of the {axes} axes, got {value!r}"
        raise ValueError(msg)
    return values
