"""Scores by what makes a task hard: size of the lesion, number of lesions, confidence of the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["by_strata", "strata_edges"]

STRATA = 3


def strata_edges(values: NDArray[np.float64], strata: int = STRATA) -> list[float]:
    """Edges that put about as many values into each stratum; fewer where many values are equal.

    Example:
        >>> strata_edges(np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
        [2.6666666666666665, 4.333333333333333]
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return []
    edges = np.unique(np.quantile(known, np.arange(1, strata) / strata))
    return [float(edge) for edge in edges if known.min() < edge <= known.max()]


def by_strata(
    scores: NDArray[np.float64], of: NDArray[np.float64], edges: Sequence[float] | None = None
) -> pd.DataFrame:
    """Mean score in each stratum of something else.

    Args:
        scores: of any shape, NaN for what was not measured.
        of: what strata are made of, same shape, such as the size of the lesion.
        edges: ascending; a value on an edge is in the stratum above. None for strata of about equal count.

    Returns:
        One row a stratum that is not empty: ``low, high, mean, count``; the outermost ends are those of the values.

    Raises:
        ValueError: for different shapes or edges that do not ascend.

    Example:
        >>> by_strata(np.array([0.0, 1.0, 1.0, 1.0]), np.array([5.0, 8.0, 20.0, 30.0]), [10.0]).values.tolist()
        [[5.0, 10.0, 0.5, 2.0], [10.0, 30.0, 1.0, 2.0]]
    """
    if scores.shape != of.shape:
        msg = f"scores and what strata are made of must have the same shape, got {scores.shape} and {of.shape}"
        raise ValueError(msg)
    known = np.isfinite(scores) & np.isfinite(of)
    values, sizes = scores[known], of[known]
    limits = strata_edges(sizes) if edges is None else [float(edge) for edge in edges]
    if limits != sorted(set(limits)):
        msg = f"edges must ascend, got {limits}"
        raise ValueError(msg)
    rows = []
    place = np.searchsorted(limits, sizes, side="right")
    ends = [float(sizes.min()), *limits, float(sizes.max())] if sizes.size else []
    for stratum in np.unique(place):
        here = place == stratum
        rows.append((ends[stratum], ends[stratum + 1], float(values[here].mean()), int(here.sum())))
    return pd.DataFrame(rows, columns=["low", "high", "mean", "count"])
