"""Class activation methods as pure functions of one layer's activation and gradient; raw and signed.

Neither ReLU nor normalisation is applied anywhere: negative evidence is evidence, and a map's scale carries the score.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["gradcam", "hirescam"]


def hirescam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """HiResCAM: gradient times activation, place by place, summed over features.

    Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks"
    (2020), equation 4. For a score that is linear in the activation, the map sums to the score less its bias.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: of the score with respect to the activation, same shape or one that broadcasts to it.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``.

    Example:
        >>> import torch
        >>> hirescam(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 1)
        tensor([ 1., -4.])
    """
    return (gradient * activation).sum(-spatial_dims - 1)


def gradcam(activation: Tensor, gradient: Tensor, spatial_dims: int) -> Tensor:
    """Grad-CAM without its ReLU: the gradient is first averaged over the whole grid, one weight per feature.

    Selvaraju et al., "Grad-CAM" (2017), equations 1 and 2, the latter without ReLU. On a volume the average runs over
    all slabs too, as in the published AxialNet code.

    Args:
        activation: ``[..., F, *grid]``.
        gradient: same shape; to be exact it must not be broadcast along axes where it differs.
        spatial_dims: number of axes in ``grid``.

    Returns:
        ``[..., *grid]``.

    Example:
        >>> import torch
        >>> gradcam(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -1.0]]), 1)
        tensor([-1., -1.])
    """
    grid = tuple(range(-spatial_dims, 0))
    return (gradient.mean(grid, keepdim=True) * activation).sum(-spatial_dims - 1)
