"""Metrics of attention maps as pure functions of tensors."""

from .faithfulness import (
    completeness_gap,
    deletion_gaps,
    distance_to_used,
    method_agreement,
    randomisation_cascade,
    rank_correlation,
    sign_flips,
)
from .localization import energy_pointing, evidence_by_region, pointing_accuracy
from .organ_iou import Perfect, normalise_map, organ_counts, organ_iou, organ_iou_curve

__all__ = [
    "Perfect",
    "completeness_gap",
    "deletion_gaps",
    "distance_to_used",
    "energy_pointing",
    "evidence_by_region",
    "method_agreement",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "pointing_accuracy",
    "randomisation_cascade",
    "rank_correlation",
    "sign_flips",
]
