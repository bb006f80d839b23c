"""Class activation mapping."""

from __future__ import annotations

from torch import Tensor

from .place import looks_at

__all__ = ["cam"]


@looks_at("head")
def cam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """CAM: the linear layer's weights on the features that global average pooling averages.

    Zhou et al., "Learning deep features for discriminative localization" (2016), equation 2. The bias is no part of it.

    Behind global average pooling a feature's gradient is its weight divided by the number of cells, at all of them; the
    weight is therefore the gradient's sum, and CAM is Grad-CAM and HiResCAM times the number of cells. For any other
    network CAM is not defined, and ``attention_maps`` refuses it.

    Args:
        activation: ``[..., F, *grid]``, what is pooled.
        gradient: of the score with respect to it, same shape.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``, raw and signed; its mean plus bias is the score.

    Example:
        >>> import torch
        >>> weight = torch.tensor([[4.0], [1.0]])  # of two features, each on two cells
        >>> cam(torch.tensor([[1.0, 2.0], [3.0, 0.0]]), (weight / 2).expand(2, 2), 1)
        tensor([7., 8.])
    """
    grid = tuple(range(-spatial_dims, 0))
    return (gradient.sum(grid, keepdim=True) * activation).sum(-spatial_dims - 1)
