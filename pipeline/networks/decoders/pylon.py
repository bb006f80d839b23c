"""PYLON's decoder: pyramid attention on the coarsest level, then one upsampling module per finer level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Pool
from torch import Tensor, nn

from ..backbones import Tap
from .base import Decoder, coarse_taps
from .blocks import ConvBlock, convolution, enlarge, normalisation, start_decoder

__all__ = ["PylonDecoder", "PyramidAttention", "Up"]


class PyramidAttention(nn.Module):
    """The coarsest level in few channels, times a mask of one channel that sees a pyramid of three halvings.

    ``t * m`` with ``m`` a 1 x 1 block and ``t`` the sum of ReLU outputs, enlarged: no sigmoid, 0 or more, so that the
    output is 0 where the mask is. As in the authors' code, with two differences that change nothing for sizes divisible
    by 8: pooling keeps a remainder, and maps are enlarged to the size of the level above and not by two, so that any
    size works, down to one cell per axis.

    Args:
        spatial_dims: 2 or 3.
        channels_in: of the coarsest level.
        channels: of the output.
        norm: "batch" or "group".
        average: add a branch of the level's global average (GAP, as PAN has it).
    """

    def __init__(
        self, spatial_dims: int, channels_in: int, channels: int, *, norm: str = "batch", average: bool = False
    ) -> None:
        super().__init__()

        def block(before: int, after: int, kernel: int) -> ConvBlock:
            return ConvBlock(spatial_dims, before, after, kernel, norm=norm)

        self.pool = Pool[Pool.MAX, spatial_dims](2, 2, ceil_mode=True)
        self.mid = block(channels_in, channels, 1)
        self.down1 = block(channels_in, 1, 7)
        self.down2 = block(1, 1, 5)
        self.down3 = block(1, 1, 3)
        self.conv3 = block(1, 1, 3)
        self.conv2 = block(1, 1, 5)
        self.conv1 = block(1, 1, 7)
        self.average = block(channels_in, channels, 1) if average else None

    def forward(self, x: Tensor) -> Tensor:
        """``[N, channels_in, *cells] -> [N, channels, *cells]``."""
        level1 = self.down1(self.pool(x))
        level2 = self.down2(self.pool(level1))
        level3 = self.down3(self.pool(level2))
        mask = enlarge(self.conv3(level3), level2.shape[2:])
        mask = enlarge(self.conv2(level2) + mask, level1.shape[2:])
        mask = enlarge(self.conv1(level1) + mask, x.shape[2:])
        attended = mask * self.mid(x)
        if self.average is None:
            return attended
        return attended + self.average(_global_average(x))


class Up(nn.Module):
    """The coarser map enlarged (corners on corners), plus a finer level brought to its channels.

    Args:
        spatial_dims: 2 or 3.
        lateral: channels of the finer level.
        channels: of coarser map and output.
        layers: 2 blocks for the finer level, the first of its own width, or 1.
        kernel: of those blocks.
        norm: "batch" or "group".
        gate: multiply the finer level by a sigmoid per channel from the coarser map's global average (PYLON-ATT, PAN).

    Raises:
        ValueError: if ``layers`` is not 1 or 2.
    """

    def __init__(
        self,
        spatial_dims: int,
        lateral: int,
        channels: int,
        *,
        layers: int = 2,
        kernel: int = 1,
        norm: str = "batch",
        gate: bool = False,
    ) -> None:
        if layers not in {1, 2}:
            msg = f"an upsampling module has 1 or 2 layers, got {layers}"
            raise ValueError(msg)
        super().__init__()
        widths = (*(layers - 1) * (lateral,), channels)
        self.lateral = nn.Sequential(
            *(
                ConvBlock(spatial_dims, before, after, kernel, norm=norm)
                for before, after in zip((lateral, *widths), widths, strict=False)
            )
        )
        self.gate = (
            nn.Sequential(convolution(spatial_dims)(channels, channels, 1), normalisation(norm, spatial_dims, channels))
            if gate
            else None
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """``[N, lateral, *cells]`` and ``[N, channels, *fewer cells]`` to ``[N, channels, *cells]``."""
        added = self.lateral(fine)
        if self.gate is not None:
            added = torch.sigmoid(self.gate(_global_average(coarse))) * added
        return enlarge(coarse, fine.shape[2:]) + added


class PylonDecoder(Decoder):
    """Pyramid attention, then ``ups`` upsampling modules, coarsest first; output stride 32 to 4 with 0 to 3 of them.

    Args:
        taps: the backbone's levels; those of stride 4 and more are used.
        spatial_dims: 2 or 3.
        channels: D of the paper, everywhere after the pyramid.
        ups: number of upsampling modules; None for one per finer level.
        up_layers: 1 or 2.
        up_kernel: 1 or 3.
        pyramid: False for a 1 x 1 block instead of the pyramid attention ("No PA").
        average: global average branch in the pyramid.
        gate: global average gates in the upsampling modules.
        norm: "batch" or "group".

    Raises:
        ValueError: if an argument is not legal.
    """

    def __init__(
        self,
        taps: Sequence[Tap],
        spatial_dims: int = 2,
        *,
        channels: int = 128,
        ups: int | None = None,
        up_layers: int = 2,
        up_kernel: int = 1,
        pyramid: bool = True,
        average: bool = False,
        gate: bool = False,
        norm: str = "batch",
    ) -> None:
        *finer, coarsest = coarse_taps(taps)
        count = len(finer) if ups is None else ups
        if not 0 <= count <= len(finer):
            msg = f"ups must be 0 to {len(finer)} with this backbone's {len(finer) + 1} levels, got {ups}"
            raise ValueError(msg)
        if channels < 1 or up_kernel not in {1, 3}:
            msg = f"channels must be 1 or more and up_kernel 1 or 3, got {channels} and {up_kernel}"
            raise ValueError(msg)
        if average and not pyramid:
            msg = "the global average branch belongs to the pyramid: average=True needs pyramid=True"
            raise ValueError(msg)
        super().__init__()
        self.channels = channels
        self.pyramid = (
            PyramidAttention(spatial_dims, coarsest.channels, channels, norm=norm, average=average)
            if pyramid
            else ConvBlock(spatial_dims, coarsest.channels, channels, norm=norm)
        )
        used = finer[::-1][:count]
        self.ups = nn.ModuleList(
            Up(spatial_dims, tap.channels, channels, layers=up_layers, kernel=up_kernel, norm=norm, gate=gate)
            for tap in used
        )
        self.layers = (used or [coarsest])[-1].layers
        self.whole = pyramid or bool(used)
        start_decoder(self)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, *cells of the finest level used]``."""
        features = self.pyramid(levels[-1])
        for number, up in enumerate(self.ups):
            features = up(levels[-2 - number], features)
        return features


def _global_average(x: Tensor) -> Tensor:
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)
