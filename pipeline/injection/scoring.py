"""What is to be explained of a network's output, as one score a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ..attention.targets import logits_of
from ..contract import NetworkContract
from ..errors import did_you_mean

__all__ = ["Label", "ScoredNetwork", "is_segmentation", "names_of", "scores_of", "wanted_of"]

Label = int | str | Sequence[int] | Tensor | Callable[[Tensor], Tensor] | None
"""Whose maps are wanted, see ``inject``."""

Wanted = Tensor | Callable[[Tensor], Tensor]
"""The same, resolved for one output."""

WORDS = ("all", "best")


class ScoredNetwork(nn.Module):
    """A network whose output is turned into the scores ``[B, M]`` that attention explains.

    Between ``arm`` and ``forget`` it scores batches of that many items; a single item of another batch (with which the
    places of cells are found out) goes through unscored. Not for several threads at once.

    Args:
        network: unwrapped.

    Attributes:
        output: what the network said first since it was armed.
        wanted: what is scored, see ``wanted_of``; that of the first output where it was not given.
    """

    _label: Label
    _others: tuple[tuple[Any, ...], dict[str, Any]]
    output: Any
    wanted: Wanted | None

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.forget()
        if isinstance(network, NetworkContract):
            self.input_layout, self.input_shape = network.input_layout, network.input_shape
            self.attention_layer, self.call_order = f"network.{network.attention_layer}", network.call_order
            self.feature_grid, self.linear_head = network.feature_grid, _no_head

    def arm(self, items: int, label: Label, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Say what is wanted of the next runs, and what the network takes besides the first input."""
        self.forget()
        self._items, self._label, self._others = items, label, (args, kwargs)

    def make_usable(self) -> None:
        """Replace what was made under ``inference_mode``, which autograd refuses; to be called outside it."""
        self.wanted, self._others = tree_map_only(Tensor, _no_inference_tensor, (self.wanted, self._others))

    def forget(self) -> None:
        """Let go of the inputs and outputs of the last runs."""
        self._items, self._label, self._others = 0, None, ((), {})
        self.output = self.wanted = None

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``[B, M]`` of a batch."""
        arguments, words = self._others
        output = self.network(x, *arguments, **words)
        logits = logits_of(output)
        if len(x) != self._items:
            return logits
        self.output = output if self.output is None else self.output
        if self.wanted is None:
            self.wanted = wanted_of(logits, self._label)
        return scores_of(logits, self.wanted)


def is_segmentation(logits: Tensor) -> bool:
    """Whether an output is one value a voxel rather than one a scan."""
    return logits.ndim > 2


def scores_of(logits: Tensor, wanted: Wanted) -> Tensor:
    """One differentiable score for each wanted map, ``[B, M]``.

    A class of a segmentation network has as score the sum of its logits over the voxels where it is predicted (highest
    of its channels; above 0 where there is one channel). A class that is predicted nowhere scores 0 and has an empty
    map.

    Args:
        logits: ``[B]``, ``[B, K]`` or ``[B, K, *voxels]``.
        wanted: see ``wanted_of``.

    Raises:
        ValueError: if the mask of a function has another shape.

    Example:
        >>> logits = torch.tensor([[1.0, 3.0], [5.0, 2.0]])
        >>> scores_of(logits, wanted_of(logits, "best")).tolist()
        [[3.0], [5.0]]
    """
    logits = logits[:, None] if logits.ndim == 1 else logits
    if not isinstance(wanted, Tensor):
        return _masked(logits, wanted)
    return (_class_scores(logits) if is_segmentation(logits) else logits).gather(1, wanted)


def names_of(wanted: Wanted, items: int) -> list[list[str]]:
    """What the maps of each item are called: the index of their output, or "mask"."""
    return [[str(one) for one in row] for row in wanted.tolist()] if isinstance(wanted, Tensor) else [["mask"]] * items


def wanted_of(logits: Tensor, label: Label) -> Wanted:
    """Whose maps are wanted of an output: indices ``[B, M]``, or the function itself.

    Raises:
        ValueError: for a label out of range or of another kind.
    """
    logits = logits[:, None] if logits.ndim == 1 else logits
    return label if callable(label) else _wanted(logits, label)


def _wanted(logits: Tensor, label: Label) -> Tensor:
    """Indices ``[B, M]``."""
    items, count = logits.shape[:2]
    if label is None or isinstance(label, str):
        if label not in (None, *WORDS):
            msg = f"unknown label {label!r}: {did_you_mean(str(label), WORDS)}, an index, indices, or a function"
            raise ValueError(msg)
        if label == "all":
            return torch.arange(count, device=logits.device).expand(items, count)
        return _best(logits)[:, None]
    if isinstance(label, Tensor) and label.ndim == 1:  # one for each item
        if len(label) != items:
            msg = f"a tensor of labels holds one for each item of the batch: {items}, got {len(label)}"
            raise ValueError(msg)
        chosen = [[one] for one in label.tolist()]
    else:
        given = label.tolist() if isinstance(label, Tensor) else label
        try:
            one = [index(given)] if hasattr(given, "__index__") else [index(value) for value in given]  # type: ignore[union-attr]
        except TypeError:
            msg = f"label must be an index, indices, 'best', 'all', a tensor [B] or a function, got {label!r}"
            raise ValueError(msg) from None
        chosen = [one] * items
    wrong = [one for row in chosen for one in row if not 0 <= one < count]
    if wrong:
        msg = f"label {wrong[0]} is out of range; the network has outputs 0 to {count - 1}"
        raise ValueError(msg)
    return torch.tensor(chosen, dtype=torch.int64, device=logits.device)


def _best(logits: Tensor) -> Tensor:
    """The highest output of each item; of a segmentation the foreground class that is predicted at most voxels."""
    if not is_segmentation(logits):
        return logits.detach().argmax(1)
    voxels = _predicted(logits).flatten(2).sum(2)
    if logits.shape[1] == 1:
        return torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return voxels[:, 1:].argmax(1) + 1


def _predicted(logits: Tensor) -> Tensor:
    values = logits.detach()
    if logits.shape[1] == 1:
        return values > 0
    return torch.zeros_like(values, dtype=torch.bool).scatter_(1, values.argmax(1, keepdim=True), True)


def _class_scores(logits: Tensor) -> Tensor:
    return (logits * _predicted(logits)).flatten(2).sum(2)


def _masked(logits: Tensor, label: Callable[[Tensor], Tensor]) -> Tensor:
    mask = torch.as_tensor(label(logits.detach()), device=logits.device)
    if mask.shape != logits.shape:
        msg = f"the label function must give a mask of the output's shape {list(logits.shape)}, got {list(mask.shape)}"
        raise ValueError(msg)
    return (logits * mask.to(logits.dtype)).flatten(1).sum(1, keepdim=True)


def _no_inference_tensor(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.is_inference() else tensor


def _no_head(x: Tensor) -> None:
    """A score that is chosen anew for each batch has no linear head."""
