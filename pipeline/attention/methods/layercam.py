"""Layer-CAM."""

from __future__ import annotations

from torch import Tensor

__all__ = ["layercam"]


def layercam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """Layer-CAM without its last ReLU: HiResCAM that leaves out every negative gradient.

    Jiang et al., "LayerCAM" (2021), equations 4 to 6, the last without ReLU and without scaling.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: of the score with respect to the activation, same shape or one that broadcasts to it.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``, raw; negative only where activations are.

    Example:
        >>> import torch
        >>> layercam(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 1)
        tensor([1., 0.])
    """
    return (gradient.clamp_min(0) * activation).sum(-spatial_dims - 1)
