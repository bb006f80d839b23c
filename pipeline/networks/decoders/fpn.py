"""The panoptic feature pyramid network's decoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from ..backbones import Tap
from .base import Decoder, coarse_taps
from .blocks import ConvBlock, convolution, enlarge, start_decoder

__all__ = ["FPNDecoder"]


class FPNDecoder(Decoder):
    """Kirillov et al., "Panoptic feature pyramid networks" (2019), as segmentation_models_pytorch 0.1.3 builds it.

    Each level gets 1 x 1 lateral convolutions and the next coarser one (repeated to its size), then 3 x 3 convolutions
    with one enlargement each until it has the finest level's size; the levels are summed. Maps are enlarged to the size
    of the level and not by two, so that any size works.

    Args:
        taps: the backbone's levels; those of stride 4 and more are used.
        spatial_dims: 2 or 3.
        pyramid_channels: of the laterals.
        channels: of the output.
        norm: "group" as published by its authors (32 groups), or "batch": the PYLON paper finds that GroupNorm makes
            its heatmaps useless (point accuracy .08 against .52).
    """

    def __init__(
        self,
        taps: Sequence[Tap],
        spatial_dims: int = 2,
        *,
        pyramid_channels: int = 256,
        channels: int = 128,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        used = coarse_taps(taps)
        self.channels, self.layers = channels, used[0].layers
        conv = convolution(spatial_dims)
        self.laterals = nn.ModuleList(conv(tap.channels, pyramid_channels, 1) for tap in used)
        self.branches = nn.ModuleList(
            nn.ModuleList(
                ConvBlock(spatial_dims, before, channels, 3, bias=False, norm=norm)
                for before in (pyramid_channels, *(max(1, level) - 1) * (channels,))
            )
            for level in range(len(used))
        )
        start_decoder(self)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, *cells of the finest level]``."""
        levels = levels[len(levels) - len(self.laterals) :]
        maps = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        for coarse in range(len(maps) - 1, 0, -1):
            maps[coarse - 1] = maps[coarse - 1] + enlarge(maps[coarse], maps[coarse - 1].shape[2:], "nearest")
        sizes = [level.shape[2:] for level in maps]
        total: Tensor | None = None
        for number, (branch, x) in enumerate(zip(self.branches, maps, strict=True)):
            steps = list(pairwise(sizes[number::-1])) or [(sizes[0], sizes[0])]
            for block, (_, finer) in zip(cast(nn.Sequential, branch), steps, strict=True):
                x = enlarge(block(x), finer)  # noqa: PLW2901 - one step after another
            total = x if total is None else total + x
        assert total is not None
        return total
