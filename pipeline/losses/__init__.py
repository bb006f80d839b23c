"""Losses: classification, and losses on attention with organ masks."""

from .class_weights import classification_loss, positive_weights
from .guidance import EnergyLoss, L1Loss, energy_loss, l1_loss
from .mask_loss import ClassAndMaskLoss, MaskLoss, mask_loss

__all__ = [
    "ClassAndMaskLoss",
    "EnergyLoss",
    "L1Loss",
    "MaskLoss",
    "classification_loss",
    "energy_loss",
    "l1_loss",
    "mask_loss",
    "positive_weights",
]
