"""Guided Grad-CAM."""

from __future__ import annotations

from torch import Tensor

from .place import looks_at

__all__ = ["guided_gradcam"]


@looks_at("guided layer")
def guided_gradcam(coarse: Tensor, guided: Tensor) -> Tensor:
    """Guided backpropagation where Grad-CAM is positive.

    Selvaraju et al., "Grad-CAM" (2017), section 3.2. The ReLU on Grad-CAM belongs to the definition: without it two
    negative factors would make evidence.

    Args:
        coarse: Grad-CAM on the voxels of the input, ``[..., *voxels]``.
        guided: guided backpropagation, same shape.

    Returns:
        ``[..., *voxels]``, raw and signed.

    Example:
        >>> import torch
        >>> guided_gradcam(torch.tensor([2.0, -1.0, 1.0]), torch.tensor([1.0, -3.0, -0.5]))
        tensor([ 2.0000,  0.0000, -0.5000])
    """
    return coarse.clamp_min(0) * guided + 0.0  # minus 0 is 0
