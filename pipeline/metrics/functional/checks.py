"""What every metric of maps refuses."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["validate_maps", "validate_pair", "validate_values"]


def validate_pair(attention: Tensor, region: Tensor) -> None:
    """Refuse a mask of another shape, one of other values than shares, and maps that are not finite."""
    if attention.shape != region.shape or attention.ndim < 3:
        msg = (
            f"attention and mask must have the same shape [B, M, *grid], got {tuple(attention.shape)} "
            f"and {tuple(region.shape)}"
        )
        raise ValueError(msg)
    validate_values(attention, region)


def validate_values(attention: Tensor, region: Tensor) -> None:
    """Refuse maps that are not finite and shares outside 0 to 1."""
    _validate_finite(attention)
    if not ((region >= 0) & (region <= 1)).all():
        msg = f"a mask holds shares from 0 to 1, got values from {region.min().item()} to {region.max().item()}"
        raise ValueError(msg)


def validate_maps(attention: Tensor) -> None:
    """Refuse what is no map of an item and a label, and maps that are not finite."""
    if attention.ndim < 3 or attention.numel() == 0:
        msg = f"attention must be [B, M, *grid] with at least one cell, got {tuple(attention.shape)}"
        raise ValueError(msg)
    _validate_finite(attention)


def _validate_finite(attention: Tensor) -> None:
    if not torch.isfinite(attention).all():
        msg = "attention holds NaN or infinity"
        raise ValueError(msg)
