"""Summaries of per-pair scores by label, by concept group and by the number of labels a scan has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from organcam.catalogue import region_labels

__all__ = ["concept_groups", "summarise_scores"]


def concept_groups(names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The published concept groups: focal, diffuse, biological, intervention, and the four regions.

    Args:
        names: label names; those outside the 80 region labels belong to no group.

    Returns:
        Group name -> positions in ``names``, all eight groups, some perhaps empty.
    """
    known = {label.name: label for label in region_labels()}
    groups: dict[str, list[int]] = {
        name: []
        for name in (
            *("focal", "diffuse", "biological", "intervention"),
            *("great_vessel", "mediastinum", "heart", "lung"),
        )
    }
    for position, name in enumerate(names):
        label = known.get(name)
        if label is not None:
            for group in (label.extent, label.origin, label.region.removeprefix("h_")):
                groups[group].append(position)
    return {name: tuple(members) for name, members in groups.items()}


def summarise_scores(
    scores: np.ndarray, names: Sequence[str], groups: Mapping[str, Sequence[int]] | None = None
) -> pd.DataFrame:
    """Mean, population standard deviation and number of (scan, label) pairs, pooled over pairs.

    Pooled as in the paper: a group's mean is over its pairs, so that frequent labels weigh more; the mean of the
    labels' means is the row ``macro``, whose count is that of labels.

    Args:
        scores: one score per scan and label, NaN where the label is absent, ``[N, M]``.
        names: M label names.
        groups: group name -> positions in ``names``; default :func:`concept_groups`.

    Returns:
        One row per summary with columns ``by`` (``overall``, ``macro``,
        ``group``, ``label`` or ``labels_per_scan``), ``name``,
        ``mean``, ``std``, ``count``; mean and std are NaN where count is 0.

    Raises:
        ValueError: if ``scores`` is not ``[N, M]``.

    Example:
        >>> table = summarise_scores(np.array([[1.0, np.nan], [0.0, 0.5]]), ["lung_nodule", "heart_stent"])
        >>> table.query("by == 'overall'")[["mean", "count"]].values.tolist()
        [[0.5, 3.0]]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        msg = f"scores must be [N, M] with one column for each of the {len(names)} names, got {values.shape}"
        raise ValueError(msg)
    chosen = concept_groups(names) if groups is None else groups
    rows = [_row("overall", "overall", values), _macro(values)]
    rows += [_row("group", group, values[:, list(members)]) for group, members in chosen.items()]
    rows += [_row("label", name, values[:, [position]]) for position, name in enumerate(names)]
    per_scan = (~np.isnan(values)).sum(axis=1)
    rows += [_row("labels_per_scan", str(n), values[per_scan == n]) for n in np.unique(per_scan[per_scan > 0])]
    return pd.DataFrame(rows)


def _macro(values: np.ndarray) -> dict[str, object]:
    counts = (~np.isnan(values)).sum(axis=0)
    return _row("macro", "macro", (np.nansum(values, axis=0) / np.maximum(counts, 1))[counts > 0])


def _row(by: str, name: str, scores: np.ndarray) -> dict[str, object]:
    defined = scores[~np.isnan(scores)]
    mean, std = (defined.mean(), defined.std()) if defined.size else (np.nan, np.nan)
    return {"by": by, "name": name, "mean": float(mean), "std": float(std), "count": int(defined.size)}
