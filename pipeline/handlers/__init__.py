"""Ignite handlers for MONAI's engines."""

from .attention_saver import AttentionSaver
from .mask_loss_ramp import MaskLossRamp
from .organ_iou import OrganIoUHandler

__all__ = ["AttentionSaver", "MaskLossRamp", "OrganIoUHandler"]
