"""Losses: classification, and losses on attention with organ masks."""

from .class_weights import classification_loss, positive_weights
from .controls import CONTROLS, atlas_regions, other_patients, shuffled_regions, swapped_places
from .guidance import EnergyLoss, L1Loss, energy_loss, l1_loss
from .mask_loss import ClassAndMaskLoss, MaskLoss, mask_loss

__all__ = [
    "CONTROLS",
    "ClassAndMaskLoss",
    "EnergyLoss",
    "L1Loss",
    "MaskLoss",
    "atlas_regions",
    "classification_loss",
    "energy_loss",
    "l1_loss",
    "mask_loss",
    "other_patients",
    "positive_weights",
    "shuffled_regions",
    "swapped_places",
]
