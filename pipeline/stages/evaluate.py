"""Judge maps and scores of every model: ``evaluation/*.csv`` and ``summary.json``.

OrganIoU thresholds are chosen per label and method on the validation split and used on every other one. Scans are read
one after another, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..catalogue.targets import RegionTargets
from ..data.network_input import grid_key
from ..data.records import ScanRecord, in_split
from ..errors import OrganCamError
from ..metrics import fill_thresholds, find_thresholds, organ_iou_curve, summarise_scores
from ..metrics.classification import auroc, average_precision
from ..metrics.localization import energy_pointing, pointing_accuracy
from ..metrics.organ_iou import THRESHOLDS
from ..runner import write_csv_atomic, write_json_atomic
from ..transforms import AllowedRegions
from .attention_files import ScanAttention, read_attention
from .interventions import logit_changes, summarise_changes
from .lesions import Lesions
from .run import Run, StageSummary
from .targets import load_targets

__all__ = ["run_evaluate"]

SCORED_SPLITS = ("valid", "test", "shifted")


@dataclass
class SplitScores:
    """What one model did on one split; lists grow by one entry a scan.

    Attributes:
        labels: true labels ``[M]`` a scan.
        logits: scores ``[M]`` a scan.
        curves: method -> OrganIoU ``[M, T]`` a scan, NaN for absent labels.
        pointing: method -> hits ``[M]`` a scan, NaN without a known lesion.
        energy: method -> share of positive evidence on the lesion ``[M]`` a scan.
    """

    labels: list[NDArray] = field(default_factory=list)
    logits: list[NDArray] = field(default_factory=list)
    curves: dict[str, list[NDArray]] = field(default_factory=dict)
    pointing: dict[str, list[NDArray]] = field(default_factory=dict)
    energy: dict[str, list[NDArray]] = field(default_factory=dict)


def run_evaluate(run: Run) -> StageSummary:
    """Evaluate every model of the workflow on every split that was explained."""
    records = run.records()
    targets = load_targets(run, records)
    lesions = Lesions(run.workflow.data.lesions) if run.workflow.data.lesions else None
    volumes = run.sidecars([record.scan_id for record in records], "volumes")
    tables: dict[str, list[pd.DataFrame]] = {}
    summary: dict[str, Any] = {"workflow": run.workflow.name, "seed": run.workflow.seed, "models": {}}
    for model in run.workflow.models:
        folder = run.root / "attention" / model
        scores: dict[str, SplitScores] = {}
        labels: tuple[str, ...] = ()
        for split in SCORED_SPLITS:
            scored = [record for record in in_split(records, split) if (folder / f"{record.scan_id}.npz").is_file()]
            scored = [record for record in scored if record.scan_id in targets.rows and record.scan_id in volumes]
            if scored:
                scores[split], labels = _score_split(run, folder, scored, targets, lesions, volumes)
        if "valid" not in scores:
            msg = f"models.{model}: no validation scan was explained, so OrganIoU has no thresholds (explain.splits)"
            raise OrganCamError(msg)
        summary["models"][model] = _judge_model(model, scores, labels, tables)
        _judge_interventions(run, model, folder, tables, summary["models"][model])
    written = run.folder("evaluation")
    for name, parts in tables.items():
        write_csv_atomic(written / f"{name}.csv", pd.concat(parts, ignore_index=True))
    write_json_atomic(written / "summary.json", summary)
    return StageSummary("evaluate", len(summary["models"]), 0)


def _score_split(
    run: Run,
    folder: Path,
    records: Sequence[ScanRecord],
    targets: RegionTargets,
    lesions: Lesions | None,
    volumes: Mapping[str, Mapping[str, Any]],
) -> tuple[SplitScores, tuple[str, ...]]:
    settings, scores, labels = run.workflow.evaluate, SplitScores(), ()
    perfect: Literal["one", "zero"] = "zero" if settings.fidelity == "reference" else "one"
    for record in records:
        found = read_attention(folder / f"{record.scan_id}.npz")
        labels = found.labels
        row, columns = targets.rows[record.scan_id], [targets.names.index(name) for name in labels]
        present = targets.present[row, columns].astype(bool)
        scores.labels.append(present)
        scores.logits.append(found.scores)
        allowed = _allowed(run, record.scan_id, found, targets.organs[row][columns])
        known = None
        if lesions is not None and record.scan_id in lesions:
            place = volumes[record.scan_id]["details"]
            known = torch.from_numpy(lesions.occupancy(record.scan_id, labels, found.grid, place))[None]
        for method, maps in found.maps.items():
            attention = torch.from_numpy(maps)[None]
            curve = organ_iou_curve(attention, allowed[None], THRESHOLDS, perfect)[0].numpy()
            scores.curves.setdefault(method, []).append(np.where(present[:, None], curve, np.nan))
            if known is not None:
                hits = pointing_accuracy(attention, known, settings.pointing_tolerance)[0].numpy()
                share = energy_pointing(attention, known)[0].numpy()
                scores.pointing.setdefault(method, []).append(hits)
                scores.energy.setdefault(method, []).append(np.where(np.isnan(hits), np.nan, share))
    return scores, labels


def _allowed(run: Run, scan_id: str, found: ScanAttention, organs: NDArray) -> torch.Tensor:
    with np.load(run.root / "regions" / f"{scan_id}.npz", allow_pickle=False) as archive:
        occupancy = torch.from_numpy(archive[grid_key(found.grid)])
    return AllowedRegions(run.workflow.regions.threshold)(occupancy, torch.from_numpy(organs))


def _judge_model(
    model: str, scores: Mapping[str, SplitScores], labels: Sequence[str], tables: dict[str, list[pd.DataFrame]]
) -> dict[str, Any]:
    """Tables and headline figures of one model; the headline is the test split's, or the validation's without one."""
    methods = sorted(scores["valid"].curves)
    present = np.stack(scores["valid"].labels)
    thresholds = {
        method: find_thresholds(np.nan_to_num(np.stack(scores["valid"].curves[method])), present) for method in methods
    }
    figures: dict[str, dict[str, Any]] = {}
    for split, found in scores.items():
        figures[split] = {
            **_classification(model, split, found, labels, tables),
            "organ_iou": {
                method: _organ_iou(model, method, split, found, labels, thresholds[method], tables)
                for method in methods
            },
        }
        if found.pointing:
            figures[split] |= _localization(model, split, found, labels, tables)
    headline = "test" if "test" in figures else "valid"
    return {"split": headline, **figures[headline], "splits": figures}


def _organ_iou(
    model: str,
    method: str,
    split: str,
    found: SplitScores,
    labels: Sequence[str],
    thresholds: NDArray,
    tables: dict[str, list[pd.DataFrame]],
) -> float:
    usable = fill_thresholds(thresholds)
    steps = np.asarray([THRESHOLDS.index(min(THRESHOLDS, key=lambda t: abs(t - wanted))) for wanted in usable])
    curves = np.stack(found.curves[method])
    values = np.take_along_axis(curves, steps[None, :, None], axis=2)[..., 0]
    table = summarise_scores(values, labels)
    table.insert(0, "split", split)
    table.insert(0, "method", method)
    table.insert(0, "model", model)
    chosen = dict(zip(labels, thresholds, strict=True))
    table["threshold"] = [chosen.get(name, np.nan) for name in table["name"]]
    tables.setdefault("organ_iou", []).append(table)
    return float(table.loc[table["by"] == "overall", "mean"].iloc[0])


def _classification(
    model: str, split: str, found: SplitScores, labels: Sequence[str], tables: dict[str, list[pd.DataFrame]]
) -> dict[str, float]:
    truth, logits = np.stack(found.labels), np.stack(found.logits)
    area, precision = auroc(logits, truth), average_precision(logits, truth)
    table = pd.DataFrame(
        {
            "model": model,
            "split": split,
            "label": list(labels),
            "auroc": area,
            "average_precision": precision,
            "positives": truth.sum(axis=0),
            "scans": len(truth),
        }
    )
    tables.setdefault("classification", []).append(table)
    return {"auroc_median": _median(area), "average_precision_median": _median(precision), "scans": len(truth)}


def _localization(
    model: str, split: str, found: SplitScores, labels: Sequence[str], tables: dict[str, list[pd.DataFrame]]
) -> dict[str, dict[str, float]]:
    result: dict[str, dict[str, float]] = {"pointing": {}, "energy": {}}
    for method in found.pointing:
        hits, share = np.stack(found.pointing[method]), np.stack(found.energy[method])
        counts = (~np.isnan(hits)).sum(axis=0)
        table = pd.DataFrame(
            {
                "model": model,
                "method": method,
                "split": split,
                "label": list(labels),
                "pointing": _means(hits),
                "energy": _means(share),
                "pairs": counts,
            }
        )
        tables.setdefault("localization", []).append(table)
        result["pointing"][method] = float(np.nanmean(hits)) if counts.any() else float("nan")
        result["energy"][method] = float(np.nanmean(share)) if (~np.isnan(share)).any() else float("nan")
    return result


def _judge_interventions(
    run: Run, model: str, folder: Path, tables: dict[str, list[pd.DataFrame]], summary: dict[str, Any]
) -> None:
    path = run.workflow.data.interventions
    if path is None:
        return
    read: dict[str, ScanAttention] = {}

    def score(scan_id: str, label: str) -> float | None:
        file = folder / f"{scan_id}.npz"
        if scan_id not in read and file.is_file():
            read[scan_id] = read_attention(file)
        found = read.get(scan_id)
        return float(found.scores[found.labels.index(label)]) if found and label in found.labels else None

    table = summarise_changes(logit_changes(path, score))
    table.insert(0, "model", model)
    tables.setdefault("interventions", []).append(table)
    summary["interventions"] = {
        label: {row.inserted: row.mean_absolute_change for row in rows.itertuples()}
        for label, rows in table.groupby("label")
    }


def _median(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")


def _means(values: NDArray) -> NDArray:
    """Column means of what is defined; NaN for a column without any, without numpy's warning."""
    counts = (~np.isnan(values)).sum(axis=0)
    return np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
