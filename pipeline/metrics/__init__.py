"""Metrics of attention maps and of classification, as pure functions and MONAI metric classes."""

from .classification import accuracy, auroc, average_precision, classification_table, top_k
from .functional import (
    completeness_gap,
    deletion_gaps,
    distance_to_used,
    energy_pointing,
    evidence_by_region,
    method_agreement,
    normalise_map,
    organ_counts,
    organ_iou,
    organ_iou_curve,
    pointing_accuracy,
    randomisation_cascade,
    rank_correlation,
    sign_flips,
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
    "completeness_gap",
    "concept_groups",
    "deletion_gaps",
    "distance_to_used",
    "energy_pointing",
    "evidence_by_region",
    "fill_thresholds",
    "find_thresholds",
    "is_present",
    "method_agreement",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "pointing_accuracy",
    "randomisation_cascade",
    "rank_correlation",
    "sign_flips",
    "summarise_scores",
    "top_k",
]
