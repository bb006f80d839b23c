"""Metrics of attention maps and of classification, as pure functions and MONAI metric classes."""

from .classification import accuracy, auroc, average_precision, classification_table, top_k
from .functional import (
    energy_pointing,
    evidence_by_region,
    normalise_map,
    organ_counts,
    organ_iou,
    organ_iou_curve,
    pointing_accuracy,
)
from .groups import concept_groups, summarise_scores
from .organ_iou_metric import OrganIoU
from .presence import is_present
from .thresholds import THRESHOLDS, fill_thresholds, find_thresholds

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
    "is_present",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "pointing_accuracy",
    "summarise_scores",
    "top_k",
]
