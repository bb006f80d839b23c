"""OrganIoU over the labels that all models have learned, and how far each model's is above the first one's.

Where a network looks for a label that it cannot tell says little: a comparison over all labels compares, in part, a
network that failed with one that works.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scores import ModelScores

__all__ = ["LEARNED_AUROC", "add_learned", "learned_labels"]

LEARNED_AUROC = 0.8
"""Least AUROC of a label that counts as learned."""


def learned_labels(scores: Mapping[str, ModelScores], models: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The labels that every model tells with an AUROC of `LEARNED_AUROC` or more in its headline split.

    Args:
        scores: model -> figures of its scans.
        models: model -> headline figures, see `evaluate_models`.

    Returns:
        In the order of the first model; labels with one class only are not among them.
    """
    first = next(iter(scores.values()))
    areas = [figures["auroc"] for figures in models.values()]
    return tuple(label for label in first.labels if all(area.get(label, 0.0) >= LEARNED_AUROC for area in areas))


def add_learned(scores: Mapping[str, ModelScores], models: Mapping[str, dict[str, Any]]) -> tuple[str, ...]:
    """Add ``organ_iou_learned`` (method -> mean) and ``organ_iou_ratio`` (method -> ratio) to every model's figures.

    The mean is over the pairs of a scan of the headline split and a learned label that its report has, as OrganIoU's
    is over all labels. The ratio is to Grad-CAM of the first model, the common practice that the others are measured
    against; to its own method where Grad-CAM was not made.

    Returns:
        The learned labels.
    """
    learned = learned_labels(scores, models)
    for model, found in scores.items():
        columns = [found.labels.index(label) for label in learned]
        here = found.of_split(models[model]["split"])
        models[model]["organ_iou_learned"] = {
            method: _mean(values[:, columns])
            for method, values in here.organ_iou.items()
            if method in models[model]["organ_iou"]
        }
    first = next(iter(models.values()))["organ_iou_learned"]
    for figures in models.values():
        figures["organ_iou_ratio"] = {
            method: _ratio(value, first.get("gradcam", first.get(method)))
            for method, value in figures["organ_iou_learned"].items()
        }
    return learned


def _mean(values: NDArray[np.float64]) -> float:
    return float(np.nanmean(values)) if (~np.isnan(values)).any() else float("nan")


def _ratio(value: float, reference: float | None) -> float:
    return value / reference if reference else float("nan")
