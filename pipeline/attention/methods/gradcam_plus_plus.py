"""Grad-CAM++."""

from __future__ import annotations

from torch import Tensor

__all__ = ["gradcam_plus_plus"]


def gradcam_plus_plus(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """Grad-CAM++ without its last ReLU: a feature's weight counts each place where it speaks for the score once.

    Chattopadhay et al., "Grad-CAM++" (2018), equations 8 and 19 with the exponential of the score, as in their code:
    ``g² / (2 g² + sum(A) g³)`` times ``relu(g)``, which is ``g / (2 + sum(A) g)`` where ``g > 0`` and 0 elsewhere.

    Differences: the factor ``exp(score)`` is left out, since it scales the whole map and overflows for large scores.
    Written as one fraction nothing is divided by 0, so that no small constant is added to the denominator: those of
    other libraries (1e-7, 1e-6) drown ``g²`` wherever gradients are small, as in any large volume.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: of the score with respect to the activation, same shape or one that broadcasts to it.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``, raw.

    Example:
        >>> import torch
        >>> gradcam_plus_plus(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, -1.0]]), 1)  # weight 1 / (2 + 3)
        tensor([0.2000, 0.4000])
    """
    grid = tuple(range(-spatial_dims, 0))
    gradient = gradient.expand_as(activation + gradient)
    denominator = 2 + activation.sum(grid, keepdim=True) * gradient
    speaks = (gradient > 0) & (denominator != 0)
    share = gradient.where(speaks, 0.0) / denominator.where(speaks, 1.0)
    return (share.sum(grid, keepdim=True) * activation).sum(-spatial_dims - 1)
