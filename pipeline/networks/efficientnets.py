"""MONAI's EfficientNets without classifier, for images and volumes of any size, with all their levels."""

from __future__ import annotations

from functools import partial

from monai.networks import nets
from monai.networks.layers.factories import Pad
from torch import Tensor, nn

from ..errors import did_you_mean
from ..geometry import Layer
from .backbones import BACKBONES, Backbone, Tap

__all__ = ["EFFICIENTNETS", "EfficientNet"]

EFFICIENTNETS: tuple[str, ...] = tuple(f"efficientnet-b{number}" for number in range(8))

PARTS = ("_conv_stem_padding", "_conv_stem", "_bn0", "_swish", "_blocks", "_conv_head", "_bn1")
"""MONAI's modules, under whose names weights are loaded."""


class EfficientNet(Backbone):
    """An EfficientNet up to the activation of its last convolution; levels at strides 2, 4, 8, 16 and 32.

    MONAI's network and names, which are those of the published weights. Tan and Le, "EfficientNet: rethinking model
    scaling for convolutional neural networks" (2019).

    Difference: MONAI pads for images of the network's own size (224 to 600), so that cells lie elsewhere for any other
    one. Here strided convolutions pad as for an even number of voxels, whatever the size: cell k of the last level is
    centred on voxel 32 k + 31, half a cell towards the end, and a remainder is cut off.

    Args:
        name: "efficientnet-b0" to "efficientnet-b7".
        spatial_dims: 2 or 3.
        in_channels: of the input.

    Raises:
        ValueError: for an unknown name.
    """

    _conv_stem_padding: nn.Module
    _conv_stem: nn.Module
    _bn0: nn.Module
    _swish: nn.Module
    _blocks: nn.Sequential
    _conv_head: nn.Module
    _bn1: nn.Module

    def __init__(self, name: str = "efficientnet-b0", spatial_dims: int = 2, in_channels: int = 3) -> None:
        if name not in EFFICIENTNETS:
            msg = f"unknown EfficientNet {name!r}: {did_you_mean(name, EFFICIENTNETS)}"
            raise ValueError(msg)
        super().__init__()
        whole = nets.EfficientNetBN(name, pretrained=False, spatial_dims=spatial_dims, in_channels=in_channels)
        for part in PARTS:
            self.add_module(part, getattr(whole, part))
        self.name = name
        self._conv_stem_padding = _padder(3, spatial_dims)
        layers: tuple[Layer, ...] = (_strided(3),)
        taps, channels = [], 0
        for stack in self._blocks:
            for block in stack:  # type: ignore[attr-defined]
                convolution = block._depthwise_conv
                kernel, stride = convolution.kernel_size[0], block.stride
                if max(stride if isinstance(stride, (tuple, list)) else [stride]) > 1:
                    taps.append(Tap(channels, layers))
                    block._depthwise_conv_padding = _padder(kernel, spatial_dims)
                    layers = (*layers, _strided(kernel))
                else:
                    layers = (*layers, Layer(kernel, 1, kernel // 2))
                channels = block._project_conv.out_channels
        self._taps = (*taps, Tap(self._conv_head.out_channels, layers))  # type: ignore[arg-type]
        self.channels, self.layers = self._taps[-1]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Strides 2, 4, 8, 16 and 32; the last one widened by a 1 x 1 convolution."""
        return self._taps

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The features of all taps, finest first."""
        levels = []
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        for stack in self._blocks:
            after = stack(x)
            if after.shape[2:] != x.shape[2:]:
                levels.append(x)
            x = after
        return [*levels, self._swish(self._bn1(self._conv_head(x)))]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W] -> [N, channels, h, w]``, volumes alike."""
        return self.pyramid(x)[-1]


def _strided(kernel: int) -> Layer:
    return Layer(kernel, 2, (kernel - 2) // 2, end_padding=(kernel - 1) // 2)


def _padder(kernel: int, spatial_dims: int) -> nn.Module:
    padder: nn.Module = Pad[Pad.CONSTANTPAD, spatial_dims](spatial_dims * ((kernel - 2) // 2, (kernel - 1) // 2), 0.0)
    return padder


for _name in EFFICIENTNETS:
    BACKBONES.register(_name)(partial(EfficientNet, _name))
