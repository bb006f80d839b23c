"""DeepLabV3+'s decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...geometry import compose
from ..backbones import Backbone, Tap
from .base import Decoder, coarse_taps
from .blocks import convolution, enlarge, normalisation

__all__ = ["DeepLabDecoder", "dilate"]

RATES = (12, 24, 36)


def dilate(backbone: Backbone) -> None:
    """Bring a ResNet's output stride from 32 to 16: the last stage strides no more and its kernels are spread by two.

    Weights keep their shapes. A backbone whose stride is 16 or less stays as it is.

    Raises:
        ValueError: for a backbone of stride 32 without a ResNet's last stage.
    """
    if compose(backbone.layers).stride <= 16:
        return
    stage = getattr(backbone, "layer4", None)
    if stage is None:
        msg = f"DeepLabV3+ needs a ResNet or a backbone of stride 16 or less, got {type(backbone).__name__}"
        raise ValueError(msg)
    for module in stage.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            axes = len(module.kernel_size)
            module.stride = axes * (1,)
            module.dilation = axes * (2,)
            module.padding = tuple(2 * (kernel // 2) for kernel in module.kernel_size)


class DeepLabDecoder(Decoder):
    """Chen et al., "Encoder-decoder with atrous separable convolution" (2018), as segmentation_models_pytorch 0.1.3.

    Atrous pyramid on the last level (1 x 1, three separable 3 x 3 at rates 12, 24 and 36, global average), projected,
    enlarged to the finest level of stride 4 or more and joined with it. Layers start as PyTorch starts them.

    Args:
        taps: the backbone's levels; the last and the finest one of stride 4 or more are used. See ``dilate``.
        spatial_dims: 2 or 3.
        channels: of pyramid and output.
        low_channels: of the finer level.
        average: the global average branch; the PYLON paper also has the network without ("No GAP").
        dropout: after the projection.
    """

    def __init__(
        self,
        taps: Sequence[Tap],
        spatial_dims: int = 2,
        *,
        channels: int = 256,
        low_channels: int = 48,
        average: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        used = coarse_taps(taps)
        self.channels, self.layers = channels, used[0].layers
        self.fine = len(taps) - len(used)
        deep = used[-1].channels
        self.branches = nn.ModuleList(
            [
                _block(spatial_dims, deep, channels),
                *(_separable(spatial_dims, deep, channels, rate) for rate in RATES),
            ]
        )
        self.average = _block(spatial_dims, deep, channels) if average else None
        self.project = nn.Sequential(
            *_block(spatial_dims, (len(self.branches) + average) * channels, channels), nn.Dropout(dropout)
        )
        self.smooth = _separable(spatial_dims, channels, channels)
        self.low = _block(spatial_dims, used[0].channels, low_channels)
        self.join = _separable(spatial_dims, channels + low_channels, channels)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """``[N, channels, *cells of the finest level of stride 4 or more]``."""
        deep, fine = levels[-1], levels[self.fine]
        parts = [branch(deep) for branch in self.branches]
        if self.average is not None:
            mean = self.average(deep.mean(tuple(range(2, deep.ndim)), keepdim=True))
            parts.append(enlarge(mean, deep.shape[2:], "linear"))
        coarse = self.smooth(self.project(torch.cat(parts, 1)))
        return self.join(torch.cat([enlarge(coarse, fine.shape[2:]), self.low(fine)], 1))


def _block(spatial_dims: int, before: int, after: int) -> nn.Sequential:
    conv = convolution(spatial_dims)(before, after, 1, bias=False)
    return nn.Sequential(conv, normalisation("batch", spatial_dims, after), nn.ReLU())


def _separable(spatial_dims: int, before: int, after: int, rate: int = 1) -> nn.Sequential:
    conv = convolution(spatial_dims)
    depthwise = conv(before, before, 3, padding=rate, dilation=rate, groups=before, bias=False)
    return nn.Sequential(depthwise, *_block(spatial_dims, before, after))
