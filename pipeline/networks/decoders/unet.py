"""U-Net's decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...geometry import compose
from ..backbones import Tap
from .base import AxisCells, Decoder
from .blocks import ConvBlock, enlarge, start_decoder

__all__ = ["UNetDecoder"]


class UNetDecoder(Decoder):
    """Ronneberger et al., "U-Net" (2015), as segmentation_models_pytorch builds it; output at the input's size
    (one voxel more where that is odd).

    One block per level: repeated to the size of the next finer level, joined with it, two 3 x 3 convolutions. The last
    block goes from the stem (stride 2) to the input. Maps are enlarged to the size of the level and not by two, so that
    any size works.

    Args:
        taps: the backbone's levels, all of which are used.
        spatial_dims: 2 or 3.
        widths: channels of the blocks, coarsest first; the PYLON paper's are the default. The last ones are taken where
            the backbone has fewer levels.
        norm: "batch" or "group".

    Raises:
        ValueError: if there are fewer widths than levels, or the first level is not of stride 2.
    """

    def __init__(
        self,
        taps: Sequence[Tap],
        spatial_dims: int = 2,
        *,
        widths: Sequence[int] = (256, 128, 64, 64, 64),
        norm: str = "batch",
    ) -> None:
        if len(widths) < len(taps):
            msg = f"the U-Net needs a width for each of the backbone's {len(taps)} levels, got {tuple(widths)}"
            raise ValueError(msg)
        if compose(taps[0].layers).stride != 2:
            msg = "the U-Net needs a backbone whose first level has stride 2 (resnet..., densenet..., small)"
            raise ValueError(msg)
        super().__init__()
        widths = tuple(widths)[len(widths) - len(taps) :]
        self.channels, self.layers = widths[-1], taps[0].layers
        before = (taps[-1].channels, *widths)
        skips = (*(tap.channels for tap in reversed(taps[:-1])), 0)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                ConvBlock(spatial_dims, coarse + skip, width, 3, bias=False, norm=norm),
                ConvBlock(spatial_dims, width, width, 3, bias=False, norm=norm),
            )
            for coarse, skip, width in zip(before, skips, widths, strict=False)
        )
        start_decoder(self)

    def cells(self, size: int) -> AxisCells:
        """Two cells per cell of the stem; both repeat it, so that on average they lie half a voxel before their own."""
        stem = super().cells(size)
        return AxisCells(2 * stem.cells, stem.stride / 2, stem.offset - stem.stride / 4, stem.receptive_field)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, *twice the stem's cells]``."""
        x = levels[-1]
        for block, skip in zip(self.blocks, (*levels[-2::-1], None), strict=True):
            if skip is None:
                x = block(enlarge(x, [2 * cells for cells in x.shape[2:]], "nearest"))
            else:
                x = block(torch.cat([enlarge(x, skip.shape[2:], "nearest"), skip], 1))
        return x
