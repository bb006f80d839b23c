"""The result tables of one or several runs, read from their ``evaluation/summary.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from .errors import OrganCamError

__all__ = ["read_summary", "results_table"]


def read_summary(run: Path) -> dict[str, Any]:
    """The summary of a run directory.

    Raises:
        OrganCamError: if the run has not been evaluated.
    """
    path = run / "evaluation" / "summary.json"
    if not path.is_file():
        msg = f"{run} has no evaluation/summary.json: run the evaluate stage first"
        raise OrganCamError(msg)
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary


def results_table(runs: Sequence[Path]) -> Table:
    """One row a run and model: OrganIoU, AUROC, pointing, and how far insertions move the logits."""
    table = Table(title="Results" if len(runs) > 1 else f"Results of {runs[0]}", title_justify="left")
    for heading in ("run", "model", "split"):
        table.add_column(heading)
    for heading in (
        "OrganIoU\nGrad-CAM",
        "OrganIoU\nHiResCAM",
        "AUROC\nmedian",
        "AUROC\nshifted",
        "pointing\nHiResCAM",
    ):
        table.add_column(heading, justify="right")
    for run in runs:
        for model, found in read_summary(run)["models"].items():
            shifted = found["splits"].get("shifted", {})
            table.add_row(
                run.name,
                model,
                found["split"],
                _shown(found["organ_iou"].get("gradcam")),
                _shown(found["organ_iou"].get("hirescam")),
                _shown(found.get("auroc_median")),
                _shown(shifted.get("auroc_median")),
                _shown(found.get("pointing", {}).get("hirescam")),
            )
    return table


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
