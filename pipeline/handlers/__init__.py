"""Ignite handlers for MONAI's engines."""

from .attention_saver import AttentionSaver
from .mask_loss_ramp import MaskLossRamp
from .pair_metrics import OrganIoUHandler, PairMetricHandler

__all__ = ["AttentionSaver", "MaskLossRamp", "OrganIoUHandler", "PairMetricHandler"]
