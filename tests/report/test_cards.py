"""The cards of the models tell falls as fully as rises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from organcam.report.cards import model_cards
from organcam.report.results import Results

MANIFEST = pd.DataFrame({"scan_id": []})


def row(model: str, auroc: float) -> dict[str, Any]:
    return {"model": model, "auroc": auroc, "auroc_shifted": None, "organ_iou": [0.5]}


def gains(**labels: tuple[float, float, float, str]) -> pd.DataFrame:
    rows = [
        {
            "model": "masked",
            "reference": "baseline",
            "split": "test",
            "label": label,
            "auroc": 0.7 + difference,
            "reference_auroc": 0.7,
            "difference": difference,
            "low": low,
            "high": high,
            "change": change,
            "positives": 5,
            "scans": 30,
        }
        for label, (difference, low, high, change) in labels.items()
    ]
    return pd.DataFrame(rows)


TABLE = gains(
    effusion=(0.25, 0.1, 0.4, "gained"),
    fat=(0.05, -0.1, 0.2, "unclear"),
    nodule=(-0.04, -0.2, 0.1, "unclear"),
    mass=(-0.2, -0.3, -0.1, "lost"),
    cyst=(-0.1, np.nan, np.nan, "unclear"),
    scar=(0.0, -0.1, 0.1, "unclear"),
    absent=(np.nan, np.nan, np.nan, ""),
)


def test_a_card_counts_every_label_that_moved() -> None:
    first, second = model_cards(Results(MANIFEST, gains=TABLE), [row("baseline", 0.7), row("masked", 0.9)], "test")
    assert first["compared"] is None
    found = second["compared"]
    assert (found["first"], found["auroc"], found["labels"], found["scans"], found["same"]) == (
        *("baseline", [0.7, 0.9]),
        *(6, 30, 1),
    )
    assert [label["label"] for label in found["fell"]["beyond"]] == ["mass"]
    assert [label["label"] for label in found["fell"]["within"]] == ["cyst", "nodule"]
    assert [label["label"] for label in found["rose"]["beyond"]] == ["effusion"]
    assert [label["label"] for label in found["rose"]["within"]] == ["fat"]
    assert found["fell"]["beyond"][0]["interval"] == [-0.3, -0.1]
    assert found["fell"]["within"][0]["interval"] is None


def test_labels_told_well_are_those_from_point_eight() -> None:
    table = pd.DataFrame({"model": "m", "split": ["test"] * 4 + ["valid"], "auroc": [0.8, 0.79, 0.95, np.nan, 0.9]})
    (card,) = model_cards(Results(MANIFEST, classification=table), [row("m", 0.8)], "test")
    assert card["told"] == {"well": 2, "of": 3}
    assert card["compared"] is None
