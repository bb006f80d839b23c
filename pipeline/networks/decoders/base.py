"""What a decoder is, and where its cells lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from ...geometry import Layer, compose, output_size
from ..backbones import Tap

__all__ = ["AxisCells", "Decoder", "LastLevel", "coarse_taps"]


class AxisCells(NamedTuple):
    """The cells of a feature map along one axis, in voxels of the network's input."""

    cells: int
    stride: float
    offset: float
    receptive_field: int


class Decoder(nn.Module):
    """From a backbone's levels ``[N, channels, *cells]``, finest first, to one feature map; one to derive from.

    A cell of the result is taken to lie where the cell of the finest level that is added to it lies. What comes from
    coarser levels is enlarged to that grid as the papers do it (corners on corners, or by repeating), by up to one
    coarse cell beside the place where it was computed.
    """

    channels: int
    layers: tuple[Layer, ...]  # of the finest level used
    whole: bool = True  # whether a cell may see the whole input through the coarser levels

    def cells(self, size: int) -> AxisCells:
        """Where the cells lie along an axis of ``size`` voxels.

        The receptive field of a decoder that enlarges coarser levels is given as the whole axis, an upper bound.

        Raises:
            ValueError: if the axis is too short for the layers.
        """
        stride, offset, receptive_field = compose(self.layers)
        return AxisCells(output_size(size, self.layers), stride, offset, size if self.whole else receptive_field)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, *cells]``."""
        raise NotImplementedError


class LastLevel(Decoder):
    """The backbone's last level as it is."""

    whole = False

    def __init__(self, taps: Sequence[Tap]) -> None:
        super().__init__()
        self.channels, self.layers = taps[-1]

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, *cells]``."""
        return levels[-1]


def coarse_taps(taps: Sequence[Tap]) -> tuple[Tap, ...]:
    """The levels of stride 4 or more (without the stem), or all where there is one."""
    chosen = tuple(tap for tap in taps if compose(tap.layers).stride > 2)
    return chosen or tuple(taps[-1:])
