"""What the score does when the places that a map calls important are taken away, or put back.

All of them ask the network, one forward pass a step, in batches; ``budget`` is the most passes a map may cost. What is
put in the places of what is taken is no CT any more: a network may answer to the hole instead of to what is missing, so
compare methods with each other and with a random order, and do not read the areas as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["PerturbationCurve", "deletion_curve", "insertion_curve", "masked_out_area"]

Score = Callable[[Tensor], Tensor]
"""Inputs ``[N, *shape]`` to scores ``[N]`` of the label that is explained; eval mode and device are the caller's."""


class PerturbationCurve(NamedTuple):
    """Scores ``[T]`` at shares of the places ``[T]`` that were deleted or inserted; from 0 to 1."""

    shares: Tensor
    scores: Tensor

    @property
    def area(self) -> float:
        """Area under the curve by trapezoids: low for a good deletion, high for a good insertion."""
        return float(torch.trapezoid(self.scores, self.shares))


def deletion_curve(
    score: Score, image: Tensor, attention: Tensor, *, fill: float | Tensor = 0.0, budget: int = 51, batch_size: int = 8
) -> PerturbationCurve:
    """The score while the places of a map are overwritten, the highest first.

    Petsiuk et al., "RISE" (2018), section 4.1, there with probabilities and grey; here whatever ``score`` gives. Only
    the order of the map's values counts; of equal ones the first in row-major order goes first.

    Args:
        score: see ``Score``.
        image: one input without batch axis.
        attention: one map on its voxels: the image's shape, or that without leading channels, which then share it.
        fill: value, or an image, to put in their place; of the same scale as the input.
        budget: forward passes, evenly spaced from nothing to everything; at least 2.
        batch_size: of the forward passes.

    Raises:
        ValueError: if shapes do not fit, values are not finite, or the budget is too small.

    Example:
        >>> image = torch.tensor([4.0, 3.0, 2.0, 1.0])
        >>> curve = deletion_curve(lambda x: x.sum(-1), image, image, budget=5)
        >>> curve.scores.tolist(), curve.area
        ([10.0, 6.0, 3.0, 1.0, 0.0], 3.75)
    """
    ranks = _ranks(image, attention)
    base = _other(image, fill)
    return _curve(score, image, base, ranks, budget, batch_size)


def insertion_curve(
    score: Score, image: Tensor, attention: Tensor, *, base: float | Tensor = 0.0, budget: int = 51, batch_size: int = 8
) -> PerturbationCurve:
    """The score while the places of a map are put into an empty input, the highest first.

    Petsiuk et al. 2018 begin with a blurred image, which ``base`` may be; else see ``deletion_curve``.

    Example:
        >>> image = torch.tensor([4.0, 3.0, 2.0, 1.0])
        >>> insertion_curve(lambda x: x.sum(-1), image, image, budget=5).scores.tolist()
        [0.0, 4.0, 7.0, 9.0, 10.0]
    """
    ranks = _ranks(image, attention)
    return _curve(score, _other(image, base), image, ranks, budget, batch_size)


def masked_out_area(
    score: Score,
    image: Tensor,
    attention: Tensor,
    threshold: float,
    *,
    step: float = 0.005,
    fill: float | Tensor = 0.0,
    budget: int | None = None,
    batch_size: int = 8,
) -> float:
    """Share of the image that must be overwritten, the highest places first, until the label is not predicted any more.

    Preechakul et al. 2022, masked-out area: in steps of 0.5 % of the area; lower is better. What the paper leaves open
    is decided so: a label that is not predicted at the start has no value; one that never turns scores 1; of equal
    values the first in row-major order goes first.

    Args:
        score: see ``Score``.
        image: one input without batch axis.
        attention: one map on its voxels.
        threshold: the label is predicted where the score is at least this.
        step: share of the places a step.
        fill: what is put in their place.
        budget: most forward passes; None for as many as it takes (201 with steps of 0.5 %).
        batch_size: of the forward passes; the search ends with the batch in which the label turns.

    Returns:
        The share; NaN if the label is not predicted at the start, or the budget ends before it turns.

    Raises:
        ValueError: see ``deletion_curve``.

    Example:
        >>> image = torch.tensor([4.0, 3.0, 2.0, 1.0])
        >>> masked_out_area(lambda x: x.sum(-1), image, image, threshold=2.5, step=0.25)
        0.75
    """
    ranks, base = _ranks(image, attention), _other(image, fill)
    if not 0 < step <= 1:
        msg = f"step is a share of the places, above 0 and at most 1, got {step}"
        raise ValueError(msg)
    steps = ceil(round(1 / step, 9))
    shares = torch.tensor([min(number * step, 1.0) for number in range(steps + 1)], dtype=torch.float64)
    allowed = shares if budget is None else shares[:budget]
    place = 0
    for scores in _scores(score, image, base, ranks, allowed, batch_size):
        for value in scores.tolist():
            if value < threshold:
                return float(shares[place]) if place else float("nan")
            place += 1
    return 1.0 if place == len(shares) else float("nan")


def _curve(score: Score, start: Tensor, end: Tensor, ranks: Tensor, budget: int, batch_size: int) -> PerturbationCurve:
    if budget < 2:
        msg = f"a curve needs a budget of at least 2 forward passes, got {budget}"
        raise ValueError(msg)
    shares = torch.linspace(0, 1, budget, dtype=torch.float64)
    scores = torch.cat(list(_scores(score, start, end, ranks, shares, batch_size)))
    return PerturbationCurve(shares, scores)


def _scores(
    score: Score, start: Tensor, end: Tensor, ranks: Tensor, shares: Tensor, batch_size: int
) -> Iterator[Tensor]:
    """Scores where the given shares of the places, by rank, are those of ``end``."""
    if batch_size < 1:
        msg = f"batch_size must be 1 or more, got {batch_size}"
        raise ValueError(msg)
    counts = (shares * ranks.numel()).round().to(torch.int64)
    with torch.no_grad():
        for part in counts.split(batch_size):
            mixed = torch.stack([torch.where(ranks < count, end, start) for count in part.tolist()])
            scores = score(mixed)
            if scores.shape != (len(part),):
                msg = f"score must give one number for each of {len(part)} inputs, got {tuple(scores.shape)}"
                raise ValueError(msg)
            yield scores.detach().cpu().to(torch.float64)


def _ranks(image: Tensor, attention: Tensor) -> Tensor:
    """Place of each voxel in the order of falling attention."""
    if attention.ndim == 0 or attention.shape != image.shape[image.ndim - attention.ndim :]:
        msg = (
            f"attention must have the image's shape, or that without its channels, got {tuple(attention.shape)} "
            f"for {tuple(image.shape)}"
        )
        raise ValueError(msg)
    if not torch.isfinite(attention).all() or not torch.isfinite(image).all():
        msg = "image or attention holds NaN or infinity"
        raise ValueError(msg)
    order = attention.detach().flatten().argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    return ranks.reshape(attention.shape).to(image.device)


def _other(image: Tensor, fill: float | Tensor) -> Tensor:
    if isinstance(fill, Tensor) and fill.shape not in (image.shape, ()):
        msg = f"what is put in must be a number or of the image's shape {tuple(image.shape)}, got {tuple(fill.shape)}"
        raise ValueError(msg)
    return torch.as_tensor(fill, dtype=image.dtype, device=image.device).expand_as(image)
