"""Which labels a model tells better or worse than another one on the same scans, with intervals."""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from .scores import SplitScores

__all__ = ["AurocDifference", "auroc_difference", "gains_table"]

LEVEL = 0.95


class AurocDifference(NamedTuple):
    """AUROC of two models on the same scans, their difference, and its interval; NaN where it cannot be told."""

    first: float
    second: float
    difference: float
    low: float
    high: float


def auroc_difference(
    first: NDArray, second: NDArray, present: NDArray[np.bool_], level: float = LEVEL
) -> AurocDifference:
    """AUROC of the second model minus that of the first, for one label, with DeLong's interval.

    DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 1988: the variance of the difference of two areas that were measured on the same
    scans, from the share of the other class that each scan is ranked above. No random numbers; scans count as
    independent, so that with several scans a patient the interval is too narrow. Limits are cut at -1 and 1.

    Args:
        first: scores of one model ``[N]``.
        second: scores of the other ``[N]``.
        present: true label ``[N]``.
        level: of the interval.

    Returns:
        NaN throughout for a label with one class only; without limits where a class has a single scan.

    Example:
        >>> present = np.array([True, True, False, False])
        >>> auroc_difference(np.array([2, 0, 1, 1]), np.array([3, 2, 1, 0]), present).difference
        0.5
    """
    positives, negatives = int(present.sum()), int((~present).sum())
    if not positives or not negatives:
        return AurocDifference(nan, nan, nan, nan, nan)
    shares = [_shares(np.asarray(scores, dtype=np.float64), present) for scores in (first, second)]
    area, other = (float(of_positives.mean()) for of_positives, _ in shares)
    difference = other - area
    if min(positives, negatives) == 1:
        return AurocDifference(area, other, difference, nan, nan)
    variance = sum(
        float(np.var(shares[1][side] - shares[0][side], ddof=1)) / n for side, n in ((0, positives), (1, negatives))
    )
    reach = float(norm.ppf(0.5 + level / 2)) * float(np.sqrt(variance))
    return AurocDifference(area, other, difference, max(difference - reach, -1.0), min(difference + reach, 1.0))


def _shares(scores: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """Share of negatives below each positive, share of positives above each negative; ties count half."""
    ranks = rankdata(scores)
    above = ranks[present] - rankdata(scores[present])
    below = ranks[~present] - rankdata(scores[~present])
    return above / (~present).sum(), 1 - below / present.sum()


def gains_table(
    model: str, reference: str, split: str, labels: tuple[str, ...], scores: SplitScores, others: SplitScores
) -> pd.DataFrame:
    """One row a label: AUROC of a model and of a reference on the scans that both have.

    Args:
        model: its name.
        reference: name of the model that it is compared with.
        split: of the scans.
        labels: names of the M labels, the same for both.
        scores: of the model.
        others: of the reference.

    Returns:
        ``model, reference, split, label, auroc, reference_auroc, difference, low, high, change, positives, scans``;
        ``change`` is ``gained`` or ``lost`` where the interval of the difference leaves 0 out, else ``unclear``, and
        empty where nothing could be measured.
    """
    rows_of_others = {scan_id: row for row, scan_id in enumerate(others.scan_ids)}
    pairs = [(row, rows_of_others[scan_id]) for row, scan_id in enumerate(scores.scan_ids) if scan_id in rows_of_others]
    here, there = [row for row, _ in pairs], [row for _, row in pairs]
    rows = []
    for column, label in enumerate(labels):
        present = scores.present[here, column]
        found = auroc_difference(others.logits[there, column], scores.logits[here, column], present)
        rows.append(
            {
                "model": model,
                "reference": reference,
                "split": split,
                "label": label,
                "auroc": found.second,
                "reference_auroc": found.first,
                "difference": found.difference,
                "low": found.low,
                "high": found.high,
                "change": _change(found),
                "positives": int(present.sum()),
                "scans": len(pairs),
            }
        )
    return pd.DataFrame(rows)


def _change(found: AurocDifference) -> str:
    if np.isnan(found.difference):
        return ""
    if found.low > 0:
        return "gained"
    return "lost" if found.high < 0 else "unclear"
