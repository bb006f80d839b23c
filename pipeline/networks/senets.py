"""MONAI's squeeze-and-excitation networks without classifier, for images and volumes, with all their levels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from monai.networks import nets
from torch import Tensor, nn

from ..errors import did_you_mean
from ..geometry import Layer
from .backbones import BACKBONES, Backbone, Tap

__all__ = ["SENETS", "SENet"]


class _Plan(NamedTuple):
    monai: str
    blocks: tuple[int, int, int, int]
    stem: tuple[Layer, ...]
    width: int
    early_stride: bool  # in the first, 1 x 1 convolution of a block instead of its 3 x 3 one


LARGE_STEM = (Layer(7, 2, 3),)
DEEP_STEM = (Layer(3, 2, 1), Layer(3, 1, 1), Layer(3, 1, 1))
POOL = Layer(3, 2, 0, end_padding=1)  # MONAI rounds up: the last window may stick out by one
SENETS: dict[str, _Plan] = {
    "seresnet50": _Plan("SEResNet50", (3, 4, 6, 3), LARGE_STEM, 64, True),
    "seresnet101": _Plan("SEResNet101", (3, 4, 23, 3), LARGE_STEM, 64, True),
    "seresnet152": _Plan("SEResNet152", (3, 8, 36, 3), LARGE_STEM, 64, True),
    "seresnext50": _Plan("SEResNext50", (3, 4, 6, 3), LARGE_STEM, 64, False),
    "seresnext101": _Plan("SEResNext101", (3, 4, 23, 3), LARGE_STEM, 64, False),
    "senet154": _Plan("SENet154", (3, 8, 36, 3), DEEP_STEM, 128, False),
}


class SENet(Backbone):
    """A ResNet whose blocks weigh their channels by what the whole image holds; levels at strides 2, 4, 8, 16 and 32.

    MONAI's network and names. Hu et al., "Squeeze-and-excitation networks" (2018). Cell k of the last level is centred
    on voxel 32 k + 2. The receptive field is that of the convolutions: through the channels' weights a cell depends a
    little on all of the image.

    Args:
        name: "seresnet50", "seresnet101", "seresnet152", "seresnext50", "seresnext101" or "senet154".
        spatial_dims: 2 or 3.
        in_channels: of the input.

    Raises:
        ValueError: for an unknown name.
    """

    layer0: nn.Sequential

    def __init__(self, name: str = "seresnet50", spatial_dims: int = 2, in_channels: int = 3) -> None:
        if name not in SENETS:
            msg = f"unknown SENet {name!r}: {did_you_mean(name, SENETS)}"
            raise ValueError(msg)
        super().__init__()
        plan = SENETS[name]
        whole = getattr(nets, plan.monai)(spatial_dims=spatial_dims, in_channels=in_channels, num_classes=1)
        for part in ("layer0", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(part, getattr(whole, part))
        self.name = name
        self._taps = _taps(plan)
        self.channels, self.layers = self._taps[-1]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The stem at stride 2 and the four stages at strides 4, 8, 16 and 32."""
        return self._taps

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The features of all taps, finest first."""
        *stem, pool = self.layer0
        for layer in stem:
            x = layer(x)
        levels, x = [x], pool(x)
        for stage in list(self.children())[1:]:
            x = stage(x)
            levels.append(x)
        return levels

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W] -> [N, channels, h, w]``, volumes alike."""
        for stage in self.children():
            x = stage(x)
        return x


def _taps(plan: _Plan) -> tuple[Tap, ...]:
    layers: Sequence[Layer] = plan.stem
    taps = [Tap(plan.width, tuple(layers))]
    layers = (*layers, POOL)
    for stage, count in enumerate(plan.blocks):
        for block in range(count):
            stride = 2 if stage and not block else 1
            layers = (*layers, *((Layer(1, stride), Layer(3, 1, 1)) if plan.early_stride else (Layer(3, stride, 1),)))
        taps.append(Tap(256 * 2**stage, tuple(layers)))
    return tuple(taps)


for _name in SENETS:
    BACKBONES.register(_name)(partial(SENet, _name))
