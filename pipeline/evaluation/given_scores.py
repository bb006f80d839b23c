"""Tables of given scores and of maps against lesions, with intervals by patient, and by what makes a lesion hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from ..metrics import (
    auroc,
    average_precision,
    bootstrap_auroc,
    bootstrap_means,
    expected_calibration_error,
    interval,
    pooled_draws,
)
from ..metrics.classification import median_of_defined
from .given import LESION_CELLS, Contestant
from .strata import by_strata

__all__ = ["classification_of", "localization_of"]


def classification_of(
    model: str, scores: NDArray, present: NDArray[np.bool_], names: Sequence[str], weights: NDArray[np.float64]
) -> pd.DataFrame:
    """AUROC with interval, average precision and calibration error of each label, and their medians.

    Args:
        model: its name.
        scores: logits ``[N, M]``, NaN for scans without any.
        present: true labels.
        names: of the labels.
        weights: of ``draw_weights``.
    """
    there = ~np.isnan(scores).any(axis=1)
    drawn = bootstrap_auroc(scores[there], present[there], weights[:, there])
    low, high = interval(drawn)
    table = pd.DataFrame(
        {
            "label": list(names),
            "positives": present[there].sum(0),
            "scans": int(there.sum()),
            "auroc": auroc(scores[there], present[there]),
            "low": low,
            "high": high,
            "average_precision": average_precision(scores[there], present[there]),
            "calibration_error": expected_calibration_error(expit(scores[there]), present[there]),
        }
    )
    ends = interval(np.array([[median_of_defined(areas)] for areas in drawn]))
    medians = {name: median_of_defined(table[name].to_numpy()) for name in table.columns[3:]}
    total = {"label": "median", "positives": int(table["positives"].sum()), "scans": int(there.sum())}
    table.loc[len(table)] = pd.Series({**total, **medians, "low": ends[0][0], "high": ends[1][0]})
    table.insert(0, "model", model)
    return table


def localization_of(
    contestant: Contestant,
    own: Mapping[str, NDArray[np.float64]],
    names: Sequence[str],
    scored: NDArray[np.intp],
    weights: NDArray[np.float64],
    scores: NDArray[np.float64] | None,
) -> pd.DataFrame:
    """Every measure pooled, macro, by label, and in thirds of the lesions' size and of the model's score.

    Args:
        contestant: whose maps.
        own: measure -> ``[rows, M]``, with the cells of the lesions among them.
        names: of the labels.
        scored: rows that are scored.
        weights: of ``draw_weights``.
        scores: logits ``[rows, M]``, if there are any.
    """
    rows = []
    sizes = own[LESION_CELLS][scored]
    for measure, values in own.items():
        here = values[scored]
        known = np.flatnonzero((~np.isnan(here)).any(axis=0)).tolist()
        if measure == LESION_CELLS or not known:
            continue
        low, high = interval(bootstrap_means(here, weights))
        means = {column: float(np.nanmean(here[:, column])) for column in known}
        counts = (~np.isnan(here)).sum(axis=0)
        ends = interval(pooled_draws(here, weights)[:, None])
        mean = float(np.nanmean(here))
        rows.append((measure, "overall", "overall", mean, ends[0][0], ends[1][0], int(counts.sum())))
        macro = float(np.mean(list(means.values())))
        rows.append((measure, "macro", "macro", macro, np.nan, np.nan, len(known)))
        rows += [
            (measure, "label", names[column], means[column], low[column], high[column], int(counts[column]))
            for column in known
        ]
        for by, of in ((LESION_CELLS, sizes), ("score", None if scores is None else scores[scored])):
            for part in [] if of is None else by_strata(here, of).to_dict("records"):
                name = f"{part['low']:.3g} to {part['high']:.3g}"
                rows.append((measure, by, name, part["mean"], np.nan, np.nan, part["count"]))
    table = pd.DataFrame(rows, columns=["measure", "by", "name", "mean", "low", "high", "count"])
    table.insert(0, "method", contestant.method)
    table.insert(0, "model", contestant.model)
    return table
