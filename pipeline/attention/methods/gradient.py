"""The plain gradient."""

from __future__ import annotations

from torch import Tensor

from .place import looks_at

__all__ = ["gradient"]


@looks_at("input")
def gradient(inputs: Tensor, slope: Tensor, spatial_dims: int) -> Tensor:
    """The score's gradient with respect to the input, summed over channels.

    Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks" (2014), section 3.

    Differences: raw and signed; the paper takes the largest absolute value over channels. With one channel, as CT has
    it, there is nothing to sum.

    Args:
        inputs: ``[..., C, *voxels]``; only its shape counts.
        slope: gradient of the score with respect to it, same shape.
        spatial_dims: number of axes in ``voxels``.

    Returns:
        ``[..., *voxels]``.

    Example:
        >>> import torch
        >>> gradient(torch.zeros(1, 2), torch.tensor([[0.5, -2.0]]), 1)
        tensor([ 0.5000, -2.0000])
    """
    return slope.expand_as(inputs + slope).sum(-spatial_dims - 1)
