"""Metrics of attention maps as pure functions of tensors."""

from .localization import energy_pointing, evidence_by_region, pointing_accuracy
from .organ_iou import Perfect, normalise_map, organ_counts, organ_iou, organ_iou_curve

__all__ = [
    "Perfect",
    "energy_pointing",
    "evidence_by_region",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "pointing_accuracy",
]
