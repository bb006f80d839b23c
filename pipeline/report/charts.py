"""The figures of the index page, each with a text that says the same to those who do not see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from .figures import BarPanel, LinePanel, bar_chart, line_chart
from .panels import data_uri

__all__ = ["auroc_chart", "intervention_chart", "organ_iou_chart", "training_chart"]

MOST_PANELS = 4
SVG = "image/svg+xml"


def organ_iou_chart(
    summaries: Mapping[str, Any], methods: Sequence[str], names: Mapping[str, str], split: str
) -> dict[str, str] | None:
    """OrganIoU by model and method, over the labels that all models have learned if there are any."""
    learned = all(figures.get("organ_iou_learned") for figures in summaries.values())
    shown = "organ_iou_learned" if learned else "organ_iou"
    series = {
        names.get(method, method): [figures.get(shown, {}).get(method) for figures in summaries.values()]
        for method in methods
    }
    if not series:
        return None
    panel = BarPanel("", series)
    return {
        "title": f"OrganIoU by model and method, {split} split{', learned labels' if learned else ''}",
        "image": data_uri(bar_chart([panel], list(summaries), "OrganIoU", (0.0, 1.0)), SVG),
        "text": _spoken([panel], list(summaries)),
    }


def auroc_chart(
    summaries: Mapping[str, Any], table: pd.DataFrame | None, confounded: Sequence[str], split: str
) -> dict[str, str] | None:
    """Median AUROC, and that of each confounded label, on the headline split beside the shifted one."""
    splits = [split, *(["shifted"] if any("shifted" in f.get("splits", {}) for f in summaries.values()) else [])]
    panels = [
        BarPanel(
            "median of the labels",
            {
                name: [figures.get("splits", {}).get(name, {}).get("auroc_median") for figures in summaries.values()]
                for name in splits
            },
        )
    ]
    if table is not None:
        known = table.set_index(["model", "split", "label"])["auroc"].to_dict()
        for label in confounded[: MOST_PANELS - 1]:
            panels.append(
                BarPanel(label, {name: [known.get((model, name, label)) for model in summaries] for name in splits})
            )
    return {
        "title": "AUROC" + (f": {split} split beside shifted split" if len(splits) > 1 else f", {split} split"),
        "image": data_uri(bar_chart(panels, list(summaries), "AUROC", (0.0, 1.0)), SVG),
        "text": _spoken(panels, list(summaries)),
    }


def intervention_chart(table: pd.DataFrame | None, models: Sequence[str]) -> dict[str, str] | None:
    """Mean absolute change of the logit by what was put in."""
    if table is None:
        return None
    shown = [model for model in models if model in set(table["model"])]
    things = sorted(table["inserted"].unique(), key=lambda name: (name != "lesion", name))
    known = table.set_index(["model", "inserted", "label"])["mean_absolute_change"].to_dict()
    panels = [
        BarPanel(label, {thing: [known.get((model, thing, label)) for model in shown] for thing in things})
        for label in sorted(table["label"].unique())[:MOST_PANELS]
    ]
    return {
        "title": "Mean absolute change of the logit when one thing is put into a scan",
        "image": data_uri(bar_chart(panels, shown, "change of the logit", form=".3g"), SVG),
        "text": _spoken(panels, shown),
    }


def training_chart(tables: Mapping[str, pd.DataFrame]) -> dict[str, str]:
    """Loss of each model over the epochs, and the AUROC on validation where it was measured."""
    panels = [
        LinePanel(
            model,
            {
                name.removesuffix("_loss"): (table["epoch"].tolist(), table[name].tolist())
                for name in table.columns
                if str(name).endswith("_loss")
            },
            "loss",
        )
        for model, table in tables.items()
    ]
    judged = sorted({str(name) for table in tables.values() for name in table.columns if "auroc" in str(name)})
    panels += [
        LinePanel(
            name.replace("_", " "),
            {
                model: (table["epoch"].tolist(), table[name].tolist())
                for model, table in tables.items()
                if name in table
            },
            "AUROC",
        )
        for name in judged
    ]
    return {
        "title": "Training",
        "image": data_uri(line_chart(panels, "epoch"), SVG),
        "text": "Loss by epoch of " + ", ".join(tables),
    }


def _spoken(panels: Sequence[BarPanel], groups: Sequence[str]) -> str:
    parts = []
    for panel in panels:
        for name, values in panel.series.items():
            shown = ", ".join(
                f"{group} {value:.3g}" for group, value in zip(groups, values, strict=True) if value is not None
            )
            parts.append(f"{panel.title + ', ' if panel.title else ''}{name}: {shown}")
    return "; ".join(parts)
