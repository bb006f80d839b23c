"""Weights for rare labels in the classification loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..metrics.presence import is_present

__all__ = ["classification_loss", "positive_weights"]


def positive_weights(labels: Tensor, lowest: float = 1.0, highest: float = 10.0) -> Tensor:
    """How much a present label counts against an absent one: absent per present scans, kept within bounds.

    As the code of Draelos and Carin (2020) does for its weighted cross-entropy: a label with more present than absent
    scans still counts once, one of hundreds absent ten times.

    Args:
        labels: ``[N, M]`` of the training scans, present above 0.5.
        lowest: bound.
        highest: bound, also for a label that is never present.

    Returns:
        ``[M]``, float32, for ``classification_loss``.

    Raises:
        ValueError: if there is no scan, a label is NaN, or the bounds are not 0 < lowest <= highest.

    Example:
        >>> labels = torch.zeros(16, 4)
        >>> for label, count in enumerate((1, 6, 4, 2)):
        ...     labels[:count, label] = 1
        >>> positive_weights(labels).tolist()
        [10.0, 1.6666666269302368, 3.0, 7.0]
    """
    if labels.ndim != 2 or not len(labels):
        msg = f"weights of labels need labels [N, M] of at least one scan, got {list(labels.shape)}"
        raise ValueError(msg)
    if not 0 < lowest <= highest:
        msg = f"weights of labels need bounds 0 < lowest <= highest, got {lowest} and {highest}"
        raise ValueError(msg)
    present = is_present(labels).sum(0).to(torch.float32)
    return ((len(labels) - present) / present).clamp(lowest, highest)


def classification_loss(logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy on logits, mean over scans and labels, in float32 (float64 stays).

    Args:
        logits: ``[B, M]``.
        labels: ``[B, M]``, 0 to 1.
        weights: ``[M]``, how much a present label counts, see ``positive_weights``; None for once.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> logits, labels = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
        >>> round(classification_loss(logits, labels, torch.tensor([3.0, 3.0])).item(), 4)  # (3 ln 2 + ln 2) / 2
        1.3863
    """
    if logits.shape != labels.shape or (weights is not None and weights.shape != logits.shape[1:]):
        given = None if weights is None else list(weights.shape)
        msg = (
            "the classification loss needs logits and labels [B, M] and weights [M] or None, got "
            f"{list(logits.shape)}, {list(labels.shape)} and {given}"
        )
        raise ValueError(msg)
    with torch.autocast(logits.device.type, enabled=False):
        exact = logits if logits.dtype == torch.float64 else logits.float()
        weight = None if weights is None else weights.to(exact)
        return functional.binary_cross_entropy_with_logits(exact, labels.to(exact.dtype), pos_weight=weight)
