"""MONAI's ResNets in torchvision's layout, for images and volumes, with all their levels."""

from __future__ import annotations

from functools import partial

from monai.networks import nets
from torch import Tensor, nn

from ..errors import did_you_mean
from ..geometry import Layer
from .backbones import BACKBONES, Backbone, Tap

__all__ = ["RESNETS", "ResNet", "ResNet18"]

RESNETS: dict[str, tuple[int, int, int, int]] = {
    "resnet10": (1, 1, 1, 1),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
}
"""Residual blocks per stage."""

STEM = Layer(7, 2, 3)
POOL = Layer(3, 2, 1)
PARTS = ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4")
"""MONAI's modules in the order in which they run."""


class ResNet(Backbone):
    """A ResNet without pooling and classifier, output stride 32; levels at strides 2, 4, 8, 16 and 32.

    MONAI's network in torchvision's layout (stem stride 2, shortcuts without bias, the stride of a bottleneck in its
    3 x 3 convolution), so that ``state_dict`` has torchvision's names and shapes and takes its ImageNet weights; with
    ``spatial_dims=3`` those of MedicalNet, whose 18 and 34 layers have ``shortcut="A"`` ("medicalnet18").
    Cell k of every level is centred on voxel stride * k: with 420 voxels, 14 cells whose centres 0, 32, ..., 416 span
    the image symmetrically to 1.5 voxels. He et al., "Deep residual learning for image recognition" (2016).

    Args:
        name: "resnet10", "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152".
        spatial_dims: 2 or 3.
        in_channels: of the input.
        shortcut: "B" (1 x 1 convolution, torchvision) or "A" (zero padding; MedicalNet's resnet18 and resnet34).

    Raises:
        ValueError: for an unknown name or shortcut.
    """

    conv1: nn.Module
    bn1: nn.Module
    act: nn.Module
    maxpool: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self, name: str = "resnet50", spatial_dims: int = 2, in_channels: int = 3, shortcut: str = "B"
    ) -> None:
        if name not in RESNETS:
            msg = f"unknown ResNet {name!r}: {did_you_mean(name, RESNETS)}"
            raise ValueError(msg)
        if shortcut not in {"A", "B"}:
            msg = f"unknown shortcut {shortcut!r}: {did_you_mean(shortcut, ('A', 'B'))}"
            raise ValueError(msg)
        super().__init__()
        whole = getattr(nets, name)(
            pretrained=False,
            spatial_dims=spatial_dims,
            n_input_channels=in_channels,
            conv1_t_stride=2,
            shortcut_type=shortcut,
            bias_downsample=False,
            feed_forward=False,
        )
        for part in PARTS:
            self.add_module(part, getattr(whole, part))
        self.name = name
        bottleneck = int(name.removeprefix("resnet")) >= 50
        self._taps = _taps(RESNETS[name], bottleneck)
        self.channels, self.layers = self._taps[-1]

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The stem at stride 2 and the four stages at strides 4, 8, 16 and 32."""
        return self._taps

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The features of all taps, finest first."""
        before, pooling, stages = PARTS[:3], PARTS[3], PARTS[4:]
        stem = x
        for part in before:
            stem = self.get_submodule(part)(stem)
        features = [self.get_submodule(pooling)(stem)]
        for part in stages:
            features.append(self.get_submodule(part)(features[-1]))
        return [stem, *features[1:]]

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W] -> [N, channels, ceil(H / 32), ceil(W / 32)]``, volumes alike."""
        features = x
        for layer in self.children():
            features = layer(features)
        return features


def _taps(blocks: tuple[int, int, int, int], bottleneck: bool) -> tuple[Tap, ...]:
    taps = [Tap(64, (STEM,))]
    layers: tuple[Layer, ...] = (STEM, POOL)
    for stage, count in enumerate(blocks):
        for block in range(count):
            strided = Layer(3, 2 if stage > 0 and block == 0 else 1, 1)
            layers += (strided,) if bottleneck else (strided, Layer(3, 1, 1))
        taps.append(Tap(64 * 2**stage * (4 if bottleneck else 1), layers))
    return tuple(taps)


@BACKBONES.register("resnet18")
class ResNet18(ResNet):
    """ResNet-18: 512 channels, receptive field 435 voxels; the backbone of the published AxialNet."""

    channels, layers = _taps(RESNETS["resnet18"], bottleneck=False)[-1]

    def __init__(self, spatial_dims: int = 2, in_channels: int = 3) -> None:
        super().__init__("resnet18", spatial_dims, in_channels)


for _name in RESNETS:
    if _name != "resnet18":
        BACKBONES.register(_name)(partial(ResNet, _name))
BACKBONES.register("medicalnet18")(partial(ResNet, "resnet18", shortcut="A"))
BACKBONES.register("medicalnet34")(partial(ResNet, "resnet34", shortcut="A"))
