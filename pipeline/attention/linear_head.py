"""All labels' maps in closed form, for networks whose scores are linear in one feature map."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import did_you_mean

__all__ = ["CLOSED_FORMS", "LinearHead", "closed_form_maps", "contributions"]

CLOSED_FORMS = ("hirescam", "gradcam")
"""Attention methods that ``closed_form_maps`` knows; the others take ``LinearHead.gradient``."""


@dataclass(frozen=True)
class LinearHead:
    """A feature map and the one linear layer that makes scores of it.

    The weight covers the last axes of the grid and is shared by the leading ones, over which the scores are pooled:
    ``[M, F, h, w]`` on features ``[B, F, S, h, w]`` gives one score per slab (AxialNet), ``[M, F]`` one per cell
    (global average pooling), ``[M, F, S, h, w]`` a single one.

    Args:
        features: ``[B, F, *grid]``.
        weight: ``[M, F, *window]`` where ``window`` is the last axes of the grid (none, some or all).
        bias: ``[M]``.
        pooling: "mean" or "max" over the leading axes of the grid that the weight does not cover.

    Raises:
        ValueError: if shapes or pooling do not fit.
    """

    features: Tensor
    weight: Tensor
    bias: Tensor
    pooling: str = "mean"

    def __post_init__(self) -> None:
        window = self.weight.shape[2:]
        grid = self.features.shape[2:]
        if (
            self.features.ndim < 2
            or self.weight.ndim < 2
            or self.weight.shape[1] != self.features.shape[1]
            or window != grid[len(grid) - len(window) :]
            or self.bias.shape != self.weight.shape[:1]
        ):
            msg = (
                "a linear head needs features [B, F, *grid], weight [M, F, *last axes of grid] and bias [M], got "
                f"{tuple(self.features.shape)}, {tuple(self.weight.shape)} and {tuple(self.bias.shape)}"
            )
            raise ValueError(msg)
        if self.pooling not in {"mean", "max"}:
            msg = f"unknown pooling {self.pooling!r}: {did_you_mean(self.pooling, ('mean', 'max'))}"
            raise ValueError(msg)

    @property
    def grid(self) -> torch.Size:
        """Cells of the feature map per axis."""
        return self.features.shape[2:]

    @property
    def scores_per_map(self) -> int:
        """How many scores (slabs, cells) are pooled into one logit."""
        return math.prod(self.grid[: len(self.grid) - (self.weight.ndim - 2)])

    def select(self, labels: list[int]) -> LinearHead:
        """The head of some labels only."""
        return LinearHead(self.features, self.weight[labels], self.bias[labels], self.pooling)

    def scores(self) -> Tensor:
        """``[B, M, scores_per_map]``: the scores before pooling, bias included."""
        return torch.einsum("bfsp,mfp->bms", *_aligned(self.features, self.weight)) + self.bias[:, None]

    def logits(self) -> Tensor:
        """``[B, M]``."""
        scores = self.scores()
        return scores.mean(-1) if self.pooling == "mean" else scores.amax(-1)

    def shares(self) -> Tensor:
        """The logits' slopes with respect to the scores before pooling, ``[B, M, scores_per_map]``; equals share."""
        if self.pooling == "mean":
            shape = (len(self.features), len(self.bias), self.scores_per_map)
            return self.weight.new_full((1, 1, 1), 1 / self.scores_per_map).expand(shape)
        scores = self.scores().detach()
        won = (scores == scores.amax(-1, keepdim=True)).to(self.weight.dtype)
        return won / won.sum(-1, keepdim=True)

    def gradient(self, label: int) -> Tensor:
        """Gradient of one logit with respect to the features, ``[B, F, *grid]``, without a backward pass."""
        shares = self.shares()[:, label, None, :, None]
        window = self.weight[label].reshape(1, self.weight.shape[1], 1, -1)
        return (shares * window).reshape(self.features.shape)


def contributions(features: Tensor, weight: Tensor) -> Tensor:
    """What each cell adds to its score: features times weight, summed over features. Differentiable.

    The attention of AxialNet's mask loss (Draelos and Carin 2020, HiResCAM in closed form): without the 1/S of the mean
    over slabs, so that a slab's cells sum to its score less the bias.

    Args:
        features: ``[B, F, *grid]``.
        weight: ``[M, F, *window]``, see ``LinearHead``.

    Returns:
        ``[B, M, *grid]``.
    """
    maps = torch.einsum("bfsp,mfp->bmsp", *_aligned(features, weight))
    return maps.reshape(features.shape[0], weight.shape[0], *features.shape[2:])


def closed_form_maps(head: LinearHead, method: str) -> Tensor:
    """Attention of all outputs of a linear head in one product, without a backward pass.

    The gradient of a logit is the weight divided by the number of pooled scores with mean pooling, and the weight at
    the winning score (shared among equals) with max pooling; the results equal ``hirescam`` and ``gradcam`` of that
    gradient. Differentiable.

    Args:
        head: features and the linear layer on them.
        method: "hirescam" or "gradcam".

    Returns:
        ``[B, M, *grid]``, raw and signed. For HiResCAM the map plus bias sums to the logit.

    Raises:
        ValueError: for another method.
    """
    if method == "gradcam":  # averaged over the grid, both poolings have the same gradient
        channel_weight = head.weight.reshape(*head.weight.shape[:2], -1).mean(-1) / head.scores_per_map
        return contributions(head.features, channel_weight)
    if method != "hirescam":
        msg = f"no closed form for {method!r}: {did_you_mean(method, CLOSED_FORMS)}"
        raise ValueError(msg)
    if head.pooling == "mean":
        return contributions(head.features, head.weight / head.scores_per_map)
    shares = head.shares()[..., None]
    maps = contributions(head.features, head.weight)
    return (maps.reshape(*shares.shape[:3], -1) * shares).reshape(maps.shape)


def _aligned(features: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Features ``[B, F, pooled, window]`` and weight ``[M, F, window]``."""
    cells = math.prod(weight.shape[2:])
    return features.reshape(*features.shape[:2], -1, cells), weight.reshape(*weight.shape[:2], cells)
