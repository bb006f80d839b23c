"""OrganIoU as a MONAI metric; the pure functions are in ``functional.organ_iou``, thresholds in ``thresholds``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .functional.organ_iou import Fidelity, organ_iou, validate_fidelity
from .pair_metric import PairMetric

__all__ = ["OrganIoU"]


class OrganIoU(PairMetric):
    """OrganIoU pooled over (scan, label) pairs whose label is present; the MONAI form of ``organ_iou``.

    Call it per batch with ``y_pred`` = attention ``[B, M, *grid]``, ``y`` = allowed, same shape, and ``labels``
    ``[B, M]``; see ``PairMetric``.

    Args:
        threshold: one value in [0, 1), or one per label ``[M]``.
        fidelity: ``"default"`` or ``"reference"``, see ``organ_iou``.
        reduction: see ``PairMetric``; ``"pooled"`` is the published one.
        get_not_nans: see ``PairMetric``.

    Example:
        >>> import torch
        >>> metric = OrganIoU(threshold=0.5)
        >>> attention = torch.tensor([[[5.0, 0.0, -1.0], [5.0, 4.0, -1.0]]])
        >>> scores = metric(attention, torch.tensor([[[1, 0, 0], [1, 0, 0]]]))
        >>> metric.aggregate().item()
        0.75
    """

    meant = "allowed regions"

    def __init__(
        self,
        threshold: float | Sequence[float] | Tensor = 0.5,
        fidelity: Fidelity = "default",
        reduction: str = "pooled",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(reduction, get_not_nans)
        validate_fidelity(fidelity)
        self.threshold = threshold
        self.fidelity: Fidelity = fidelity

    def score(self, attention: Tensor, masks: Tensor) -> Tensor:
        """OrganIoU of every map, ``[B, M]``."""
        return organ_iou(attention, masks, self.threshold, self.fidelity)
