"""Other losses on attention with the same masks: how much of it lies inside, and how far it is from the mask."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.modules.loss import _Loss

from ..metrics.presence import is_present

__all__ = ["EnergyLoss", "L1Loss", "energy_loss", "l1_loss"]


def energy_loss(attention: Tensor, allowed: Tensor, labels: Tensor) -> Tensor:
    """One minus the share of positive attention that lies in the allowed cells, mean over present labels.

    Rao et al., "Studying how to efficiently and effectively guide models with explanations" (2023, arXiv 2303.11932),
    energy loss. It says nothing about where inside the region attention lies, nor about its size, nor about negative
    attention.

    Differences: a map without positive attention has no share and counts as 0 with gradient 0 (the published code: 1);
    the mean is over all present labels of the batch instead of one drawn label a scan. Absent labels take no part. A
    batch without present labels gives 0. Computed in float32 (float64 stays).

    Args:
        attention: maps ``[B, M, *grid]``, raw and signed, of any method.
        allowed: bool or 0 and 1, same shape; 1 where evidence for the label may lie.
        labels: ``[B, M]``, present above 0.5.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if the shapes do not fit, or a label is NaN.

    Example:
        >>> attention = torch.tensor([[[3.0, 1.0, -5.0]]])
        >>> energy_loss(attention, torch.tensor([[[1, 0, 0]]]), torch.tensor([[1]])).item()  # 1 - 3 / (3 + 1)
        0.25
    """
    positive, inside = _present(attention, allowed, labels)
    total = positive.sum(-1)
    lit = total > 0
    share = (positive * inside).sum(-1)[lit] / total[lit]
    return (1 - share).sum() / max(1, len(total))


def l1_loss(attention: Tensor, allowed: Tensor, labels: Tensor) -> Tensor:
    """Mean absolute difference between positive attention, scaled to a maximum of 1, and the mask; over present labels.

    Rao et al. 2023 (see ``energy_loss``), L1 loss, from GRADIA (Gao et al. 2022). It asks for even attention over the
    whole region, which an organ, unlike a box around an object, hardly deserves: a nodule need not light the lung.

    Differences: as for ``energy_loss``; a map without positive attention is compared as 0 everywhere. The scale is part
    of the gradient.

    Args:
        attention: maps ``[B, M, *grid]``, raw and signed, of any method.
        allowed: bool or 0 and 1, same shape; 1 where evidence for the label may lie.
        labels: ``[B, M]``, present above 0.5.

    Returns:
        A scalar in [0, 1].

    Raises:
        ValueError: if the shapes do not fit, or a label is NaN.

    Example:
        >>> attention = torch.tensor([[[4.0, 1.0, -5.0, 0.0]]])
        >>> l1_loss(attention, torch.tensor([[[1, 0, 0, 1]]]), torch.tensor([[1]])).item()  # (0 + 1/4 + 0 + 1) / 4
        0.3125
    """
    positive, inside = _present(attention, allowed, labels)
    largest = positive.amax(-1, keepdim=True)
    scaled = positive / torch.where(largest > 0, largest, 1.0)
    return (scaled - inside).abs().mean(-1).sum() / max(1, len(positive))


class EnergyLoss(_Loss):
    """``energy_loss`` as a module; takes the place of ``MaskLoss`` in ``ClassAndMaskLoss``."""

    def forward(self, attention: Tensor, allowed: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of ``[B, M, *grid]`` attention and allowed cells and ``[B, M]`` labels."""
        return energy_loss(attention, allowed, labels)


class L1Loss(_Loss):
    """``l1_loss`` as a module; takes the place of ``MaskLoss`` in ``ClassAndMaskLoss``."""

    def forward(self, attention: Tensor, allowed: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of ``[B, M, *grid]`` attention and allowed cells and ``[B, M]`` labels."""
        return l1_loss(attention, allowed, labels)


def _present(attention: Tensor, allowed: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positive attention and allowed cells of the present labels, ``[present, cells]``."""
    if attention.ndim < 3 or attention.shape != allowed.shape or labels.shape != attention.shape[:2]:
        msg = (
            "a loss on attention needs attention and allowed [B, M, *grid] and labels [B, M], got "
            f"{list(attention.shape)}, {list(allowed.shape)} and {list(labels.shape)}"
        )
        raise ValueError(msg)
    present = is_present(labels)
    maps = attention[present].flatten(1)
    maps = maps if maps.dtype == torch.float64 else maps.float()
    return maps.clamp_min(0), allowed[present].flatten(1).to(maps.dtype)
