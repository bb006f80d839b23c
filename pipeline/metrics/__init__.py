"""Metrics of attention maps and of classification, as pure functions and MONAI metric classes."""

from .classification import accuracy, auroc, average_precision, classification_table, top_k
from .groups import concept_groups, summarise_scores
from .localization import energy_pointing, evidence_by_region, pointing_accuracy
from .organ_iou import (
    THRESHOLDS,
    OrganIoU,
    fill_thresholds,
    find_thresholds,
    normalise_map,
    organ_counts,
    organ_iou,
    organ_iou_curve,
)

__all__ = [
    "THRESHOLDS",
    "OrganIoU",
    "accuracy",
    "auroc",
    "average_precision",
    "classification_table",
    "concept_groups",
    "energy_pointing",
    "evidence_by_region",
    "fill_thresholds",
    "find_thresholds",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "pointing_accuracy",
    "summarise_scores",
    "top_k",
]
