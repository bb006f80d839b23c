"""MONAI's DenseNets without classifier, for images and volumes, with all their levels."""

from __future__ import annotations

from functools import partial

import torch
from monai.networks import nets
from torch import Tensor

from ..errors import did_you_mean
from ..geometry import Layer
from .backbones import BACKBONES, Backbone, Tap

__all__ = ["DENSENETS", "DenseNet"]

DENSENETS: dict[str, tuple[int, int, int, int]] = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
}
"""Dense layers per block."""

GROWTH = 32


class DenseNet(Backbone):
    """A DenseNet up to the ReLU after its last normalisation, output stride 32; levels at strides 2, 4, 8, 16 and 32.

    Parameters have torchvision's shapes; ``load_backbone_weights`` knows its names. The average pooling of 2 between
    blocks has even kernels: cell k of the last level is centred on voxel 32 k + 14, and a remainder is cut off. Huang
    et al., "Densely connected convolutional networks" (2017).

    Args:
        name: "densenet121", "densenet169" or "densenet201".
        spatial_dims: 2 or 3.
        in_channels: of the input.

    Raises:
        ValueError: for an unknown name.
    """

    def __init__(self, name: str = "densenet121", spatial_dims: int = 2, in_channels: int = 3) -> None:
        if name not in DENSENETS:
            msg = f"unknown DenseNet {name!r}: {did_you_mean(name, DENSENETS)}"
            raise ValueError(msg)
        super().__init__()
        whole = getattr(nets, name)(spatial_dims=spatial_dims, in_channels=in_channels, out_channels=1)
        self.name = name
        self.features = whole.features
        self._taps = _taps(DENSENETS[name])
        self.channels, self.layers = self._taps[-1]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The stem at stride 2 and the four dense blocks at strides 4, 8, 16 and 32."""
        return self._taps

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The features of all taps, finest first; the last level is normalised and rectified."""
        levels = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in {"relu0", "denseblock1", "denseblock2", "denseblock3"}:
                levels.append(x)
        return [*levels, torch.relu_(x)]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W] -> [N, channels, h, w]``, volumes alike."""
        return torch.relu_(self.features(x))


def _taps(blocks: tuple[int, int, int, int]) -> tuple[Tap, ...]:
    taps = [Tap(64, (Layer(7, 2, 3),))]
    layers: tuple[Layer, ...] = (Layer(7, 2, 3), Layer(3, 2, 1))
    channels = 64
    for block, count in enumerate(blocks):
        if block:
            layers += (Layer(2, 2),)
            channels //= 2
        layers += count * (Layer(3, 1, 1),)
        channels += count * GROWTH
        taps.append(Tap(channels, layers))
    return tuple(taps)


for _name in DENSENETS:
    BACKBONES.register(_name)(partial(DenseNet, _name))
