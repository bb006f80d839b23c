"""Losses: classification with the mask loss on attention."""

from .mask_loss import ClassAndMaskLoss, MaskLoss, mask_loss

__all__ = ["ClassAndMaskLoss", "MaskLoss", "mask_loss"]
