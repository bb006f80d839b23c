"""A card for each model: what it gained beside the first model and what it lost, label by label, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation import LEARNED_AUROC
from .results import Results

__all__ = ["model_cards"]


def model_cards(results: Results, models: Sequence[Mapping[str, Any]], split: str) -> list[dict[str, Any]]:
    """What the page's first lines say of every model; falls are told as fully as rises.

    Args:
        results: of the run.
        models: rows of the models' table (``model, mask_loss, organ_iou, auroc, auroc_shifted``); the others are
            compared with the first.
        split: that the figures are of.
    """
    return [
        {
            **row,
            "told": _told(results.classification, str(row["model"]), split),
            "compared": _compared(results, row, models),
        }
        for row in models
    ]


def _told(table: pd.DataFrame | None, model: str, split: str) -> dict[str, int] | None:
    """How many labels a model tells well, of those whose AUROC is defined."""
    if table is None:
        return None
    areas = table.loc[(table["model"] == model) & (table["split"] == split), "auroc"].dropna()
    return {"well": int((areas >= LEARNED_AUROC).sum()), "of": len(areas)} if len(areas) else None


def _compared(results: Results, row: Mapping[str, Any], models: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The labels of a model beside the first model's; None for the first one, or without labels in common."""
    table = results.gains
    if table is None or row["model"] == models[0]["model"]:
        return None
    here = table[(table["model"] == row["model"]) & table["difference"].notna()]
    if here.empty:
        return None
    first = models[0]
    rose, fell = here[here["difference"] > 0], here[here["difference"] < 0]
    return {
        "first": first["model"],
        "auroc": [first["auroc"], row["auroc"]],
        "labels": len(here),
        "scans": int(here["scans"].max()),
        "rose": _labels(rose.sort_values("difference", ascending=False), "gained"),
        "fell": _labels(fell.sort_values("difference"), "lost"),
        "same": len(here) - len(rose) - len(fell),
    }


def _labels(table: pd.DataFrame, clear: str) -> dict[str, Any]:
    """The labels that moved one way, those whose interval leaves 0 out apart from those that chance may have moved."""
    rows = [
        {
            "label": row["label"],
            "difference": float(row["difference"]),
            "interval": [float(row["low"]), float(row["high"])] if np.isfinite(row["low"]) else None,
            "auroc": [float(row["reference_auroc"]), float(row["auroc"])],
            "positives": int(row["positives"]),
            "beyond": row["change"] == clear,
        }
        for row in table.to_dict("records")
    ]
    return {"beyond": [row for row in rows if row["beyond"]], "within": [row for row in rows if not row["beyond"]]}
