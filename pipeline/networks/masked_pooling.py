"""Organ-masked pooling: features are pooled where a label's organs are; the rival of the mask loss, same masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..attention.linear_head import LinearHead
from ..errors import did_you_mean
from .axialnet import NETWORKS
from .decoders import LastLevel, PylonDecoder
from .heatmaps import HeatmapNetwork, full_precision

__all__ = ["MaskedPooling", "MaskedPoolingNetwork"]


class MaskedPooling(nn.Module):
    """Each label's logit from features pooled with weights that favour its organs.

    The idea of Dahal et al., "Organ-aware attention improves CT triage and classification" (2026, arXiv 2601.13385):
    ``logit = sum of p(c) (w . z(c)) + b`` over cells c, with ``p = softmax(query . z(c) + inside * allowed(c))``. What
    each cell adds to the logit is known exactly, and outside the organs it is small by construction, not by training.

    Difference: the published masked softmax leaves cells outside the organs out, so that its learnable biases for
    inside and outside cancel; here ``inside`` is learned per label and the softmax goes over all cells, so that a label
    whose masks are wrong can look elsewhere. ``inside=None`` is the published hard mask.

    Args:
        features: F.
        num_labels: M.
        inside: first value of each label's bias for allowed cells: with 4 an allowed cell weighs e^4 = 55 times as much
            as another. None for a hard mask.
        query: learn where to look (weights per label on the features, starting at 0); False for plain averages.

    Raises:
        ValueError: if a number is not positive.

    Example:
        >>> head = MaskedPooling(features=2, num_labels=1, inside=None, query=False)
        >>> features = torch.tensor([[[1.0, 2.0, 30.0], [0.0, 4.0, 50.0]]])
        >>> _ = nn.init.ones_(head.weight), nn.init.zeros_(head.bias)
        >>> head(features, torch.tensor([[[1, 1, 0]]])).item()  # (1 + 0 + 2 + 4) / 2
        3.5
    """

    def __init__(self, features: int, num_labels: int, *, inside: float | None = 4.0, query: bool = True) -> None:
        if features < 1 or num_labels < 1 or (inside is not None and inside <= 0):
            msg = (
                "masked pooling needs 1 or more features and labels, and inside above 0 or None, got "
                f"{features}, {num_labels} and {inside}"
            )
            raise ValueError(msg)
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_labels, features))
        self.bias = nn.Parameter(torch.zeros(num_labels))
        self.query = nn.Parameter(torch.zeros(num_labels, features)) if query else None
        self.inside = None if inside is None else nn.Parameter(torch.full((num_labels,), float(inside)))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor, allowed: Tensor) -> Tensor:
        """Logits ``[B, M]`` of features ``[B, F, *grid]`` and allowed cells ``[B, M, *grid]``."""
        return self.contributions(features, allowed).flatten(2).sum(-1) + self.bias

    def contributions(self, features: Tensor, allowed: Tensor) -> Tensor:
        """What each cell adds to the logit, ``[B, M, *grid]``; with the bias the cells sum to it."""
        scores = torch.einsum("bf...,mf->bm...", features, self.weight)
        return scores * self.pooling_weights(features, allowed)

    def pooling_weights(self, features: Tensor, allowed: Tensor) -> Tensor:
        """How much each cell counts, ``[B, M, *grid]``, 0 or more, sum 1. Equal everywhere where nothing is allowed.

        Args:
            features: ``[B, F, *grid]``.
            allowed: ``[B, M, *grid]``, bool, 0 and 1, or shares between.

        Raises:
            ValueError: if the shapes do not fit.
        """
        M, F = self.weight.shape
        grid = features.shape[2:]
        if features.ndim < 3 or features.shape[1] != F or allowed.shape != (len(features), M, *grid):
            msg = (
                f"masked pooling needs features [B, {F}, *grid] and allowed [B, {M}, *grid], got "
                f"{list(features.shape)} and {list(allowed.shape)}"
            )
            raise ValueError(msg)
        share = allowed.to(features.dtype).flatten(2)
        if self.query is None:
            logits = torch.zeros_like(share)
        else:
            logits = torch.einsum("bfc,mf->bmc", features.flatten(2), self.query)
        if self.inside is None:
            nowhere = ~(share > 0).any(-1, keepdim=True)
            logits = logits.masked_fill(~((share > 0) | nowhere), -torch.inf)
        else:
            logits = logits + self.inside[:, None] * share
        return logits.softmax(-1).reshape(allowed.shape)


@NETWORKS.register("masked_pooling")
class MaskedPoolingNetwork(HeatmapNetwork):
    """A backbone and ``MaskedPooling``; needs the allowed cells as an input, when it is trained and when it is used.

    Args:
        num_labels: M.
        spatial_dims: 2 for slabs and images, 3 for volumes.
        in_channels: slices per slab, channels of image or volume; None for 3 in two dimensions and 1 in three.
        input_shape: voxels (D, H, W) that the network is meant for, or None.
        backbone: name in ``organcam.networks.BACKBONES``.
        weights: file of the backbone's weights or "imagenet", see ``load_backbone_weights``.
        decoder: "none" (the backbone's last level) or "pylon" (``PylonDecoder``, stride 4).
        inside: see ``MaskedPooling``.
        query: see ``MaskedPooling``.
        initial_bias: first value of the head's biases; None for 0.
        chunk: slabs at a time in evaluation; None for all at once.

    Raises:
        ValueError: if an argument is not legal.
        ConfigError: for an unknown backbone or an unfit weights file.
    """

    takes_allowed = True
    """The network is called with the allowed cells."""

    attention_layer = "evidence"

    def __init__(
        self,
        num_labels: int = 80,
        *,
        spatial_dims: int = 2,
        in_channels: int | None = None,
        input_shape: Sequence[int] | None = None,
        backbone: str = "resnet18",
        weights: str | Path | None = None,
        decoder: str = "none",
        inside: float | None = 4.0,
        query: bool = True,
        initial_bias: float | None = None,
        chunk: int | None = None,
    ) -> None:
        if decoder not in {"none", "pylon"}:
            msg = f"unknown decoder {decoder!r}: {did_you_mean(decoder, ('none', 'pylon'))}"
            raise ValueError(msg)
        super().__init__(
            num_labels,
            lambda base: LastLevel(base.taps) if decoder == "none" else PylonDecoder(base.taps, spatial_dims),
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            input_shape=input_shape,
            backbone=backbone,
            weights=weights,
            chunk=chunk,
        )
        self.head: MaskedPooling = MaskedPooling(  # type: ignore[assignment]
            self.decoder.channels, num_labels, inside=inside, query=query
        )
        self.evidence = nn.Identity()  # gives what each cell adds, times the cells: the layer that attention is of
        if initial_bias is not None:
            nn.init.constant_(self.head.bias, initial_bias)

    def heatmap(self, x: Tensor) -> Tensor:
        """``[B, M, *grid]``: logits of every cell, whatever is allowed."""
        features = self._pooled_from(x)
        with full_precision(x):
            scores = torch.einsum("bf...,mf->bm...", features, self.head.weight)
            return scores + self.head.bias.view(-1, *(scores.ndim - 2) * (1,))

    def forward(self, x: Tensor, attention: bool = False, allowed: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention.

        Args:
            x: ``[B, S, C, H, W]``, ``[B, C, H, W]`` or, with ``spatial_dims=3``, ``[B, C, D, H, W]``.
            attention: whether to return the maps too.
            allowed: ``[B, M, *grid]``, 1 where evidence for the label may lie; grid as ``feature_grid`` says.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, *grid]``: what
            each cell adds to the logit, raw, signed and differentiable; with the bias the cells sum to it.

        Raises:
            ValueError: without ``allowed``, or if a shape is another one.
        """
        if allowed is None:
            msg = "masked pooling needs the allowed cells: call network(x, allowed=...), [B, M, *grid]"
            raise ValueError(msg)
        evidence = self._evidence(x, allowed)
        with full_precision(x):
            logits = evidence.flatten(2).mean(-1) + self.head.bias
        return {"logits": logits, "attention": evidence / evidence[0, 0].numel()} if attention else logits

    def linear_head(self, x: Tensor, allowed: Tensor | None = None) -> LinearHead | None:
        """One feature a label, what each cell adds times the cells: attention in closed form is the network's own.

        One feature a label leaves nothing to average: Grad-CAM is then the same map as HiResCAM.

        Args:
            x: as for ``forward``.
            allowed: likewise; without it nothing is known, and None is returned.
        """
        if allowed is None:
            return None
        evidence = self._evidence(x, allowed)
        return LinearHead(evidence, torch.eye(len(self.head.bias)).to(evidence), self.head.bias)

    def _evidence(self, x: Tensor, allowed: Tensor) -> Tensor:
        features = self._pooled_from(x)
        with full_precision(x):
            added = self.head.contributions(features, allowed)
            evidence: Tensor = self.evidence(added * added[0, 0].numel())
        return evidence

    def _pooled_from(self, x: Tensor) -> Tensor:
        return self._from_parts(self._features(x).to(self.head.weight.dtype), x)
