"""The threshold at which a map counts as lit: chosen per label on validation scans, used on others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from .presence import is_present

__all__ = ["THRESHOLDS", "fill_thresholds", "find_thresholds"]

THRESHOLDS: tuple[float, ...] = (0.004, 0.008, 0.012, 0.016, *(round(0.02 * step, 2) for step in range(1, 50)))
"""The 53 published thresholds, ascending; each label gets the best of them on the validation scans."""


def find_thresholds(
    curves: Tensor | np.ndarray, labels: Tensor | np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> np.ndarray:
    """The best threshold of each label: highest mean OrganIoU over the scans in which the label is present.

    Choose on validation scans, score on others. Of equal means the smallest threshold is kept.

    Args:
        curves: OrganIoU of every scan, label and threshold, ``[N, M, T]`` (``organ_iou_curve``).
        labels: true labels ``[N, M]``, present above 0.5.
        thresholds: the T thresholds of the curves.

    Returns:
        float64 ``[M]``; NaN for a label that no scan has. :func:`fill_thresholds` makes those usable.

    Raises:
        ValueError: if the shapes do not belong together, or a label is NaN.
    """
    scores, present = _as_numpy(curves), is_present(_as_numpy(labels))
    if scores.ndim != 3 or scores.shape[:2] != present.shape or scores.shape[2] != len(thresholds):
        msg = (
            f"curves [N, M, T], labels [N, M] and T thresholds must belong together, got {scores.shape}, "
            f"{present.shape} and {len(thresholds)} thresholds"
        )
        raise ValueError(msg)
    best = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero(present.any(axis=0)):
        means = scores[present[:, label], label].mean(axis=0, dtype=np.float64)
        best[label] = thresholds[int(np.argmax(means))]  # argmax keeps the first, that is the smallest
    return best


def fill_thresholds(thresholds: np.ndarray | Tensor | Sequence[float], default: float = 0.5) -> np.ndarray:
    """Give labels without a threshold the median of the others.

    A label without a positive validation scan has no best threshold; the published code stops there. The median of the
    labels that have one is a guess: count such labels when reporting.

    Args:
        thresholds: one per label, NaN where there is none, ``[M]``.
        default: used when no label has a threshold at all.

    Returns:
        float64 ``[M]`` without NaN.
    """
    values = np.array(_as_numpy(thresholds), dtype=np.float64)
    missing = np.isnan(values)
    if missing.any():
        values[missing] = default if missing.all() else np.median(values[~missing])
    return values


def _as_numpy(values: Tensor | np.ndarray | Sequence[float]) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
