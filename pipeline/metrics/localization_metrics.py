"""Pointing, energy, overlap and recall as MONAI metrics; the pure functions are in ``functional``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .functional.localization import energy_pointing, pointing_accuracy
from .functional.overlap import localization_hits, mask_overlap
from .functional.peaks import lesion_recall
from .pair_metric import PairMetric

__all__ = ["EnergyPointing", "LesionRecall", "LocalizationAccuracy", "PointingAccuracy"]


class PointingAccuracy(PairMetric):
    """Share of pairs whose highest cell touches the lesion; the MONAI form of ``pointing_accuracy``.

    Args:
        tolerance: see there.
        reduction: see ``PairMetric``.
        get_not_nans: see there.

    Example:
        >>> import torch
        >>> metric = PointingAccuracy()
        >>> _ = metric(torch.tensor([[[5.0, 1.0], [0.0, 2.0]]]), torch.tensor([[[1, 0], [1, 0]]]))
        >>> metric.aggregate().item()
        0.5
    """

    meant = "lesions"

    def __init__(
        self, tolerance: int | Sequence[int] = 0, reduction: str = "pooled", get_not_nans: bool = False
    ) -> None:
        super().__init__(reduction, get_not_nans)
        self.tolerance = tolerance

    def score(self, attention: Tensor, masks: Tensor) -> Tensor:
        """1 hit, 0 miss, NaN without a lesion, ``[B, M]``."""
        return pointing_accuracy(attention, masks, self.tolerance)


class EnergyPointing(PairMetric):
    """Share of the positive evidence inside the mask; the MONAI form of ``energy_pointing``."""

    def score(self, attention: Tensor, masks: Tensor) -> Tensor:
        """Shares, NaN without positive evidence, ``[B, M]``."""
        return energy_pointing(attention, masks)


class LocalizationAccuracy(PairMetric):
    """Share of pairs whose lit cells overlap the mask enough; the MONAI form of ``localization_hits``.

    Args:
        least: see ``localization_hits``.
        by: see there.
        threshold: share of the largest value above which a cell is lit.
        reduction: see ``PairMetric``.
        get_not_nans: see there.
    """

    def __init__(
        self,
        least: float = 0.1,
        by: str = "ior or iou",
        threshold: float = 0.5,
        reduction: str = "pooled",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(reduction, get_not_nans)
        self.least, self.by, self.threshold = least, by, threshold

    def score(self, attention: Tensor, masks: Tensor) -> Tensor:
        """1 hit, 0 miss, NaN for an empty mask, ``[B, M]``."""
        return localization_hits(mask_overlap(attention, masks, self.threshold), self.least, self.by)


class LesionRecall(PairMetric):
    """Share of a scan's lesions among the k highest places, mean over pairs; the MONAI form of ``lesion_recall``.

    Args:
        k: how many places.
        distance: see ``lesion_recall``.
        reduction: see ``PairMetric``.
        get_not_nans: see there.
    """

    meant = "lesions, a number each,"

    def __init__(
        self,
        k: int = 1,
        distance: int | Sequence[int] = 1,
        reduction: str = "pooled",
        get_not_nans: bool = False,
    ) -> None:
        super().__init__(reduction, get_not_nans)
        self.k, self.distance = k, distance

    def score(self, attention: Tensor, masks: Tensor) -> Tensor:
        """Recall, NaN without a lesion, ``[B, M]``."""
        return lesion_recall(attention, masks, (self.k,), self.distance)[..., 0]
