"""Do probabilities mean what they say: reliability of each label, and the one number of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .classification import validate_scores

__all__ = ["expected_calibration_error", "reliability_table"]

BINS = 10


def reliability_table(
    probabilities: NDArray, labels: NDArray, names: Sequence[str] | None = None, bins: int = BINS
) -> pd.DataFrame:
    """For every label and bin of the predicted probability: what was predicted, what was there, and how often.

    Bins have equal width; a probability on an edge counts in the bin below it, as in scikit-learn's
    ``calibration_curve``. Plot ``observed`` over ``predicted`` for a reliability diagram.

    Args:
        probabilities: in [0, 1], ``[N, M]`` (or ``[N]``).
        labels: 0 or 1, same shape.
        names: of the M labels; default label0 and so on.
        bins: how many.

    Returns:
        One row a label and bin that is not empty: ``label, low, high, predicted, observed, scans``.

    Raises:
        ValueError: see ``auroc``; for values outside [0, 1] (logits need a sigmoid), or fewer than one bin.

    Example:
        >>> reliability_table(np.array([0.1, 0.2, 0.9]), np.array([0, 1, 1]), bins=2).values.tolist()[0]
        ['label0', 0.0, 0.5, 0.15000000000000002, 0.5, 2]
    """
    values, present = validate_scores(probabilities, labels)
    if bins < 1 or values.min() < 0 or values.max() > 1:
        msg = (
            f"probabilities must lie in [0, 1] and bins be 1 or more, got {values.min()} to {values.max()}, {bins} bins"
        )
        raise ValueError(msg)
    known = [f"label{column}" for column in range(values.shape[1])] if names is None else list(names)
    edges = np.linspace(0, 1, bins + 1)
    rows = []
    for column, name in enumerate(known):
        inside = np.searchsorted(edges[1:-1], values[:, column])
        for number in np.unique(inside):
            here = inside == number
            predicted, observed = values[here, column].mean(), present[here, column].mean()
            rows.append((name, edges[number], edges[number + 1], float(predicted), float(observed), int(here.sum())))
    return pd.DataFrame(rows, columns=["label", "low", "high", "predicted", "observed", "scans"])


def expected_calibration_error(probabilities: NDArray, labels: NDArray, bins: int = BINS) -> NDArray[np.float64]:
    """ECE of each label: mean over its scans of how far their bin's predicted probability is from what was there.

    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning" (2015), with bins of
    equal width, for each label by itself. It depends on the bins, and a model that always says the prevalence has 0.

    Args:
        probabilities: in [0, 1], ``[N, M]`` (or ``[N]``).
        labels: 0 or 1, same shape.
        bins: how many.

    Returns:
        float64 ``[M]``.

    Example:
        >>> expected_calibration_error(np.array([0.1, 0.2, 0.9]), np.array([0, 1, 1]), bins=2).round(4).tolist()
        [0.2667]
    """
    table = reliability_table(probabilities, labels, bins=bins)
    gaps = (table["predicted"] - table["observed"]).abs() * table["scans"]
    sums = gaps.groupby(table["label"], sort=False).sum()
    return (sums / len(np.asarray(probabilities))).to_numpy(dtype=np.float64)
