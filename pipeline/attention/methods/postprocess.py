"""What is done to raw maps afterwards, if at all: no method does it by itself."""

from __future__ import annotations

from torch import Tensor

__all__ = ["positive_part", "scale_to_one"]


def positive_part(maps: Tensor) -> Tensor:
    """The ReLU that publications of Grad-CAM and its family put at the end: evidence for the class alone.

    Args:
        maps: of any shape.

    Returns:
        The same with 0 for negative values.
    """
    return maps.clamp_min(0)


def scale_to_one(maps: Tensor, leading: int = 2) -> Tensor:
    """Divide every map by its largest absolute value; signs and zeros stay where they are.

    Unlike a scaling from minimum to maximum, it does not turn "no evidence" into some. Maps of several scans, labels or
    slabs are no longer comparable afterwards.

    Args:
        maps: ``[B, M, *grid]``.
        leading: axes before the grid.

    Returns:
        Maps in [-1, 1]; a map of zeros stays one.

    Example:
        >>> import torch
        >>> scale_to_one(torch.tensor([[[-4.0, 2.0, 0.0]]])).tolist()
        [[[-1.0, 0.5, 0.0]]]
    """
    largest = maps.abs().flatten(leading).amax(-1)
    largest = largest.where(largest > 0, 1.0)
    return maps / largest.reshape(*largest.shape, *(1,) * (maps.ndim - leading))
