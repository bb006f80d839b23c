"""Which maps a label asks for, once the network has said something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..attention.targets import Targets, logits_of, parse_targets, scores_of
from ..errors import did_you_mean

__all__ = ["Label", "Wanted", "is_segmentation", "scores_by_label", "wanted_maps"]

Label = int | str | Sequence[int] | Tensor | Callable[[Tensor], Tensor] | None
"""Whose maps are wanted, see ``inject``."""

WORDS = ("all", "best")


class Wanted(NamedTuple):
    """What a label means for one output.

    Attributes:
        targets: for ``attention_maps``.
        names: of each item's maps: index of the output, or "mask".
    """

    targets: Targets
    names: list[list[str]]


def is_segmentation(output: Any) -> bool:
    """Whether an output is one value a voxel rather than one a scan."""
    return logits_of(output).ndim > 2


def wanted_maps(output: Any, label: Label, items: int) -> Wanted:
    """Resolve a label.

    Args:
        output: of the network.
        label: see ``inject``.
        items: of the batch.

    Raises:
        ValueError: for a label out of range or of another kind.

    Example:
        >>> wanted_maps(torch.tensor([[1.0, 3.0], [5.0, 2.0]]), "best", 2)
        Wanted(targets=((1,), (0,)), names=[['1'], ['0']])
    """
    if callable(label):
        function = label
        return Wanted(lambda given: _masked(logits_of(given), function), [["mask"]] * items)
    logits = logits_of(output)
    count = logits.shape[1] if logits.ndim > 1 else 1
    if isinstance(label, Tensor) and label.ndim == 1:
        if len(label) != items:
            msg = f"a tensor of labels holds one for each item of the batch: {items}, got {len(label)}"
            raise ValueError(msg)
        asked: Any = [[one] for one in label.tolist()]
    elif label is None or label == "best":
        asked = [[one] for one in _best(logits)]
    elif isinstance(label, str) and label != "all":
        msg = f"unknown label {label!r}: {did_you_mean(label, WORDS)}, an index, indices, or a function"
        raise ValueError(msg)
    else:
        asked = None if isinstance(label, str) else label
    try:
        chosen = parse_targets(asked, count, items)
    except TypeError:
        msg = f"label must be an index, indices, 'best', 'all', a tensor [B] or a function, got {label!r}"
        raise ValueError(msg) from None
    rows = chosen if chosen and isinstance(chosen[0], tuple) else (chosen,) * items
    return Wanted(chosen, [[str(one) for one in row] for row in rows])


def scores_by_label(output: Any, label: Label, items: int) -> Tensor:
    """The scores ``[B, M]`` that a label asks for, as a function of the output that ``attention_maps`` takes."""
    return scores_of(output, wanted_maps(output, label, items).targets, items).scores


def _best(logits: Tensor) -> list[int]:
    """The highest output of each item; of a segmentation the foreground class that is predicted at most voxels."""
    values = logits.detach()
    if values.ndim < 2 or values.shape[1] == 1:
        return [0] * len(values)
    if values.ndim == 2:
        return values.argmax(1).tolist()
    winner = values.argmax(1).flatten(1)
    voxels = torch.stack([(winner == one).sum(1) for one in range(1, values.shape[1])], dim=1)
    return (voxels.argmax(1) + 1).tolist()


def _masked(logits: Tensor, label: Callable[[Tensor], Tensor]) -> Tensor:
    mask = torch.as_tensor(label(logits.detach()), device=logits.device)
    if mask.shape != logits.shape:
        msg = f"the label function must give a mask of the output's shape {list(logits.shape)}, got {list(mask.shape)}"
        raise ValueError(msg)
    return (logits * mask.to(logits.dtype)).flatten(1).sum(1)
