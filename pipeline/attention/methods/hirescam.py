"""HiResCAM."""

from __future__ import annotations

from torch import Tensor

__all__ = ["hirescam"]


def hirescam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """HiResCAM: gradient times activation, place by place, summed over features.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks"
    (2020), equation 4. For a score that is linear in the activation, the map sums to the score less its bias.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: of the score with respect to the activation, same shape or one that broadcasts to it.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``, raw and signed.

    Example:
        >>> import torch
        >>> hirescam(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 1)
        tensor([ 1., -4.])
    """
    return (gradient * activation).sum(-spatial_dims - 1)
