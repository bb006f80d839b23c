"""What the index page says, as plain dictionaries for its template. Figures are taken from the tables as they are.

A section that has no data is a dictionary with ``missing``, the sentence that is shown in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..config import Workflow
from ..data.splits import SPLITS
from ..evaluation import LEARNED_AUROC
from .cards import model_cards
from .charts import auroc_chart, intervention_chart, organ_iou_chart, training_chart
from .ladders import ladder_sections
from .results import Results
from .wording import confounder_sentences, describe_mask_loss, shift_sentences, training_caution

__all__ = ["METHOD_NAMES", "index_context"]

METHOD_NAMES = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}
ALL_SPLIT = (
    "There were too few patients to split: every scan was used for training, for choosing thresholds and for scoring. "
    "The figures describe the training scans, not performance on new ones."
)


def index_context(workflow: Workflow, results: Results, pages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything the template ``index.html`` shows.

    Args:
        workflow: of the run.
        results: its tables.
        pages: the scan pages: ``scan_id, file, split, findings``.
    """
    models = list(workflow.models)
    return {
        "name": workflow.name,
        "seed": workflow.seed,
        "of_images": workflow.of_images,
        "cautions": _cautions(results),
        "notes": list(results.notes),
        "scans": _scans(results),
        "failures": _failures(results),
        "flagged": _flagged(results.quality),
        "models": _models(workflow, results),
        "ladders": ladder_sections(results),
        "interventions": _interventions(results, models),
        "charts": _charts(results, models),
        "labels": {**_labels(results, models), "has_overlap": results.organ_iou is not None},
        "groups": _groups(results, models),
        "training": _training(results, models),
        "selection": _selection(results),
        "organs": _organs(results.quality),
        "pages": list(pages),
        "audits": list(results.audits),
    }


def headline_split(results: Results) -> str:
    """The split that the figures are about."""
    splits = {figures.get("split", "test") for figures in _summaries(results).values()}
    return "test" if "test" in splits or not splits else sorted(splits)[0]


def _cautions(results: Results) -> list[str]:
    splits = results.manifest["split"]
    found = [ALL_SPLIT] if len(splits) and (splits == "all").all() else []
    epochs = {model: len(table) for model, table in results.metrics.items()}
    if epochs:
        caution = training_caution(int(splits.isin(["train", "all"]).sum()), epochs)
        found += [caution] if caution else []
    return found


def _scans(results: Results) -> dict[str, Any]:
    counts = Counter(results.manifest["split"])
    with_report = Counter(results.manifest.loc[results.manifest["report_id"] != "", "split"])
    ordered = [split for split in SPLITS if split in counts]
    return {
        "total": len(results.manifest),
        "patients": int(results.manifest["patient_id"].nunique()),
        "splits": [{"split": s, "scans": counts[s], "with_report": with_report[s]} for s in ordered],
        "has_reports": bool((results.manifest["report_id"] != "").any()),
    }


def _failures(results: Results) -> list[dict[str, Any]]:
    """Failures by stage and kind, in the order they came."""
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for failure in results.failures:
        groups.setdefault((failure["stage"], failure["kind"]), []).append(failure)
    return [{"stage": stage, "kind": kind, "rows": rows} for (stage, kind), rows in groups.items()]


def _flagged(quality: pd.DataFrame | None) -> dict[str, Any]:
    """Scans whose segmentation failed its checks (flagged, as the segment stage counts them) or carries a remark."""
    if quality is None:
        return {"missing": "No segmentation was done.", "rows": []}
    sentences = next((name for name in ("explanation", "flags") if name in quality), None)
    rows = []
    for row in quality.to_dict("records"):
        said = row.get(sentences) if sentences else None
        text = str(said) if isinstance(said, str) and said.strip() else ""
        good = _is_true(row.get("ok", True))
        if text or not good:
            rows.append({"scan_id": row["scan_id"], "ok": good, "sentences": text or "flagged as failed"})
    failed = sum(not row["ok"] for row in rows)
    ordered = sorted(rows, key=lambda row: (row["ok"], row["scan_id"]))
    return {"rows": ordered, "total": len(quality), "failed": failed, "remarks": len(rows) - failed}


def _models(workflow: Workflow, results: Results) -> dict[str, Any]:
    summaries = _summaries(results)
    if not summaries:
        return {"missing": "No model was evaluated: without reports nothing is trained or scored."}
    split, methods = headline_split(results), _methods(results)
    first = next(iter(summaries))
    learned = len((results.summary or {}).get("learned", ()))
    rows = []
    for model, figures in summaries.items():
        shifted = figures.get("splits", {}).get("shifted", {})
        settings = workflow.models[model].mask_loss if model in workflow.models else None
        rows.append(
            {
                "model": model,
                "network": str(workflow.network_of(model).get("name", "axialnet")) if model in workflow.models else "",
                "mask_loss": describe_mask_loss(
                    settings.model_dump(mode="json") if settings else None, _chosen_weight(results, model)
                ),
                "learned": [_get(figures, "organ_iou_learned", method) for method in methods],
                "ratio": [_get(figures, "organ_iou_ratio", method) for method in methods],
                "organ_iou": [_get(figures, "organ_iou", method) for method in methods],
                "auroc": figures.get("auroc_median"),
                "auroc_shifted": shifted.get("auroc_median"),
                "average_precision": figures.get("average_precision_median"),
                "pointing": [_get(figures, "pointing", method) for method in methods],
            }
        )
    both = {row["model"]: {"test": row["auroc"], "shifted": row["auroc_shifted"]} for row in rows}
    return {
        "split": split,
        "methods": [METHOD_NAMES.get(method, method) for method in methods],
        "rows": rows,
        "cards": model_cards(results, rows, split),
        "told_well": LEARNED_AUROC,
        "learned": learned,
        "first": first,
        "has_shifted": any(row["auroc_shifted"] is not None for row in rows),
        "has_overlap": any(value is not None for row in rows for value in row["organ_iou"]),
        "has_pointing": any(value is not None for row in rows for value in row["pointing"]),
        "sentences": shift_sentences(both) if split == "test" else [],
    }


def _interventions(results: Results, models: Sequence[str]) -> dict[str, Any]:
    table = results.interventions
    if table is None:
        return {
            "missing": "No scan pairs that differ in one inserted thing were given (data.interventions), so whether a "
            "model uses a confounder was not asked of the model itself. OrganIoU alone does not answer it."
        }
    things = sorted(table["inserted"].unique(), key=lambda name: (name != "lesion", name))
    present = [model for model in models if model in set(table["model"])]
    known = table.set_index(["label", "model", "inserted"]).to_dict("index")
    split, groups = headline_split(results), []
    for label in sorted(table["label"].unique()):
        rows = []
        for model in present:
            cells = [_change(known, label, model, present[0], thing) for thing in things]
            sizes = {thing: cell["value"] for thing, cell in zip(things, cells, strict=True)}
            lesion, confounder = sizes.get("lesion"), sizes.get("confounder")
            rows.append(
                {
                    "model": model,
                    "cells": cells,
                    "relative": confounder / lesion if confounder is not None and lesion else None,
                    "auroc": _label_figure(results.classification, model, split, label, "auroc"),
                    "auroc_shifted": _label_figure(results.classification, model, "shifted", label, "auroc"),
                }
            )
        pairs = {thing: _pairs(known, label, present[0], thing) for thing in things}
        groups.append({"label": label, "rows": rows, "pairs": pairs})
    return {
        "things": things,
        "first": present[0],
        "split": split,
        "groups": groups,
        "sentences": confounder_sentences(table, present),
        "both": "lesion" in things and "confounder" in things,
    }


def _change(known: Mapping[Any, Any], label: str, model: str, first: str, thing: str) -> dict[str, float | None]:
    here, there = known.get((label, model, thing)), known.get((label, first, thing))
    value = float(here["mean_absolute_change"]) if here else None
    base = float(there["mean_absolute_change"]) if there else None
    return {"value": value, "ratio": value / base if value is not None and base else None}


def _pairs(known: Mapping[Any, Any], label: str, model: str, thing: str) -> int:
    row = known.get((label, model, thing))
    return int(row["pairs"]) if row else 0


def _charts(results: Results, models: Sequence[str]) -> list[dict[str, str]]:
    summaries = _summaries(results)
    if not summaries:
        return []
    split = headline_split(results)
    confounded = []
    if results.interventions is not None:
        there = results.interventions
        confounded = sorted(there.loc[there["inserted"] == "confounder", "label"].unique())
    charts = [
        organ_iou_chart(summaries, _methods(results), METHOD_NAMES, split) if results.organ_iou is not None else None,
        auroc_chart(summaries, results.classification, confounded, split),
        intervention_chart(results.interventions, models),
    ]
    return [chart for chart in charts if chart is not None]


def _labels(results: Results, models: Sequence[str]) -> dict[str, Any]:
    table = results.classification
    split = headline_split(results)
    if table is None or not (table["split"] == split).any():
        return {"missing": "No label was scored."}
    here = table[table["split"] == split]
    shown = [model for model in models if model in set(here["model"])]
    method = "hirescam" if "hirescam" in _methods(results) else next(iter(_methods(results)), "")
    overlaps = _overlaps(results, method, split, "label")
    figures = here.set_index(["model", "label"]).to_dict("index")
    rows = []
    for label in dict.fromkeys(here["label"]):
        first = next(figures[model, label] for model in shown if (model, label) in figures)
        cells = []
        for model in shown:
            row = figures.get((model, label), {})
            cells.append(
                {
                    "auroc": row.get("auroc"),
                    "average_precision": row.get("average_precision"),
                    "organ_iou": overlaps.get((model, label)),
                }
            )
        rows.append({"label": label, "positives": int(first["positives"]), "cells": cells})
    return {
        "split": split,
        "method": METHOD_NAMES.get(method, method),
        "models": shown,
        "rows": rows,
        "scans": int(here["scans"].max()),
    }


def _groups(results: Results, models: Sequence[str]) -> dict[str, Any]:
    split, table = headline_split(results), results.organ_iou
    if table is None:
        return {"missing": "OrganIoU was not measured."}
    here = table[(table["split"] == split) & table["by"].isin(["overall", "group"]) & (table["count"] > 0)]
    shown = [model for model in models if model in set(here["model"])]
    methods = [method for method in _methods(results) if method in set(here["method"])]
    known = here.set_index(["by", "name", "model", "method"]).to_dict("index")
    rows = []
    for by, name in dict.fromkeys(zip(here["by"], here["name"], strict=True)):
        found = [known.get((by, name, model, method)) for model in shown for method in methods]
        count = next(int(row["count"]) for row in found if row)
        rows.append({"name": name, "count": count, "values": [row["mean"] if row else None for row in found]})
    return {"split": split, "models": shown, "methods": [METHOD_NAMES.get(m, m) for m in methods], "rows": rows}


def _training(results: Results, models: Sequence[str]) -> dict[str, Any]:
    tables = {model: results.metrics[model] for model in models if model in results.metrics}
    if not tables:
        return {"missing": "No model was trained in this run."}
    last = [
        {"model": model, "epochs": len(table), "values": _numbers(table.iloc[-1].drop("epoch", errors="ignore"))}
        for model, table in tables.items()
    ]
    columns = list(dict.fromkeys(name for table in tables.values() for name in table.columns if name != "epoch"))
    return {"chart": training_chart(tables), "columns": columns, "rows": last}


def _selection(results: Results) -> list[dict[str, Any]]:
    """Models of which several trainings were tried."""
    found = []
    for model, table in results.selection.items():
        if len(table) > 1:
            columns = [name for name in table.columns if name != "chosen"]
            rows = [
                {"chosen": _is_true(row.get("chosen")), "values": [row[name] for name in columns]}
                for row in table.to_dict("records")
            ]
            found.append({"model": model, "columns": columns, "rows": rows})
    return found


def _organs(quality: pd.DataFrame | None) -> dict[str, Any]:
    if quality is None:
        return {"missing": "No segmentation was done."}
    numbers = quality.drop(columns=["ok", "seconds"], errors="ignore").select_dtypes("number")
    rows = [
        {
            "name": str(name),
            "median": float(values.median()),
            "low": float(values.min()),
            "high": float(values.max()),
            "scans": int(values.notna().sum()),
        }
        for name, values in numbers.items()
        if values.notna().any()
    ]
    volumes = [name for name in numbers.columns if str(name).endswith("_ml")]
    scans = [
        {"scan_id": row["scan_id"], "values": [row[name] for name in volumes]}
        for row in quality.sort_values("scan_id").to_dict("records")
    ]
    return {"rows": rows, "volumes": volumes, "scans": scans}


def _summaries(results: Results) -> Mapping[str, Any]:
    return (results.summary or {}).get("models", {})


def _methods(results: Results) -> list[str]:
    measured = ("organ_iou", "pointing")  # the first is not measured of 2D images, the second not of all
    found = {
        method for figures in _summaries(results).values() for figure in measured for method in figures.get(figure, {})
    }
    return sorted(found)


def _overlaps(results: Results, method: str, split: str, by: str) -> dict[tuple[str, str], float]:
    table = results.organ_iou
    if table is None:
        return {}
    here = table[(table["method"] == method) & (table["split"] == split) & (table["by"] == by)]
    return dict(zip(zip(here["model"], here["name"], strict=True), here["mean"], strict=True))


def _label_figure(table: pd.DataFrame | None, model: str, split: str, label: str, column: str) -> float | None:
    if table is None:
        return None
    found = table.loc[(table["model"] == model) & (table["split"] == split) & (table["label"] == label), column]
    return float(found.iloc[0]) if len(found) and np.isfinite(found.iloc[0]) else None


def _chosen_weight(results: Results, model: str) -> float | None:
    table = results.selection.get(model)
    if table is None or "chosen" not in table:
        return None
    chosen = table.loc[table["chosen"].map(_is_true), "weight"]
    return float(chosen.iloc[0]) if len(chosen) and np.isfinite(chosen.iloc[0]) else None


def _numbers(row: pd.Series) -> dict[str, float]:
    return {str(name): float(value) for name, value in row.items() if isinstance(value, (int, float))}


def _get(figures: Mapping[str, Any], *keys: str) -> float | None:
    value: Any = figures
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return float(value) if value is not None else None


def _is_true(value: object) -> bool:
    """Truth of a CSV cell, which may hold text."""
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
