"""Tables of an evaluation of given maps: OrganIoU, gains with intervals by patient, scores, and the papers' forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import ConfigError, did_you_mean, some_of
from ..metrics import (
    bootstrap_means,
    concept_groups,
    draw_weights,
    fill_thresholds,
    interval,
    pooled_draws,
    summarise_scores,
)
from ..metrics.thresholds import THRESHOLDS
from .given import Contestant, GivenFigures
from .given_scores import classification_of, localization_of
from .scores import ThresholdSearch

__all__ = ["GivenEvaluation", "Thresholds", "evaluate_given"]

Thresholds = Mapping[str, Any]
"""Label -> threshold, method -> that, or model -> method -> that (``thresholds.json``)."""

CHOSEN_HERE = "thresholds were chosen on the scans that are scored, as in the published table 1: figures are too high"
SPREAD = ("low", "high")


@dataclass(frozen=True)
class GivenEvaluation:
    """Name -> table; model -> method -> masks -> label -> threshold; what should be known about them."""

    tables: dict[str, pd.DataFrame]
    thresholds: dict[str, Any]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """OrganIoU of one contestant on the scored scans ``[n, M]``, and its means over groups in each draw."""

    values: NDArray[np.float64]
    draws: dict[str, NDArray[np.float64]]


def evaluate_given(
    figures: GivenFigures, reference: str | None = None, thresholds: Thresholds | None = None, draws: int = 1000
) -> GivenEvaluation:
    """Tables of all models and methods.

    Args:
        figures: of ``measure_files``.
        reference: ``MODEL/METHOD`` that the others' gains are over; None for the first model's Grad-CAM, or its first
            method.
        thresholds: chosen elsewhere; None to choose them on the scans of the split "valid", or where there are none on
            the scored scans.
        draws: of patients, for intervals.

    Raises:
        ConfigError: for an unknown reference, or thresholds of other labels.
    """
    labels = figures.labels
    split = np.asarray(labels.splits)
    scored = np.flatnonzero(split == "test") if (split == "test").any() else np.flatnonzero(split != "train")
    chosen_on = np.flatnonzero(split == "valid")
    notes = list(_notes(figures))
    if thresholds is None and not (chosen_on.size and any(row in set(chosen_on) for row, _ in _cells(figures))):
        chosen_on = scored
        notes.append(CHOSEN_HERE)
    steps: dict[Contestant, NDArray[np.intp]] = {}
    used: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for contestant in figures.curves:
        values = _thresholds(figures, contestant, chosen_on, thresholds)
        steps[contestant] = np.abs(np.asarray(THRESHOLDS)[None] - fill_thresholds(values)[:, None]).argmin(1)
        by_label = dict(zip(labels.names, values.tolist(), strict=True))
        used.setdefault(contestant.model, {}).setdefault(contestant.method, {})[contestant.masks] = by_label
    weights = draw_weights([labels.patients[row] for row in scored], draws)
    groups = {"overall": tuple(range(len(labels.names))), **concept_groups(labels.names)}
    judged = {
        contestant: _judge(figures.values(contestant, steps[contestant])[scored], groups, weights)
        for contestant in sorted(figures.curves)
    }
    tables: dict[str, pd.DataFrame] = {}
    if judged:
        tables["organ_iou"] = pd.concat(
            [_organ_iou(c, one, labels.names, weights, steps[c]) for c, one in judged.items()], ignore_index=True
        )
        first = _reference(list(judged), reference)
        tables["gains"] = _gains(judged, first, groups, weights)
        tables["table2"] = _table2(judged, groups)
        if len({contestant.masks for contestant in judged}) > 1:
            tables["mask_sensitivity"] = _sensitivity(tables["organ_iou"])
        tables["pairs"] = _pairs(figures, judged, scored)
    scores = {model: values[scored] for model, values in figures.scores.items()}
    present = labels.present[scored]
    if scores:
        parts = [classification_of(model, values, present, labels.names, weights) for model, values in scores.items()]
        tables["classification"] = pd.concat(parts, ignore_index=True)
    if judged:
        tables["table1"] = _table1(judged, tables.get("classification"))
    if figures.local:
        parts = [
            localization_of(c, own, labels.names, scored, weights, figures.scores.get(c.model))
            for c, own in sorted(figures.local.items())
        ]
        tables["localization"] = pd.concat(parts, ignore_index=True)
    return GivenEvaluation(tables, used, tuple(notes))


def _cells(figures: GivenFigures) -> set[tuple[int, int]]:
    return {cell for curves in figures.curves.values() for cell in curves}


def _notes(figures: GivenFigures) -> list[str]:
    counts = figures.labels.present.sum(0).tolist()
    without = [name for name, count in zip(figures.labels.names, counts, strict=True) if not count]
    notes = []
    if without:
        notes.append(f"{len(without)} labels are present in no scan and have no figure: {some_of(without, 3)}")
    for contestant, count in sorted(figures.empty.items()):
        if count:
            name = f"{contestant.model}, {contestant.method}"
            notes.append(f"{name}: {count} maps of present labels have no positive value; they light nothing, score 0")
    return notes


def _thresholds(
    figures: GivenFigures, contestant: Contestant, rows: NDArray[np.intp], given: Thresholds | None
) -> NDArray[np.float64]:
    names = figures.labels.names
    if given is not None:
        found: Any = given
        for key in (contestant.model, contestant.method, contestant.masks):
            found = found[key] if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) else found
        missing = [name for name in names if name not in found]
        if missing:
            msg = (
                f"--thresholds: none for the label '{missing[0]}' ({contestant.model}, {contestant.method}): "
                f"{did_you_mean(missing[0], [str(key) for key in found])}"
            )
            raise ConfigError(msg)
        return np.array([np.nan if found[name] is None else float(found[name]) for name in names])
    search, wanted = ThresholdSearch(names), set(rows.tolist())
    for (row, column), curve in figures.curves[contestant].items():
        if row in wanted:
            search.add_one(column, curve)
    return search.best()


def _judge(values: NDArray[np.float64], groups: Mapping[str, Sequence[int]], weights: NDArray[np.float64]) -> _Judged:
    draws = {name: pooled_draws(values[:, list(columns)], weights) for name, columns in groups.items()}
    return _Judged(values, draws)


def _organ_iou(
    contestant: Contestant,
    judged: _Judged,
    names: Sequence[str],
    weights: NDArray[np.float64],
    steps: NDArray[np.intp],
) -> pd.DataFrame:
    table = summarise_scores(judged.values, names)
    by_label = interval(bootstrap_means(judged.values, weights))
    known = {("label", name): (by_label[0][place], by_label[1][place]) for place, name in enumerate(names)}
    for name, drawn in judged.draws.items():
        low, high = interval(drawn[:, None])
        known["overall" if name == "overall" else "group", name] = (low[0], high[0])
    keys = list(zip(table["by"], table["name"], strict=True))
    for place, column in enumerate(SPREAD):
        table[column] = [known.get(key, (np.nan, np.nan))[place] for key in keys]
    chosen = {("label", name): THRESHOLDS[step] for name, step in zip(names, steps, strict=True)}
    table["threshold"] = [chosen.get(key, np.nan) for key in keys]
    return _named(table, contestant)


def _named(table: pd.DataFrame, contestant: Contestant) -> pd.DataFrame:
    table.insert(0, "masks", contestant.masks)
    table.insert(0, "method", contestant.method)
    table.insert(0, "model", contestant.model)
    return table


def _reference(judged: Sequence[Contestant], asked: str | None) -> Contestant:
    names = {f"{one.model}/{one.method}": one for one in reversed(judged)}
    if asked is not None:
        if asked not in names:
            msg = f"--reference: no maps of '{asked}' (MODEL/METHOD): {did_you_mean(asked, names)}"
            raise ConfigError(msg)
        return names[asked]
    first = judged[0].model
    return names.get(f"{first}/gradcam", judged[0])


def _gains(
    judged: Mapping[Contestant, _Judged],
    first: Contestant,
    groups: Mapping[str, Sequence[int]],
    weights: NDArray[np.float64],
) -> pd.DataFrame:
    """Relative gain over the reference by the same masks, on the pairs that both have."""
    rows = []
    for contestant, one in judged.items():
        base = Contestant(first.model, first.method, contestant.masks)
        if contestant == base or base not in judged:
            continue
        both = ~np.isnan(one.values) & ~np.isnan(judged[base].values)
        own, other = (
            _judge(np.where(both, values, np.nan), groups, weights) for values in (one.values, judged[base].values)
        )
        for group, columns in groups.items():
            pairs = int(both[:, list(columns)].sum())
            if not pairs:
                continue
            mean, base_mean = (
                float(np.nanmean(np.where(both, j.values, np.nan)[:, list(columns)])) for j in (own, other)
            )
            with np.errstate(invalid="ignore", divide="ignore"):
                drawn = own.draws[group] / other.draws[group] - 1
            low, high = (float(limit[0]) for limit in interval(drawn[:, None]))
            gain = mean / base_mean - 1 if base_mean else np.nan
            told = (f"{base.model}/{base.method}", group, mean, base_mean, gain, low, high, pairs)
            rows.append((contestant.model, contestant.method, contestant.masks, *told))
    columns_ = ["model", "method", "masks", "reference", "group", "organ_iou", "reference_organ_iou", "relative_gain"]
    return pd.DataFrame(rows, columns=[*columns_, *SPREAD, "pairs"])


def _table1(judged: Mapping[Contestant, _Judged], scores: pd.DataFrame | None) -> pd.DataFrame:
    """A row a model: median AUROC and OrganIoU of each method, in percent."""
    first_masks = next(iter(judged)).masks
    rows: dict[str, dict[str, float]] = {}
    for contestant, one in judged.items():
        if contestant.masks == first_masks:
            rows.setdefault(contestant.model, {})[f"organ_iou_{contestant.method}"] = 100 * _mean(one.values)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model").reset_index()
    if scores is not None:
        medians = scores[scores["label"] == "median"].set_index("model")["auroc"] * 100
        table.insert(1, "median_auroc", table["model"].map(medians))
    return table


def _table2(judged: Mapping[Contestant, _Judged], groups: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """A row a concept group: share of the pairs and OrganIoU of every model and method, in percent."""
    first = next(iter(judged))
    total = int((~np.isnan(judged[first].values)).sum())
    rows = []
    for group, columns in groups.items():
        pairs = int((~np.isnan(judged[first].values[:, list(columns)])).sum())
        row: dict[str, Any] = {"group": group, "percent": 100 * pairs / total if total else np.nan}
        for contestant, one in judged.items():
            if contestant.masks == first.masks:
                row[f"{contestant.model}_{contestant.method}"] = 100 * _mean(one.values[:, list(columns)])
        rows.append(row)
    return pd.DataFrame(rows)


def _sensitivity(table: pd.DataFrame) -> pd.DataFrame:
    """How far a mean moves with the source of the masks: lowest and highest of them."""
    here = table[table["by"].isin(["overall", "group"])]
    grouped = here.groupby(["model", "method", "by", "name"], sort=False)["mean"]
    return grouped.agg(lowest="min", highest="max", sources="count").reset_index()


def _pairs(figures: GivenFigures, judged: Mapping[Contestant, _Judged], scored: NDArray[np.intp]) -> pd.DataFrame:
    parts = []
    for contestant, one in judged.items():
        rows, columns = np.nonzero(~np.isnan(one.values))
        part = pd.DataFrame(
            {
                "scan_id": np.asarray(figures.labels.scan_ids)[scored[rows]],
                "label": np.asarray(figures.labels.names)[columns],
                "organ_iou": one.values[rows, columns],
            }
        )
        parts.append(_named(part, contestant))
    return pd.concat(parts, ignore_index=True)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
