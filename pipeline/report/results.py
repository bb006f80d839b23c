"""Reading the tables a run has written; what is not there is None, so that a page can say so."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..spreadsheet import from_text
from .audits import read_audits

__all__ = ["Results", "read_results"]


@dataclass(frozen=True)
class Results:
    """The tables of a run.

    Attributes:
        manifest: one row a scan.
        summary: ``evaluation/summary.json``.
        organ_iou: ``evaluation/organ_iou.csv``.
        classification: ``evaluation/classification.csv``.
        interventions: ``evaluation/interventions.csv``.
        gains: ``evaluation/gains.csv``.
        ladder: ``evaluation/ladder.csv``.
        quality: ``organs/quality.csv``.
        findings: ``labels/findings.csv``.
        metrics: model -> ``metrics.csv``, one row an epoch.
        selection: model -> ``selection.csv``, one row a candidate weight of the mask loss.
        failures: dictionaries with ``stage, scan_id, kind, reason``.
        notes: sentences that stages left in ``run.json``.
        audits: of `read_audits`.
    """

    manifest: pd.DataFrame
    summary: Mapping[str, Any] | None = None
    organ_iou: pd.DataFrame | None = None
    classification: pd.DataFrame | None = None
    interventions: pd.DataFrame | None = None
    gains: pd.DataFrame | None = None
    ladder: pd.DataFrame | None = None
    quality: pd.DataFrame | None = None
    findings: pd.DataFrame | None = None
    metrics: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    selection: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    failures: Sequence[Mapping[str, str]] = ()
    notes: Sequence[str] = ()
    audits: Sequence[Mapping[str, Any]] = ()


def read_results(
    root: Path,
    models: Sequence[str],
    failures: Sequence[Mapping[str, str]] = (),
    outdated: Collection[str] = (),
    notes: Sequence[str] = (),
) -> Results:
    """Read what there is.

    Args:
        root: the run directory, with at least ``manifest.csv``.
        models: names of the models that are trained as the workflow says.
        failures: of all stages.
        outdated: ``evaluation``, ``organs`` or ``labels``: folders that hold results of other settings; they are
            left out.
        notes: what is to be said beside the notes of ``run.json``.
    """
    evaluation = root / ("nowhere" if "evaluation" in outdated else "evaluation")
    organs, labels = (root / ("nowhere" if name in outdated else name) for name in ("organs", "labels"))
    return Results(
        manifest=pd.read_csv(root / "manifest.csv", dtype=str, keep_default_na=False),
        summary=_json(evaluation / "summary.json"),
        organ_iou=_table(evaluation / "organ_iou.csv", name=str),
        classification=_table(evaluation / "classification.csv"),
        interventions=_table(evaluation / "interventions.csv"),
        gains=_table(evaluation / "gains.csv"),
        ladder=_table(evaluation / "ladder.csv"),
        quality=_table(organs / "quality.csv", scan_id=str),
        findings=_text_table(labels / "findings.csv"),
        metrics=_per_model(root, models, "metrics.csv"),
        selection=_per_model(root, models, "selection.csv"),
        failures=failures,
        audits=read_audits(root, models),
        notes=tuple(dict.fromkeys((*notes, *_notes(_json(root / "run.json"))))),
    )


def _per_model(root: Path, models: Sequence[str], name: str) -> dict[str, pd.DataFrame]:
    tables = {model: _table(root / "models" / model / name) for model in models}
    return {model: table for model, table in tables.items() if table is not None}


def _table(path: Path, **types: type) -> pd.DataFrame | None:
    """A table with at least one row."""
    try:
        table = pd.read_csv(path, dtype=types)
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return None
    return table if len(table) else None


def _text_table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return table.assign(report_id=table["report_id"].map(from_text)) if "report_id" in table.columns else table


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else None


def _notes(state: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Notes of the run and of its stages, each once, in order."""
    if state is None:
        return ()
    parts = [state, *(stage for stage in state.get("stages", {}).values() if isinstance(stage, dict))]
    found = (note for part in parts for note in part.get("notes", ()))
    return tuple(dict.fromkeys(str(note) for note in found))
