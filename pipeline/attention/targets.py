"""Which scores of a network are to be explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ..errors import did_you_mean

__all__ = [
    "Explained",
    "SegmentationTarget",
    "Targets",
    "fixed_target",
    "logits_of",
    "parse_targets",
    "scores_of",
    "select",
]

Within = Literal["prediction", "positive", "everywhere"]
LOGIT_KEYS = ("logits", "pred", "out", "output")


@dataclass(frozen=True)
class SegmentationTarget:
    """Classes of a segmentation network, each scored by the sum of its logits over some voxels.

    Vinogradova et al., "Towards interpretable semantic segmentation via gradient-weighted class activation mapping"
    (2020), equation 4. A class that is predicted nowhere has score 0 and a map of zeros.

    Args:
        classes: index of one class, several, or None for all.
        within: over which voxels: "prediction", where the class has the largest logit (with a single output: a positive
            one); "positive", where its logit is positive, for outputs that do not exclude each other; "everywhere"; a
            mask ``[*voxels]``, ``[B, *voxels]`` or ``[B, M, *voxels]`` of the network's output; or the index of one
            voxel.

    Example:
        >>> logits = torch.tensor([[[3.0, 1.0, 2.0], [1.0, 4.0, 5.0]]])  # one item, two classes, three voxels
        >>> scores_of(logits, SegmentationTarget(), 1).scores.tolist()
        [[3.0, 9.0]]
        >>> scores_of(logits, SegmentationTarget(0, within=(2,)), 1).scores.tolist()
        [[2.0]]
    """

    classes: int | Sequence[int] | None = None
    within: Within | Tensor | Sequence[int] = "prediction"


ScoreFunction = Callable[[Any], Tensor]
Targets = int | Sequence[int] | Sequence[Sequence[int]] | Tensor | SegmentationTarget | ScoreFunction | None
"""One output; several; a list for each item (or a tensor ``[B, M]``); classes of a segmentation network; a function of
the network's output that gives scores ``[B]`` or ``[B, M]``; or None for all."""


@dataclass(frozen=True)
class Explained:
    """Scores ``[B, M]``, and what they are: outputs that all items share, or a row of them for each item."""

    scores: Tensor
    targets: tuple[int, ...] | tuple[tuple[int, ...], ...]


def scores_of(output: Any, targets: Targets, items: int) -> Explained:
    """The scores that are to be explained, differentiable.

    Args:
        output: of the network.
        targets: see there.
        items: of the batch.

    Raises:
        TypeError: if targets are of another kind.
        ValueError: if a target is out of range, the output holds no logits, or a mask or voxel does not fit.
    """
    if callable(targets):
        return _called(targets, output, items)
    logits = logits_of(output)
    if logits.shape == (items,):
        logits = logits[:, None]
    if logits.ndim < 2 or len(logits) != items:
        shape = list(logits.shape)
        msg = f"attention needs logits [B, M], or [B, M, *voxels], the network gave {shape} for {items} inputs"
        raise ValueError(msg)
    if logits.ndim > 2:
        wanted = targets if isinstance(targets, SegmentationTarget) else SegmentationTarget(targets)  # type: ignore[arg-type]
        return _segmented(logits, wanted)
    if isinstance(targets, SegmentationTarget):
        msg = f"a SegmentationTarget needs an output [B, M, *voxels], the network gave {list(logits.shape)}"
        raise ValueError(msg)
    chosen = parse_targets(targets, logits.shape[1], items)
    return Explained(select(logits, chosen), chosen)


def fixed_target(output: Any, targets: Targets, items: int) -> Targets:
    """The same targets with voxels that no longer depend on the output: where classes are predicted now."""
    if callable(targets):
        return targets
    logits = logits_of(output)
    if logits.ndim <= 2 or len(logits) != items:
        return targets
    target = targets if isinstance(targets, SegmentationTarget) else SegmentationTarget(targets)  # type: ignore[arg-type]
    classes = parse_targets(target.classes, logits.shape[1], items)
    counted = _voxels(target.within, logits, select(logits, classes), classes)
    return SegmentationTarget(classes, within=counted)  # type: ignore[arg-type]


def select(values: Tensor, chosen: tuple[int, ...] | tuple[tuple[int, ...], ...]) -> Tensor:
    """``[B, K, ...]`` to ``[B, M, ...]`` of the chosen outputs."""
    if chosen and isinstance(chosen[0], tuple):
        rows = torch.arange(len(values), device=values.device)[:, None]
        return values[rows, torch.tensor(chosen, device=values.device, dtype=torch.long)]
    return values[:, list(chosen)]


def parse_targets(targets: Any, count: int, items: int | None = None) -> tuple[int, ...] | tuple[tuple[int, ...], ...]:
    """Indices of the wanted outputs among ``count``: a row for all items, or one for each of ``items``.

    Raises:
        TypeError: if it is neither an index nor a sequence of them.
        ValueError: if an index is out of range, or the rows are not one for each item or of different lengths.

    Example:
        >>> parse_targets(None, 3), parse_targets(2, 3), parse_targets([1, 0], 3), parse_targets([[1], [2]], 3)
        ((0, 1, 2), (2,), (1, 0), ((1,), (2,)))
    """
    if targets is None:
        return tuple(range(count))
    given = targets.tolist() if hasattr(targets, "tolist") else targets
    try:
        if hasattr(given, "__index__"):
            return _in_range((index(given),), count)
        rows = list(given)
        if rows and all(isinstance(row, (list, tuple, Tensor)) for row in rows):
            return _rows(rows, count, items)
        return _in_range(tuple(index(one) for one in rows), count)
    except TypeError:
        msg = (
            "targets must be an index, a sequence of indices, a list for each item, a SegmentationTarget, a function "
            f"of the output, or None for all, got {targets!r}"
        )
        raise TypeError(msg) from None


def _rows(rows: list[Any], count: int, items: int | None) -> tuple[tuple[int, ...], ...]:
    found = tuple(
        _in_range(tuple(index(one) for one in (row.tolist() if isinstance(row, Tensor) else row)), count)
        for row in rows
    )
    if len({len(row) for row in found}) > 1 or (items is not None and len(found) != items):
        lengths = ", ".join(str(len(row)) for row in found)
        msg = f"targets by item need {items or 'one'} lists of the same length, got lists of {lengths}"
        raise ValueError(msg)
    return found


def _in_range(wanted: tuple[int, ...], count: int) -> tuple[int, ...]:
    wrong = [one for one in wanted if not 0 <= one < count]
    if wrong:
        msg = f"target {wrong[0]} is out of range; the network has outputs 0 to {count - 1}"
        raise ValueError(msg)
    return wanted


def _called(function: ScoreFunction, output: Any, items: int) -> Explained:
    scores = function(output)
    if isinstance(scores, Tensor) and scores.ndim == 0 and items == 1:
        scores = scores[None]
    if not isinstance(scores, Tensor) or scores.ndim not in {1, 2} or len(scores) != items:
        got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        msg = f"targets as a function must give scores [B] or [B, M] for {items} inputs, got {got}"
        raise ValueError(msg)
    scores = scores[:, None] if scores.ndim == 1 else scores
    return Explained(scores, tuple(range(scores.shape[1])))


def _segmented(logits: Tensor, target: SegmentationTarget) -> Explained:
    classes = parse_targets(target.classes, logits.shape[1], len(logits))
    part = select(logits, classes)
    counted = _voxels(target.within, logits, part, classes)
    return Explained((part * counted).flatten(2).sum(-1), classes)


def _voxels(within: Any, logits: Tensor, part: Tensor, classes: Any) -> Tensor:
    """Which voxels count, 0 or 1, broadcasting to ``part``."""
    if isinstance(within, str):
        if within == "everywhere":
            return torch.ones_like(part)
        if within == "positive" or (within == "prediction" and logits.shape[1] == 1):
            return (part.detach() > 0).to(part.dtype)
        if within == "prediction":
            winner = logits.detach().argmax(1, keepdim=True)
            return select(torch.zeros_like(logits).scatter_(1, winner, 1.0), classes)
        msg = f"unknown within {within!r} of a SegmentationTarget: {did_you_mean(within, get_args(Within))}"
        raise ValueError(msg)
    voxels = tuple(part.shape[2:])
    if isinstance(within, Tensor):
        return _mask(within, part).to(part)
    place = tuple(index(one) for one in within)
    if len(place) != len(voxels) or not all(0 <= at < size for at, size in zip(place, voxels, strict=True)):
        last = tuple(size - 1 for size in voxels)
        msg = f"voxel {place} does not lie in the network's output of {voxels} voxels; the last one is {last}"
        raise ValueError(msg)
    counted = torch.zeros_like(part)
    here: tuple[Any, ...] = (..., *place)
    counted[here] = 1
    return counted


def _mask(mask: Tensor, part: Tensor) -> Tensor:
    items, count, *voxels = part.shape
    shape = tuple(mask.shape)
    legal = [tuple(voxels), (items, *voxels), (items, 1, *voxels), (items, count, *voxels)]
    if shape not in legal:
        forms = ", ".join(str(list(one)) for one in dict.fromkeys(legal))
        msg = f"the mask of a SegmentationTarget has shape {list(shape)}; the network's output asks for one of {forms}"
        raise ValueError(msg)
    if not ((mask == 0) | (mask == 1)).all():
        msg = f"the mask of a SegmentationTarget must be 0 and 1, got {mask.min().item()} to {mask.max().item()}"
        raise ValueError(msg)
    return mask[:, None] if shape == legal[1] and shape != legal[0] else mask


def logits_of(output: Any) -> Tensor:
    """The logits in what a network returned.

    Alone; under "logits", "pred", "out" or "output" in a dictionary, or its only entry; or first in a tuple.

    Raises:
        ValueError: if they are nowhere.
    """
    found = output
    if isinstance(output, Mapping):
        known = [key for key in LOGIT_KEYS if key in output] or (list(output) if len(output) == 1 else [])
        found = output[known[0]] if known else None
    elif isinstance(output, (tuple, list)) and output:
        found = output[0]
    if not isinstance(found, Tensor):
        keys = f" with {', '.join(map(str, output))}" if isinstance(output, Mapping) else ""
        msg = (
            "the network must return logits, a dictionary with 'logits' or a tuple that starts with them, got "
            f"{type(output).__name__}{keys}; or give targets as a function of that output"
        )
        raise ValueError(msg)
    return found
