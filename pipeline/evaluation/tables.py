"""The tables and headline figures of an evaluation, from the figures of its scans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..metrics import summarise_scores
from ..metrics.classification import auroc, average_precision, median_of_defined
from .gains import gains_table
from .learned import add_learned
from .scores import ModelScores, SplitScores

__all__ = ["Evaluation", "evaluate_models", "pairs_table", "scores_table"]

Thresholds = Mapping[str, NDArray[np.float64]]
"""Method -> threshold of each label ``[M]``, NaN where the validation split had no positive."""


@dataclass(frozen=True)
class Evaluation:
    """What is said about the models.

    Attributes:
        tables: name -> table: ``classification``, ``organ_iou``, and where there is something to say ``localization``
            and ``gains``.
        models: model -> headline figures.
        learned: labels that all models have learned.
    """

    tables: dict[str, pd.DataFrame]
    models: dict[str, dict[str, Any]]
    learned: tuple[str, ...]


def evaluate_models(scores: Mapping[str, ModelScores], thresholds: Mapping[str, Thresholds]) -> Evaluation:
    """Tables and headline figures of several models; the others are compared with the first one.

    Args:
        scores: model -> figures of its scans.
        thresholds: model -> the OrganIoU thresholds that were used; a method without any has no OrganIoU.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    models = {model: _model(model, found, thresholds[model], parts) for model, found in scores.items()}
    for model, found in list(scores.items())[1:]:
        reference, split = next(iter(scores)), models[model]["split"]
        if found.labels == scores[reference].labels and split in scores[reference].splits():
            pair = found.of_split(split), scores[reference].of_split(split)
            parts.setdefault("gains", []).append(gains_table(model, reference, split, found.labels, *pair))
    learned = add_learned(scores, models) if models else ()
    return Evaluation({name: pd.concat(tables, ignore_index=True) for name, tables in parts.items()}, models, learned)


def pairs_table(model: str, scores: ModelScores) -> pd.DataFrame:
    """One row a scan, label of its report and method: ``model, method, split, scan_id, label, logit, organ_iou,
    pointing, energy``; what could not be measured is NaN."""
    columns: dict[str, list[Any]] = {name: [] for name in ("method", "split", "scan_id", "label")}
    numbers: dict[str, list[NDArray]] = {name: [] for name in ("logit", "organ_iou", "pointing", "energy")}
    nothing = np.full(len(scores.labels), np.nan)
    for scan in scores.scans:
        there = np.flatnonzero(scan.present)
        for method, overlap in scan.organ_iou.items():
            columns["method"] += [method] * len(there)
            columns["split"] += [scan.split] * len(there)
            columns["scan_id"] += [scan.scan_id] * len(there)
            columns["label"] += [scores.labels[column] for column in there]
            pointing, energy = scan.pointing.get(method, nothing), scan.energy.get(method, nothing)
            found: tuple[NDArray, ...] = (scan.logits, overlap, pointing, energy)
            for name, values in zip(numbers, found, strict=True):
                numbers[name].append(values[there])
    table = pd.DataFrame(
        {**columns, **{name: np.concatenate([np.empty(0), *parts]) for name, parts in numbers.items()}}
    )
    table.insert(0, "model", model)
    return table


def scores_table(model: str, scores: ModelScores) -> pd.DataFrame:
    """One row a scan: ``model, split, scan_id`` and the logit of every label, for AUROC of one's own."""
    table = pd.DataFrame(np.stack([scan.logits for scan in scores.scans]), columns=list(scores.labels))
    table.insert(0, "scan_id", [scan.scan_id for scan in scores.scans])
    table.insert(0, "split", [scan.split for scan in scores.scans])
    table.insert(0, "model", model)
    return table


def _model(
    model: str, scores: ModelScores, thresholds: Thresholds, parts: dict[str, list[pd.DataFrame]]
) -> dict[str, Any]:
    """Headline figures of one model: the test split's, or the validation's without one."""
    figures: dict[str, dict[str, Any]] = {}
    for split in scores.splits():
        found = scores.of_split(split)
        table = _classification(scores.labels, found)
        figures[split] = {
            "auroc_median": median_of_defined(table["auroc"].to_numpy()),
            "average_precision_median": median_of_defined(table["average_precision"].to_numpy()),
            "auroc": dict(zip(scores.labels, map(float, table["auroc"]), strict=True)),
            "scans": len(found.scan_ids),
            "organ_iou": {},
        }
        parts.setdefault("classification", []).append(_named(table, model=model, split=split))
        for method, values in found.organ_iou.items():
            if method not in thresholds:  # 2D images have no organs
                continue
            overlap = _organ_iou(scores.labels, values, thresholds[method])
            figures[split]["organ_iou"][method] = float(overlap.loc[overlap["by"] == "overall", "mean"].iloc[0])
            parts.setdefault("organ_iou", []).append(_named(overlap, model=model, method=method, split=split))
        for method in found.pointing:
            pointing = _localization(scores.labels, found.pointing[method], found.energy[method])
            parts.setdefault("localization", []).append(_named(pointing, model=model, method=method, split=split))
            figures[split].setdefault("pointing", {})[method] = _mean(found.pointing[method])
            figures[split].setdefault("energy", {})[method] = _mean(found.energy[method])
    headline = "test" if "test" in figures else "valid"
    return {"split": headline, **figures[headline], "splits": figures}


def _classification(labels: tuple[str, ...], found: SplitScores) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "label": list(labels),
            "auroc": auroc(found.logits, found.present),
            "average_precision": average_precision(found.logits, found.present),
            "positives": found.present.sum(axis=0),
            "scans": len(found.scan_ids),
        }
    )


def _organ_iou(labels: tuple[str, ...], values: NDArray, thresholds: NDArray[np.float64]) -> pd.DataFrame:
    table = summarise_scores(values, labels)
    chosen = dict(zip(labels, thresholds, strict=True))
    return table.assign(threshold=[chosen.get(name, np.nan) for name in table["name"]])


def _localization(labels: tuple[str, ...], hits: NDArray, shares: NDArray) -> pd.DataFrame:
    pairs = (~np.isnan(hits)).sum(axis=0)
    return pd.DataFrame({"label": list(labels), "pointing": _means(hits), "energy": _means(shares), "pairs": pairs})


def _named(table: pd.DataFrame, **names: str) -> pd.DataFrame:
    """The table with what it is about in its first columns."""
    for position, (name, value) in enumerate(names.items()):
        table.insert(position, name, value)
    return table


def _mean(values: NDArray) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")


def _means(values: NDArray) -> NDArray:
    """Column means of what is defined; NaN for a column without any, without numpy's warning."""
    counts = (~np.isnan(values)).sum(axis=0)
    return np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
