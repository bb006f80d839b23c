"""Where to cut a score: thresholds by sensitivity, by specificity or balanced, and what each means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .classification import validate_scores

__all__ = ["operating_points", "rates_at"]

Rule = Literal["balanced", "youden", "sensitivity", "specificity"]


def operating_points(
    scores: NDArray, labels: NDArray, names: Sequence[str] | None = None, by: Rule = "balanced", least: float = 0.9
) -> pd.DataFrame:
    """The threshold of each label by a rule, and what it gives on these scans; choose on validation scans.

    Candidates are the scores themselves; a scan is positive where its score is at least the threshold.

    Args:
        scores: any real scores, ``[N, M]`` (or ``[N]``).
        labels: 0 or 1, same shape.
        names: of the M labels; default label0 and so on.
        by: ``"balanced"`` (largest sensitivity x specificity, as in PYLON's evaluation), ``"youden"`` (largest sum),
            ``"sensitivity"`` (the highest threshold with a sensitivity of ``least``), ``"specificity"`` (the lowest
            one with a specificity of ``least``). Of equals the higher threshold is taken, of specificity the lower.
        least: in (0, 1], for the last two.

    Returns:
        One row a label: ``label, threshold, sensitivity, specificity, ppv, npv, positives, scans``; NaN for a label
        with one class only, and where nothing reaches ``least``.

    Raises:
        ValueError: see ``auroc``; for another rule or ``least``.

    Example:
        >>> operating_points(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])).iloc[0, 1:4].tolist()
        [0.8, 0.5, 1.0]
    """
    values, present = validate_scores(scores, labels)
    if by not in ("balanced", "youden", "sensitivity", "specificity") or not 0 < least <= 1:
        msg = f"by={by!r}, least={least!r}: legal are balanced, youden, sensitivity, specificity, and 0 < least <= 1"
        raise ValueError(msg)
    known = [f"label{column}" for column in range(values.shape[1])] if names is None else list(names)
    chosen = [_choose(values[:, column], present[:, column], by, least) for column in range(values.shape[1])]
    return rates_at(values, present, chosen, known)


def rates_at(
    scores: NDArray, labels: NDArray, thresholds: Sequence[float], names: Sequence[str] | None = None
) -> pd.DataFrame:
    """What thresholds that were chosen elsewhere give on these scans; the columns of ``operating_points``."""
    values, present = validate_scores(scores, labels)
    if len(thresholds) != values.shape[1]:
        msg = f"expected one threshold for each of the {values.shape[1]} labels, got {len(thresholds)}"
        raise ValueError(msg)
    known = [f"label{column}" for column in range(values.shape[1])] if names is None else list(names)
    rows = []
    for column, (name, threshold) in enumerate(zip(known, thresholds, strict=True)):
        there = present[:, column]
        said = values[:, column] >= threshold
        rates = [np.nan] * 4
        if not np.isnan(threshold):
            rates = [
                _share(said & there, there),
                _share(~said & ~there, ~there),
                _share(said & there, said),
                _share(~said & ~there, ~said),
            ]
        rows.append((name, threshold, *rates, int(there.sum()), len(there)))
    columns = ["label", "threshold", "sensitivity", "specificity", "ppv", "npv", "positives", "scans"]
    return pd.DataFrame(rows, columns=columns)


def _choose(values: NDArray[np.float64], present: NDArray[np.bool_], by: str, least: float) -> float:
    if present.all() or not present.any():
        return float("nan")
    levels, position = np.unique(values, return_inverse=True)
    positives = np.bincount(position[present], minlength=len(levels))
    negatives = np.bincount(position[~present], minlength=len(levels))
    sensitivity = positives[::-1].cumsum()[::-1] / present.sum()
    specificity = 1 - negatives[::-1].cumsum()[::-1] / (~present).sum()
    if by == "specificity":
        reached = np.flatnonzero(specificity >= least)
        return float(levels[reached[0]]) if reached.size else float("nan")
    if by == "sensitivity":
        return float(levels[np.flatnonzero(sensitivity >= least)[-1]])
    worth = sensitivity * specificity if by == "balanced" else sensitivity + specificity
    return float(levels[len(levels) - 1 - int(np.argmax(worth[::-1]))])


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else float("nan")
