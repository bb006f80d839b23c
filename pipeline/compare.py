"""The result tables of one or several runs, read from their ``evaluation/summary.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from .errors import OrganCamError

__all__ = ["interventions_table", "ladder_sentences", "read_summary", "results_table"]


def read_summary(run: Path) -> dict[str, Any]:
    """The summary of a run directory.

    Raises:
        OrganCamError: if the run has not been evaluated, or the file is damaged.
    """
    path = run / "evaluation" / "summary.json"
    if not path.is_file():
        msg = f"{run} has no evaluation/summary.json: run the evaluate stage first"
        raise OrganCamError(msg)
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        summary = None
    if not _is_summary(summary):
        msg = f"{path} is damaged: run the evaluate stage again"
        raise OrganCamError(msg)
    return summary


def _is_summary(value: Any) -> bool:
    models = value.get("models") if isinstance(value, dict) else None
    ladders = value.get("ladder", []) if isinstance(value, dict) else None
    if not isinstance(ladders, list) or not all(
        isinstance(ladder, dict) and isinstance(ladder.get("sentence"), str) for ladder in ladders
    ):
        return False
    return isinstance(models, dict) and all(
        isinstance(found, dict)
        and isinstance(found.get("split"), str)
        and isinstance(found.get("organ_iou"), dict)
        and isinstance(found.get("splits"), dict)
        for found in models.values()
    )


def results_table(runs: Sequence[Path]) -> Table:
    """One row a run and model: OrganIoU over the labels that all models have learned, how many times Grad-CAM's of the
    first model it is, AUROC in the headline and the shifted split, pointing."""
    table = _table("Results", "run", "model", "split")
    for heading in (
        "times first\nGrad-CAM",
        "OrganIoU\nHiResCAM",
        "OrganIoU\nGrad-CAM",
        "AUROC\nmedian",
        "AUROC\nshifted",
        "pointing\nHiResCAM",
    ):
        table.add_column(heading, justify="right")
    learned = []
    for run in runs:
        summary = read_summary(run)
        learned.append(len(summary.get("learned", ())))
        for model, found in summary["models"].items():
            shifted, overlap = found["splits"].get("shifted", {}), found.get("organ_iou_learned", {})
            values = (
                found.get("organ_iou_ratio", {}).get("hirescam"),
                overlap.get("hirescam"),
                overlap.get("gradcam"),
                found.get("auroc_median"),
                shifted.get("auroc_median"),
                found.get("pointing", {}).get("hirescam"),
            )
            table.add_row(run.name, model, found["split"], *map(_shown, values))
    counts = " to ".join(str(count) for count in sorted({min(learned), max(learned)}))
    table.caption = f"OrganIoU over the {counts} labels that every model of a run tells with an AUROC of .8 or more"
    return table


def interventions_table(runs: Sequence[Path]) -> Table | None:
    """One row a run, model and label: how far putting in the lesion or the confounder moves the logit, and AUROC.

    None if no run has interventions.
    """
    table = _table("What moves the logit", "run", "model", "label")
    for heading in ("lesion\nput in", "confounder\nput in", "AUROC", "AUROC\nshifted"):
        table.add_column(heading, justify="right")
    for run in runs:
        for model, found in read_summary(run)["models"].items():
            for label, moved in found.get("interventions", {}).items():
                areas = (found["splits"].get(split, {}).get("auroc", {}).get(label) for split in ("test", "shifted"))
                values = (moved.get("lesion"), moved.get("confounder"), *areas)
                table.add_row(*map(escape, (run.name, model, label)), *map(_shown, values))
    return table if table.row_count else None


def ladder_sentences(runs: Sequence[Path]) -> list[str]:
    """What the gain of each mask loss comes from, where a run has controls beside it (`organcam.evaluation.ladder`)."""
    told = [(run.name, ladder) for run in runs for ladder in read_summary(run).get("ladder", ())]
    return [f"{run}: {ladder['sentence']}" for run, ladder in told if ladder["sentence"]]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", box=None)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _shown(value: float | None) -> str:
    return "" if value is None or isnan(value) else f"{value:.3f}"
