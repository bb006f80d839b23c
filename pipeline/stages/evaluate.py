"""Judge maps and scores of every model: ``evaluation/*.csv`` and ``summary.json``.

OrganIoU thresholds are chosen per label and method on the validation split and used on every other one. Scans are read
one after another, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..catalogue.targets import RegionTargets
from ..data.network_input import grid_key
from ..data.records import in_split
from ..data.region_store import read_regions
from ..errors import OrganCamError
from ..metrics import fill_thresholds, find_thresholds, organ_iou_curve, summarise_scores
from ..metrics.classification import auroc, average_precision, median_of_defined
from ..metrics.localization import energy_pointing, pointing_accuracy
from ..metrics.organ_iou import THRESHOLDS
from ..runner import write_csv_atomic, write_json_atomic
from ..transforms import expand_regions
from .attention_files import ScanAttention, read_attention
from .interventions import logit_changes, summarise_changes
from .lesions import Lesions
from .organ_truth import organ_scores
from .run import Run, StageSummary
from .targets import load_targets

__all__ = ["run_evaluate"]

SCORED_SPLITS = ("valid", "test", "shifted")


@dataclass
class SplitScores:
    """What one model did on one split; lists grow by one entry a scan.

    Attributes:
        labels: names of the M labels.
        present: true labels ``[M]`` a scan.
        logits: scores ``[M]`` a scan.
        curves: method -> OrganIoU ``[M, T]`` a scan, NaN for absent labels.
        pointing: method -> hits ``[M]`` a scan, NaN without a known lesion.
        energy: method -> share of positive evidence on the lesion ``[M]`` a scan.
    """

    labels: tuple[str, ...]
    present: list[NDArray] = field(default_factory=list)
    logits: list[NDArray] = field(default_factory=list)
    curves: dict[str, list[NDArray]] = field(default_factory=dict)
    pointing: dict[str, list[NDArray]] = field(default_factory=dict)
    energy: dict[str, list[NDArray]] = field(default_factory=dict)


def run_evaluate(run: Run) -> StageSummary:
    """Evaluate every model of the workflow on every split that was explained."""
    records = run.records()
    judge = _Judge(
        run,
        load_targets(run, records),
        Lesions(run.workflow.data.lesions) if run.workflow.data.lesions else None,
        run.sidecars([record.scan_id for record in records], "volumes"),
    )
    scores: dict[str, dict[str, SplitScores]] = {model: {} for model in run.workflow.models}
    for split in SCORED_SPLITS:
        for record in in_split(records, split):
            for model in run.workflow.models:
                judge.add(scores[model], split, model, record.scan_id)
    tables: dict[str, list[pd.DataFrame]] = {}
    summary: dict[str, Any] = {"workflow": run.workflow.name, "seed": run.workflow.seed, "models": {}}
    for model, found in scores.items():
        if "valid" not in found:
            msg = f"models.{model}: no validation scan was explained, so OrganIoU has no thresholds (explain.splits)"
            raise OrganCamError(msg)
        summary["models"][model] = _judge_model(model, found, tables)
        _judge_interventions(run, model, tables, summary["models"][model])
    _judge_organs(run, [record.scan_id for record in in_split(records, "test")], tables, summary)
    written = run.folder("evaluation")
    for name, parts in tables.items():
        write_csv_atomic(written / f"{name}.csv", pd.concat(parts, ignore_index=True))
    write_json_atomic(written / "summary.json", summary)
    return StageSummary("evaluate", len(summary["models"]), 0)


@dataclass(frozen=True)
class _Judge:
    """What is needed to score the maps of one scan."""

    run: Run
    targets: RegionTargets
    lesions: Lesions | None
    volumes: Mapping[str, Mapping[str, Any]]

    def add(self, scores: dict[str, SplitScores], split: str, model: str, scan_id: str) -> None:
        """Score one scan; one that has no maps, no regions or no report is passed over."""
        maps = self.run.root / "attention" / model / f"{scan_id}.npz"
        regions = self.run.root / "regions" / f"{scan_id}.npz"
        known = scan_id in self.targets.rows and scan_id in self.volumes
        if not (known and maps.is_file() and regions.is_file()):
            return
        found, settings = read_attention(maps), self.run.workflow.evaluate
        split_scores = scores.setdefault(split, SplitScores(found.labels))
        row, columns = self.targets.rows[scan_id], [self.targets.names.index(name) for name in found.labels]
        present = self.targets.present[row, columns].astype(bool)
        split_scores.present.append(present)
        split_scores.logits.append(found.scores)
        allowed = _allowed(regions, found, self.targets.places[row, columns])
        lesion = self._lesion(scan_id, found)
        perfect: Literal["one", "zero"] = "zero" if settings.fidelity == "reference" else "one"
        for method, values in found.maps.items():
            attention = torch.from_numpy(values)[None]
            curve = organ_iou_curve(attention, allowed[None], THRESHOLDS, perfect)[0].numpy()
            split_scores.curves.setdefault(method, []).append(np.where(present[:, None], curve, np.nan))
            if lesion is not None:
                hits = pointing_accuracy(attention, lesion, settings.pointing_tolerance)[0].numpy()
                share = np.where(np.isnan(hits), np.nan, energy_pointing(attention, lesion)[0].numpy())
                split_scores.pointing.setdefault(method, []).append(hits)
                split_scores.energy.setdefault(method, []).append(share)

    def _lesion(self, scan_id: str, found: ScanAttention) -> torch.Tensor | None:
        if self.lesions is None or scan_id not in self.lesions:
            return None
        place = self.volumes[scan_id]["details"]
        return torch.from_numpy(self.lesions.occupancy(scan_id, found.labels, found.grid, place))[None]


def _allowed(regions: Path, found: ScanAttention, places: NDArray) -> torch.Tensor:
    bitmaps = torch.from_numpy(read_regions(regions, grid_key(found.grid)))
    return expand_regions(bitmaps, torch.from_numpy(places))


def _judge_model(
    model: str, scores: Mapping[str, SplitScores], tables: dict[str, list[pd.DataFrame]]
) -> dict[str, Any]:
    """Tables and headline figures of one model; the headline is the test split's, or the validation's without one."""
    methods = sorted(scores["valid"].curves)
    present = np.stack(scores["valid"].present)
    thresholds = {
        method: find_thresholds(np.nan_to_num(np.stack(scores["valid"].curves[method])), present) for method in methods
    }
    figures: dict[str, dict[str, Any]] = {}
    for split, found in scores.items():
        figures[split] = {
            **_classification(model, split, found, tables),
            "organ_iou": {
                method: _organ_iou(model, method, split, found, thresholds[method], tables) for method in methods
            },
        }
        if found.pointing:
            figures[split] |= _localization(model, split, found, tables)
    headline = "test" if "test" in figures else "valid"
    return {"split": headline, **figures[headline], "splits": figures}


def _organ_iou(
    model: str,
    method: str,
    split: str,
    found: SplitScores,
    thresholds: NDArray,
    tables: dict[str, list[pd.DataFrame]],
) -> float:
    usable = fill_thresholds(thresholds)
    steps = np.asarray([THRESHOLDS.index(min(THRESHOLDS, key=lambda t: abs(t - wanted))) for wanted in usable])
    curves = np.stack(found.curves[method])
    values = np.take_along_axis(curves, steps[None, :, None], axis=2)[..., 0]
    table = summarise_scores(values, found.labels)
    table.insert(0, "split", split)
    table.insert(0, "method", method)
    table.insert(0, "model", model)
    chosen = dict(zip(found.labels, thresholds, strict=True))
    table["threshold"] = [chosen.get(name, np.nan) for name in table["name"]]
    tables.setdefault("organ_iou", []).append(table)
    return float(table.loc[table["by"] == "overall", "mean"].iloc[0])


def _classification(
    model: str, split: str, found: SplitScores, tables: dict[str, list[pd.DataFrame]]
) -> dict[str, Any]:
    truth, logits = np.stack(found.present), np.stack(found.logits)
    area, precision = auroc(logits, truth), average_precision(logits, truth)
    table = pd.DataFrame(
        {
            "model": model,
            "split": split,
            "label": list(found.labels),
            "auroc": area,
            "average_precision": precision,
            "positives": truth.sum(axis=0),
            "scans": len(truth),
        }
    )
    tables.setdefault("classification", []).append(table)
    return {
        "auroc_median": median_of_defined(area),
        "average_precision_median": median_of_defined(precision),
        "auroc": dict(zip(found.labels, map(float, area), strict=True)),
        "scans": len(truth),
    }


def _localization(
    model: str, split: str, found: SplitScores, tables: dict[str, list[pd.DataFrame]]
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
                "label": list(found.labels),
                "pointing": _means(hits),
                "energy": _means(share),
                "pairs": counts,
            }
        )
        tables.setdefault("localization", []).append(table)
        result["pointing"][method] = float(np.nanmean(hits)) if counts.any() else float("nan")
        result["energy"][method] = float(np.nanmean(share)) if (~np.isnan(share)).any() else float("nan")
    return result


def _judge_interventions(run: Run, model: str, tables: dict[str, list[pd.DataFrame]], summary: dict[str, Any]) -> None:
    path, folder = run.workflow.data.interventions, run.root / "attention" / model
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


def _judge_organs(
    run: Run, scan_ids: list[str], tables: dict[str, list[pd.DataFrame]], summary: dict[str, Any]
) -> None:
    """The segmentation against known organs; the known ones are used for nothing else."""
    if run.workflow.data.organs is None:
        return
    table = organ_scores(run.workflow.data.organs, scan_ids, run.root / "organs")
    tables["segmentation"] = [table]
    summary["segmentation"] = {
        organ: {key: float(rows[key].mean()) for key in ("dice", "precision", "recall")}
        for organ, rows in table.groupby("organ")
    }


def _means(values: NDArray) -> NDArray:
    """Column means of what is defined; NaN for a column without any, without numpy's warning."""
    counts = (~np.isnan(values)).sum(axis=0)
    return np.where(counts > 0, np.nansum(values, axis=0) / np.maximum(counts, 1), np.nan)
