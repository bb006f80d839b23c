"""XGrad-CAM."""

from __future__ import annotations

from torch import Tensor

__all__ = ["xgradcam"]


def xgradcam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """XGrad-CAM without its ReLU: a feature's weight is its gradient, averaged by its share of the activation.

    Fu et al., "Axiom-based Grad-CAM" (2020), equation 8. Each feature's part of the map sums to that of HiResCAM.

    Differences: a feature whose activations sum to 0 has no shares; its weight is 0 instead of a division by a small
    constant.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: of the score with respect to the activation, same shape or one that broadcasts to it.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``, raw and signed.

    Example:
        >>> import torch
        >>> xgradcam(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 0.0]]), 1)  # weight (2 * 1 + 0 * 3) / 4
        tensor([0.5000, 1.5000])
    """
    grid = tuple(range(-spatial_dims, 0))
    total = activation.sum(grid, keepdim=True)
    weight = (gradient * activation).sum(grid, keepdim=True) / total.where(total != 0, 1.0)
    return (weight.where(total != 0, 0.0) * activation).sum(-spatial_dims - 1)
