"""Grad-CAM."""

from __future__ import annotations

from torch import Tensor

__all__ = ["gradcam"]


def gradcam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """Grad-CAM without its ReLU: the gradient is first averaged over the whole grid, one weight per feature.

    Selvaraju et al., "Grad-CAM" (2017), equations 1 and 2, the latter without ReLU. On a volume the average runs over
    all slabs too, as in the published AxialNet code.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: same shape; to be exact it must not be broadcast along axes where it differs.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``, raw and signed.

    Example:
        >>> import torch
        >>> gradcam(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 1)
        tensor([-1., -1.])
    """
    grid = tuple(range(-spatial_dims, 0))
    return (gradient.mean(grid, keepdim=True) * activation).sum(-spatial_dims - 1)
