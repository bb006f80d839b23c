"""Classification metrics of multi-label scores, one value per label; plain numpy.

AUROC as the tie-correct rank statistic and average precision without interpolation, both equal to scikit-learn's;
accuracy and top-k as in the published evaluation. A label whose class is the same in every scan has no AUROC and no
average precision: both are NaN here, where the published code gives an average precision of 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

__all__ = ["accuracy", "auroc", "average_precision", "classification_table", "median_of_defined", "top_k"]


def median_of_defined(values: np.ndarray) -> float:
    """Median over the labels that have a value; NaN where none has.

    Example:
        >>> median_of_defined(np.array([0.5, np.nan, 1.0]))
        0.75
    """
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def auroc(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Area under the ROC curve per label: the chance that a positive scan scores above a negative one, ties half.

    Args:
        scores: any real scores, larger for positive, ``[N, M]`` (or ``[N]`` for a single label).
        labels: 0 or 1, same shape.

    Returns:
        float64 ``[M]``; NaN for a label with one class only.

    Raises:
        ValueError: for different shapes, other label values than 0 and 1, or NaN scores.

    Example:
        >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])).tolist()
        [0.875]
    """
    values, present = validate_scores(scores, labels)
    positives = present.sum(axis=0)
    negatives = len(present) - positives
    ranks = rankdata(values, axis=0)
    wins = np.where(present, ranks, 0).sum(axis=0) - positives * (positives + 1) / 2
    with np.errstate(invalid="ignore"):
        return wins / (positives * negatives)  # 0 / 0 is NaN on purpose


def average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision per label: the sum over score levels of precision times the recall gained there.

    Args:
        scores: any real scores, larger for positive, ``[N, M]`` (or ``[N]``).
        labels: 0 or 1, same shape.

    Returns:
        float64 ``[M]``; NaN for a label with one class only.

    Raises:
        ValueError: see :func:`auroc`.

    Example:
        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([1, 0, 1])).tolist()
        [0.8333333333333333]
    """
    values, present = validate_scores(scores, labels)
    return np.array([_average_precision(values[:, m], present[:, m]) for m in range(values.shape[1])])


def accuracy(scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Share of scans per label whose score is on the right side of the threshold.

    Args:
        scores: probabilities (for logits take ``threshold=0``), ``[N, M]`` (or ``[N]``).
        labels: 0 or 1, same shape.
        threshold: a score of at least this counts as positive.

    Returns:
        float64 ``[M]``.

    Raises:
        ValueError: see :func:`auroc`.
    """
    values, present = validate_scores(scores, labels)
    return ((values >= threshold) == present).mean(axis=0)


def top_k(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For k = 1 to M the share of a scan's true labels among its k highest scores.

    As published: the denominator is min(k, number of true labels), and a scan without a true label counts 1. Of equal
    scores in a scan the earlier label is taken first.

    Args:
        scores: any real scores, ``[N, M]``.
        labels: 0 or 1, same shape.

    Returns:
        float64 ``[N, M]``: row a scan, column k - 1. Its mean over rows is the published table.

    Raises:
        ValueError: see :func:`auroc`.
    """
    values, present = validate_scores(scores, labels)
    order = np.argsort(-values, axis=1, kind="stable")
    found = np.take_along_axis(present, order, axis=1).cumsum(axis=1)
    possible = np.minimum(np.arange(1, values.shape[1] + 1), present.sum(axis=1, keepdims=True))
    return np.where(possible > 0, found / np.maximum(possible, 1), 1.0)


def classification_table(scores: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """All per-label metrics side by side.

    Args:
        scores: probabilities, ``[N, M]``.
        labels: 0 or 1, ``[N, M]``.
        names: M label names.

    Returns:
        One row per label: ``label, positives, scans, auroc, average_precision, accuracy``.

    Raises:
        ValueError: see :func:`auroc`; or the names do not fit.
    """
    values, present = validate_scores(scores, labels)
    if len(names) != values.shape[1]:
        msg = f"expected one name for each of the {values.shape[1]} labels, got {len(names)}"
        raise ValueError(msg)
    return pd.DataFrame(
        {
            "label": list(names),
            "positives": present.sum(axis=0),
            "scans": len(present),
            "auroc": auroc(values, present),
            "average_precision": average_precision(values, present),
            "accuracy": accuracy(values, present),
        }
    )


def _average_precision(values: np.ndarray, present: np.ndarray) -> float:
    positives = int(present.sum())
    if positives in (0, len(present)):
        return float("nan")
    order = np.argsort(-values, kind="stable")
    last_of_level = np.append(np.diff(values[order]) != 0, True)  # tied scans enter together
    hits = present[order].cumsum()[last_of_level]
    taken = np.flatnonzero(last_of_level) + 1
    return float(np.sum(np.diff(hits, prepend=0) * hits / taken) / positives)


def validate_scores(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, present = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim == 1:
        values, present = values[:, None], present.reshape(-1, 1)
    if values.ndim != 2 or values.shape != present.shape or values.size == 0:
        msg = f"scores and labels must both be [N, M] and not be empty, got {values.shape} and {present.shape}"
        raise ValueError(msg)
    if np.isnan(values).any():
        msg = f"scores hold NaN, first in row {np.argwhere(np.isnan(values))[0][0]}"
        raise ValueError(msg)
    if not np.isin(present, (0, 1)).all():
        msg = f"labels must hold 0 and 1 only, got {np.unique(present)[:5].tolist()}"
        raise ValueError(msg)
    return values, present.astype(bool)
