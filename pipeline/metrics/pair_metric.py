"""What all MONAI metrics of maps have in common: scores of (scan, label) pairs, gathered and reduced."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from torch import Tensor

from .presence import is_present

__all__ = ["PairMetric"]


class PairMetric(CumulativeIterationMetric):
    """Scores of maps against a mask a label, over the pairs whose label is present; subclasses say which score.

    Call it per batch with ``y_pred`` = attention ``[B, M, *grid]``, ``y`` = masks, same shape, and ``labels``
    ``[B, M]``, present above 0.5 (or with lists of single scans); absent labels are kept as NaN. Without ``labels`` a
    label counts as present where its mask is not empty. Then ``aggregate()``, and ``reset()`` before the next round.

    Args:
        reduction: ``"pooled"`` (mean over all pairs), ``"macro"`` (mean over the labels' means), or one of MONAI's
            reductions, for example ``"mean_batch"`` for one value per label or ``"none"``.
        get_not_nans: whether ``aggregate`` also gives the number of pairs behind each value (of labels for macro).
    """

    meant: ClassVar[str] = "masks"
    """What ``y`` is, in messages."""

    def __init__(self, reduction: str = "pooled", get_not_nans: bool = False) -> None:
        super().__init__()
        self.reduction = reduction
        self.get_not_nans = get_not_nans

    def score(self, attention: Tensor, masks: Tensor) -> Tensor:
        """Scores ``[B, M]`` of maps and masks of the same shape ``[B, M, *grid]``."""
        raise NotImplementedError

    def __call__(self, y_pred: Any, y: Any = None, labels: Any = None) -> Tensor:  # type: ignore[override]
        """Score a batch and add it to the buffer; see the class for the arguments.

        Returns:
            ``[B, M]``, NaN where the label is absent.
        """
        if y is None:
            msg = f"{type(self).__name__} needs the {self.meant} as y, [B, M, *grid] like the attention"
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
        attention, masks = _plain(y_pred), _plain(torch.as_tensor(y)).to(y_pred.device)
        scores = self.score(attention, masks)
        present = masks.flatten(2).bool().any(-1) if labels is None else is_present(_plain(torch.as_tensor(labels)))
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
            msg = f"{type(self).__name__} has nothing to aggregate; call it on at least one batch first"
            raise ValueError(msg)
        how = reduction or self.reduction
        if how in ("pooled", "macro"):
            parts = scores if how == "pooled" else scores.nanmean(0)
            count, value = (~parts.isnan()).sum(), parts.nanmean()
        else:
            value, count = do_metric_reduction(scores.clone(), how)
            if how != "none":  # MONAI gives 0 where nothing was defined, which would read as a bad score
                value = torch.where(count > 0, value.to(torch.float64), float("nan"))
        return (value, count) if self.get_not_nans else value


def _plain(tensor: Tensor) -> Tensor:
    """Without MONAI's metadata, which would travel through every operation."""
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
