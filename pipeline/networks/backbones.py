"""What a feature extractor is, by which names it is built, and a small one of our own."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from monai.networks.layers.factories import Conv, Norm, Pool
from torch import Tensor, nn

from ..errors import ConfigError
from ..geometry import Layer
from ..registry import Registry
from .weights import load_backbone_weights

__all__ = ["BACKBONES", "Backbone", "SmallBackbone", "Tap", "build_backbone", "load_backbone_weights"]


class Tap(NamedTuple):
    """One level of a backbone: its channels, and the layers that place its cells (along every axis alike)."""

    channels: int
    layers: tuple[Layer, ...]


class Backbone(nn.Module):
    """A feature extractor, ``[N, C, *size] -> [N, channels, *cells]``; one to derive from.

    A derived class needs ``channels``, ``layers`` and ``forward``. Decoders that also read finer levels (PYLON, U-Net)
    get them from ``taps`` and ``pyramid``, which tell of the last level alone where a class does not define them.
    """

    channels: int
    layers: tuple[Layer, ...]  # along all axes alike, the branch with the largest receptive field

    @property
    def taps(self) -> tuple[Tap, ...]:
        """All levels, finest first; the last one is what ``forward`` returns."""
        return (Tap(self.channels, self.layers),)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The features of all taps, finest first."""
        return [self(x)]


BACKBONES: Registry[Backbone] = Registry("backbone", group="organcam.backbones")


def build_backbone(
    name: str, spatial_dims: int = 2, in_channels: int = 3, weights: str | Path | None = None
) -> Backbone:
    """A backbone by name.

    Args:
        name: in ``BACKBONES``. One of an installed package is asked for ``spatial_dims`` and ``in_channels`` only where
            they differ from 2 and 3.
        spatial_dims: 2 or 3.
        in_channels: channels of the input (slices of a slab, or 1 for a volume).
        weights: see ``load_backbone_weights``.

    Raises:
        ConfigError: for an unknown name, one that has no such form, and unfit weights.
    """
    if spatial_dims not in {2, 3}:
        msg = f"spatial_dims must be 2 (slabs, images) or 3 (volumes), got {spatial_dims}"
        raise ConfigError(msg)
    if in_channels < 1:
        msg = f"in_channels must be 1 or more, got {in_channels}"
        raise ConfigError(msg)
    builder = BACKBONES.get(name)
    try:
        usual = (spatial_dims, in_channels) == (2, 3)
        backbone = builder() if usual else builder(spatial_dims=spatial_dims, in_channels=in_channels)
    except TypeError as error:
        msg = f"backbone {name!r} cannot be built with spatial_dims={spatial_dims}, in_channels={in_channels}: {error}"
        raise ConfigError(msg) from None
    if weights is not None:
        load_backbone_weights(backbone, weights)
    return backbone


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; at stride 2 both paths see whole 2 x 2 tiles, so that no cell is shifted."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, spatial_dims: int) -> None:
        super().__init__()
        conv, norm = Conv[Conv.CONV, spatial_dims], Norm[Norm.BATCH, spatial_dims]
        first = (
            conv(channels_in, channels_out, 3, padding=1, bias=False)
            if stride == 1
            else conv(channels_in, channels_out, stride, stride=stride, bias=False)
        )
        self.conv1, self.bn1 = first, norm(channels_out)
        self.conv2 = conv(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = norm(channels_out)
        self.shortcut = nn.Sequential(
            Pool[Pool.AVG, spatial_dims](stride) if stride > 1 else nn.Identity(),
            conv(channels_in, channels_out, 1, bias=False),
            norm(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.bn1(self.conv1(x)))
        return torch.relu_(self.bn2(self.conv2(y)) + self.shortcut(x))


@BACKBONES.register("small")
class SmallBackbone(Backbone):
    """A few layers for small volumes and no pretraining: 64 channels at stride 8, receptive field 44 voxels.

    Strided layers have even kernels, so that cell k is centred on voxel 8 k + 3.5 and the cells tile an image whose
    sides are multiples of 8 exactly. (5 x 5 and 3 x 3 kernels with symmetric padding would centre it on 8 k + 1.)

    Args:
        spatial_dims: 2, or 3 with cubes for kernels.
        in_channels: of the input.
    """

    channels = 64
    layers = (Layer(6, 2, 2), Layer(2, 2), Layer(3, 1, 1), Layer(3, 1, 1), Layer(2, 2), Layer(3, 1, 1))

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3) -> None:
        super().__init__()
        conv = Conv[Conv.CONV, spatial_dims]
        self.conv1 = conv(in_channels, 16, 6, stride=2, padding=2, bias=False)
        self.bn1 = Norm[Norm.BATCH, spatial_dims](16)
        self.maxpool = Pool[Pool.MAX, spatial_dims](2)
        self.layer1 = _Residual(16, 32, stride=1, spatial_dims=spatial_dims)
        self.layer2 = _Residual(32, 64, stride=2, spatial_dims=spatial_dims)
        for module in self.modules():
            if isinstance(module, conv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @property
    def taps(self) -> tuple[Tap, ...]:
        """Strides 2, 4 and 8."""
        return Tap(16, self.layers[:1]), Tap(32, self.layers[:4]), Tap(64, self.layers)

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The features of all taps, finest first."""
        stem = torch.relu_(self.bn1(self.conv1(x)))
        fine = self.layer1(self.maxpool(stem))
        return [stem, fine, self.layer2(fine)]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W] -> [N, 64, H // 8, W // 8]``, volumes alike."""
        return self.pyramid(x)[-1]
