"""Metrics of attention maps as pure functions of tensors."""

from .axial import axial_error
from .boxes import box_mask, boxes_of_xywh, point_localization
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
from .mask_score import compute_score
from .organ_iou import Fidelity, normalise_map, organ_counts, organ_iou, organ_iou_curve
from .overlap import WSS_THRESHOLDS, Overlap, localization_hits, mask_iou_curve, mask_overlap
from .peaks import lesion_recall, peaks_of
from .perturbation import PerturbationCurve, deletion_curve, insertion_curve, masked_out_area

__all__ = [
    "WSS_THRESHOLDS",
    "Fidelity",
    "Overlap",
    "PerturbationCurve",
    "axial_error",
    "box_mask",
    "boxes_of_xywh",
    "completeness_gap",
    "compute_score",
    "deletion_curve",
    "deletion_gaps",
    "distance_to_used",
    "energy_pointing",
    "evidence_by_region",
    "insertion_curve",
    "lesion_recall",
    "localization_hits",
    "mask_iou_curve",
    "mask_overlap",
    "masked_out_area",
    "method_agreement",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "peaks_of",
    "point_localization",
    "pointing_accuracy",
    "randomisation_cascade",
    "rank_correlation",
    "sign_flips",
]
