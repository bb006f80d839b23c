"""Guided backpropagation."""

from __future__ import annotations

from torch import Tensor

from .gradient import gradient
from .place import looks_at

__all__ = ["guided_backprop"]


@looks_at("guided")
def guided_backprop(inputs: Tensor, slope: Tensor, spatial_dims: int) -> Tensor:
    """The gradient of the input that every ReLU lets through only where it is positive; summed over channels.

    Springenberg et al., "Striving for simplicity" (2015), section 3.4. ``organcam.attention.guided`` makes ReLUs behave
    so, modules and functions alike.

    It shows edges of the image rather than reasons of the class: Adebayo et al., "Sanity checks for saliency maps"
    (2018), found it hardly changed when the network's weights are random.

    Args:
        inputs: ``[..., C, *voxels]``; only its shape counts.
        slope: guided gradient with respect to it, same shape.
        spatial_dims: number of axes in ``voxels``.

    Returns:
        ``[..., *voxels]``, raw and signed.
    """
    return gradient(inputs, slope, spatial_dims)
