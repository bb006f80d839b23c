"""OrganIoU as a MONAI metric; the pure functions are in ``functional.organ_iou``, thresholds in ``thresholds``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from torch import Tensor

from .functional.organ_iou import Perfect, organ_iou, validate_perfect
from .presence import is_present

__all__ = ["OrganIoU"]


class OrganIoU(CumulativeIterationMetric):
    """OrganIoU pooled over (scan, label) pairs whose label is present; the MONAI form of ``organ_iou``.

    Call it per batch with ``y_pred`` = attention ``[B, M, *grid]``, ``y`` = allowed, same shape, and ``labels``
    ``[B, M]``, present above 0.5 (or with lists of single scans); absent labels are kept as NaN. Without ``labels`` a
    label counts as present where at least one cell is allowed. Then ``aggregate()``, and ``reset()`` before the next
    round.

    Args:
        threshold: one value in [0, 1), or one per label ``[M]``.
        perfect: ``"one"`` or ``"zero"``, see ``organ_iou``.
        reduction: ``"pooled"`` (mean over all pairs, as published), or one of MONAI's reductions, for example
            ``"mean_batch"`` for one value per label or ``"none"``.
        get_not_nans: whether ``aggregate`` also gives the number of pairs behind each value.

    Example:
        >>> metric = OrganIoU(threshold=0.5)
        >>> attention = torch.tensor([[[5.0, 0.0, -1.0], [5.0, 4.0, -1.0]]])
        >>> scores = metric(attention, torch.tensor([[[1, 0, 0], [1, 0, 0]]]))
        >>> metric.aggregate().item()
        0.75
    """

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.5,
        perfect: Perfect = "one",
        reduction: str = "pooled",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__()
        validate_perfect(perfect)
        self.threshold = threshold
        self.perfect: Perfect = perfect
        self.reduction = reduction
        self.get_not_nans = get_not_nans

    def __call__(self, y_pred: Any, y: Any = None, labels: Any = None) -> Tensor:  # type: ignore[override]
        """Score a batch and add it to the buffer; see the class for the arguments.

        Returns:
            ``[B, M]``, NaN where the label is absent.
        """
        if y is None:
            msg = "OrganIoU needs the allowed regions as y, [B, M, *grid] like the attention"
            raise ValueError(msg)
        if isinstance(y_pred, Tensor):
            scores = self._compute_tensor(y_pred.detach(), y, labels)
        else:
            given = [None] * len(y_pred) if labels is None else labels
            rows = (
                self._compute_tensor(p.detach()[None], torch.as_tensor(a)[None], None if t is None else t[None])
                for p, a, t in zip(y_pred, y, given, strict=True)
            )
            scores = torch.cat(list(rows))
        self.extend(scores)
        return scores

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: Tensor, y: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        attention, allowed = _plain(y_pred), _plain(torch.as_tensor(y)).to(y_pred.device)
        scores = organ_iou(attention, allowed, self.threshold, self.perfect)
        present = allowed.flatten(2).bool().any(-1) if labels is None else is_present(_plain(torch.as_tensor(labels)))
        if present.shape != scores.shape:
            msg = f"labels must be [B, M] = {tuple(scores.shape)}, got {tuple(present.shape)}"
            raise ValueError(msg)
        return scores.masked_fill(~present.to(scores.device), float("nan"))

    def aggregate(self, reduction: str | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Reduce the scores of all calls (of all processes); NaN where no pair has a present label.

        Args:
            reduction: overrides the constructor's.

        Returns:
            The value, or ``(value, number of pairs)`` with ``get_not_nans``.

        Raises:
            ValueError: if nothing has been scored yet.
        """
        scores = self.get_buffer()
        if not isinstance(scores, Tensor):
            msg = "OrganIoU has nothing to aggregate; call it on at least one batch first"
            raise ValueError(msg)
        how = reduction or self.reduction
        if how == "pooled":
            count = (~scores.isnan()).sum()
            value = scores.nanmean()
        else:
            value, count = do_metric_reduction(scores.clone(), how)
            if how != "none":  # MONAI gives 0 where nothing was defined, which would read as a bad score
                value = torch.where(count > 0, value.to(torch.float64), float("nan"))
        return (value, count) if self.get_not_nans else value


def _plain(tensor: Tensor) -> Tensor:
    """Without MONAI's metadata, which would travel through every operation."""
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
