"""The page's part about where the gain of a mask loss comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation import ladder_sentence
from ..evaluation.paired import DRAWS
from .results import Results

__all__ = ["ladder_sections"]

MASKS = {
    "none": "no mask loss",
    "own": "the patient's own",
    "permuted": "another patient's",
    "atlas": "mean of the training scans",
    "shuffled": "the same cells at random places",
    "swapped": "of other organs",
}
FIGURES = {"organ_iou": "OrganIoU, all labels", "pointing": "Peak on a known lesion", "auroc_median": "AUROC, median"}


def ladder_sections(results: Results) -> list[dict[str, Any]]:
    """One section for each mask loss that has controls beside it; none without."""
    if results.ladder is None:
        return []
    return [_section(str(own), table) for own, table in results.ladder.groupby("own", sort=False)]


def _section(own: str, table: pd.DataFrame) -> dict[str, Any]:
    columns = list(dict.fromkeys(zip(table["figure"], table["split"], strict=True)))
    cells = table.set_index(["control", "figure", "split"]).to_dict("index")
    models = dict(zip(table["control"], table["model"], strict=True))
    return {
        "own": own,
        "sentence": ladder_sentence(table),
        "draws": f"{DRAWS:,}",
        "headings": [f"{FIGURES.get(figure, figure)}, {split}" for figure, split in columns],
        "rows": [
            {
                "masks": MASKS.get(control, control),
                "model": model,
                "cells": [_cell(cells.get((control, *column), {})) for column in columns],
            }
            for control, model in models.items()
        ],
    }


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    interval = [row.get("low", np.nan), row.get("high", np.nan)]
    return {
        "value": row.get("value"),
        "gain": row.get("gain"),
        "interval": interval if np.isfinite(interval).all() else None,
        "beyond": row.get("change") in ("gained", "lost"),
    }
