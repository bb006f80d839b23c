"""Intervals by drawing patients anew: scans of one patient are no independent evidence.

A draw is a weight for each patient, so that means and AUROC of a thousand draws are a few products of matrices. The
same draws serve all models and methods: differences are paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_auroc", "bootstrap_means", "draw_weights", "interval", "pooled_draws"]

DRAWS = 1000
LEVEL = 0.95


def draw_weights(patients: Sequence[object], draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """How often each scan counts in each draw, ``[draws, N]``; the scans of a patient are drawn together.

    Args:
        patients: of the N scans.
        draws: how many.
        seed: of the random numbers.

    Raises:
        ValueError: without scans or draws.

    Example:
        >>> draw_weights(["a", "a", "b"], draws=3).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.0, 2.0]]
    """
    if not len(patients) or draws < 1:
        msg = f"draws need scans and a number of 1 or more, got {len(patients)} scans and {draws} draws"
        raise ValueError(msg)
    numbers: dict[object, int] = {}
    of_scan = np.array([numbers.setdefault(patient, len(numbers)) for patient in patients])
    rng = np.random.default_rng(seed)
    return rng.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=draws)[:, of_scan].astype(float)


def bootstrap_means(values: NDArray, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each column in each draw, over what is defined, ``[draws, K]``; NaN where a draw has nothing.

    Args:
        values: ``[N, K]``, NaN for what is not defined.
        weights: of ``draw_weights``.
    """
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (weights @ np.where(known, values, 0.0)) / (weights @ known)


def pooled_draws(values: NDArray, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over all that is defined in each draw, pooled over the columns, ``[draws]``.

    Args:
        values: ``[N, K]``, NaN for what is not defined.
        weights: of ``draw_weights``.

    Example:
        >>> pooled_draws(np.array([[1.0, 0.0], [np.nan, 0.5]]), np.array([[1.0, 1.0], [2.0, 0.0]])).tolist()
        [0.5, 0.5]
    """
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = (weights @ np.nansum(values, axis=1)) / (weights @ (~np.isnan(values)).sum(axis=1))
    return found


def bootstrap_auroc(scores: NDArray, present: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUROC of each label in each draw, ties half, ``[draws, M]``; NaN where a draw has one class only.

    Args:
        scores: ``[N, M]``.
        present: true labels, ``[N, M]``.
        weights: of ``draw_weights``.
    """
    areas = np.empty((len(weights), scores.shape[1]))
    for column in range(scores.shape[1]):
        order = np.argsort(scores[:, column], kind="stable")
        ordered = scores[order, column]
        levels = np.flatnonzero(np.append(True, np.diff(ordered) != 0))  # first scan of each score
        there = present[order, column]
        drawn = weights[:, order]
        positives = np.add.reduceat(drawn * there, levels, axis=1)
        negatives = np.add.reduceat(drawn * ~there, levels, axis=1)
        below = negatives.cumsum(axis=1) - negatives / 2
        with np.errstate(invalid="ignore"):
            areas[:, column] = (positives * below).sum(1) / (positives.sum(1) * negatives.sum(1))
    return areas


def interval(draws: NDArray[np.float64], level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval along the first axis, over the draws that are defined; NaN where fewer than half are.

    Example:
        >>> low, high = interval(np.arange(101.0)[:, None], 0.5)
        >>> low.item(), high.item()
        (25.0, 75.0)
    """
    known = np.isfinite(draws)
    enough = known.sum(0) * 2 >= len(draws)
    ordered = np.sort(np.where(known, draws, np.inf), axis=0)
    last = np.maximum(known.sum(0) - 1, 0)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        at = share * last
        lower = np.floor(at).astype(int)
        upper = np.minimum(lower + 1, last)
        left, right = (np.take_along_axis(ordered, place[None], 0)[0] for place in (lower, upper))
        with np.errstate(invalid="ignore"):
            ends.append(np.where(enough, left + (right - left) * (at - lower), np.nan))
    return ends[0], ends[1]
