"""Figures of two models on the same draws of the patients, and the interval of their difference."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..metrics import bootstrap_auroc, draw_weights, interval

__all__ = ["DRAWS", "Difference", "auroc_median", "difference", "mean_of_pairs", "patient_draws"]

DRAWS = 2000


class Difference(NamedTuple):
    """A figure of a model minus that of another, and its interval; NaN where it cannot be told."""

    value: float
    low: float
    high: float


def patient_draws(patients: Sequence[str], seed: int, draws: int = DRAWS) -> NDArray[np.float64]:
    """How often each scan counts, ``[1 + draws, N]``: as it is in the first row, then as its patient was drawn.

    Models that are measured on the same rows are paired.

    Args:
        patients: whose each of the N scans is; scans of one patient come and go together.
        seed: of the draws.
        draws: how many.
    """
    return np.concatenate([np.ones((1, len(patients))), draw_weights(patients, draws, seed)])


def mean_of_pairs(values: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
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
    scores: NDArray[np.floating], present: NDArray[np.bool_], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Median over labels of the AUROC, in each draw; labels with one class only are left out of it.

    Args:
        scores: ``[N, M]``.
        present: ``[N, M]``.
        draws: ``[B, N]``, see `patient_draws`.

    Returns:
        ``[B]``, NaN for a draw without any such label.
    """
    areas = bootstrap_auroc(scores, present, draws)
    defined = ~np.isnan(areas).all(axis=1)
    medians = np.full(len(draws), nan)
    medians[defined] = np.nanmedian(areas[defined], axis=1)
    return medians


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Difference:
    """A figure of one model minus that of another over the same draws, with its 95 % percentile interval.

    Args:
        ours: ``[B]``, the first one of the scans as they are.
        theirs: likewise.
    """
    between = (ours - theirs)[:, None]
    low, high = interval(between[1:])
    return Difference(between[0].item(), low.item(), high.item())
