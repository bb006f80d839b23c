"""Differences between models on the same scans, with intervals from drawing the patients again and again."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Difference", "auroc_median", "difference", "mean_of_pairs", "patient_draws"]

DRAWS = 2000
LEVEL = 0.95


class Difference(NamedTuple):
    """A figure of a model minus that of another, and its interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float


def patient_draws(patients: Sequence[str], seed: int, draws: int = DRAWS) -> NDArray[np.int64]:
    """How often each scan is in each draw of as many patients as there are, with replacement, ``[1 + draws, N]``.

    The first row is the scans as they are. Models that are measured on the same rows are paired.

    Args:
        patients: whose each of the N scans is; scans of one patient come and go together.
        seed: of the draws.
        draws: how many.
    """
    names, of_scan = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return np.concatenate([np.ones((1, len(of_scan)), np.int64), drawn[:, of_scan.ravel()]])


def mean_of_pairs(values: NDArray[np.float64], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over all pairs of a scan and a label that are defined, in each draw.

    Args:
        values: ``[N, M]``, NaN where not defined.
        draws: ``[B, N]``, see `patient_draws`.

    Returns:
        ``[B]``, NaN for a draw without any.
    """
    counts = draws @ (~np.isnan(values)).sum(axis=1)
    sums = draws @ np.nansum(values, axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), nan)


def auroc_median(
    scores: NDArray[np.floating], present: NDArray[np.bool_], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Median over labels of the AUROC, in each draw; labels with one class only are left out of it.

    Args:
        scores: ``[N, M]``.
        present: ``[N, M]``.
        draws: ``[B, N]``, see `patient_draws`.

    Returns:
        ``[B]``, NaN for a draw without any such label.
    """
    areas = np.stack([_aurocs(*column, draws) for column in zip(scores.T, present.T, strict=True)])
    defined = ~np.isnan(areas).all(axis=0)
    medians = np.full(len(draws), nan)
    medians[defined] = np.nanmedian(areas[:, defined], axis=0)
    return medians


def _aurocs(scores: NDArray, present: NDArray[np.bool_], draws: NDArray[np.int64]) -> NDArray[np.float64]:
    """AUROC of one label in each draw: share of pairs of a positive and a negative in the right order, ties half."""
    order = np.argsort(scores, kind="stable")
    ranked, positive = scores[order], present[order]
    negatives = np.where(positive, 0, draws[:, order])
    until = np.concatenate([np.zeros((len(draws), 1), np.int64), negatives.cumsum(axis=1)], axis=1)
    below = until[:, np.searchsorted(ranked, ranked[positive], "left")]
    not_above = until[:, np.searchsorted(ranked, ranked[positive], "right")]
    times = draws[:, order][:, positive]
    right, pairs = (times * (below + not_above)).sum(axis=1) / 2, times.sum(axis=1) * until[:, -1]
    return np.where(pairs > 0, right / np.maximum(pairs, 1), nan)


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64], level: float = LEVEL) -> Difference:
    """A figure of one model minus that of another over the same draws, with its percentile interval.

    Args:
        ours: ``[B]``, the first one of the scans as they are.
        theirs: likewise.
        level: of the interval.
    """
    drawn = (ours - theirs)[1:]
    drawn = drawn[~np.isnan(drawn)]
    value = float(ours[0] - theirs[0])
    if np.isnan(value) or not len(drawn):
        return Difference(value, nan, nan)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Difference(value, float(low), float(high))
