"""Gradient times input."""

from __future__ import annotations

from torch import Tensor

from .place import looks_at

__all__ = ["gradient_x_input"]


@looks_at("input")
def gradient_x_input(inputs: Tensor, slope: Tensor, spatial_dims: int) -> Tensor:
    """Gradient times input, voxel by voxel, summed over channels: HiResCAM of the input itself.

    Shrikumar et al., "Not just a black box" (2016), section 2. For a network of ReLUs without biases it sums to the
    score.

    Args:
        inputs: ``[..., C, *voxels]``.
        slope: gradient of the score with respect to it, same shape.
        spatial_dims: number of axes in ``voxels``.

    Returns:
        ``[..., *voxels]``, raw and signed.

    Example:
        >>> import torch
        >>> gradient_x_input(torch.tensor([[3.0, 1.0]]), torch.tensor([[0.5, -2.0]]), 1)
        tensor([ 1.5000, -2.0000])
    """
    return (slope * inputs).sum(-spatial_dims - 1)
