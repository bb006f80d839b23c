"""The head of Li et al. 2018 up to its last hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..backbones import Tap
from .base import AxisCells, Decoder
from .blocks import ConvBlock, enlarge, start_decoder

__all__ = ["Li2018Decoder"]


class Li2018Decoder(Decoder):
    """The last level resampled to a fixed number of cells (corners on corners), one 3 x 3 block of 512 channels.

    Li et al., "Thoracic disease identification and localization with limited supervision" (2018).

    Args:
        taps: the backbone's levels; the last one is used.
        spatial_dims: 2 or 3.
        cells: per axis, 20 as published.
        channels: of the output.

    Raises:
        ValueError: if ``cells`` is less than 2.
    """

    def __init__(self, taps: Sequence[Tap], spatial_dims: int = 2, *, cells: int = 20, channels: int = 512) -> None:
        if cells < 2:
            msg = f"cells must be 2 or more per axis, got {cells}"
            raise ValueError(msg)
        super().__init__()
        self.channels, self.layers = channels, taps[-1].layers
        self.size = spatial_dims * (cells,)
        self.block = ConvBlock(spatial_dims, taps[-1].channels, channels, 3)
        start_decoder(self)

    def cells(self, size: int) -> AxisCells:
        """The cells span the centres of the last level's; where that has one, they share out the axis."""
        last, count = super().cells(size), self.size[0]
        if last.cells == 1:
            return AxisCells(count, size / count, size / count / 2 - 0.5, size)
        return AxisCells(count, last.stride * (last.cells - 1) / (count - 1), last.offset, last.receptive_field)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, cells, cells]``."""
        return self.block(enlarge(levels[-1], self.size))
