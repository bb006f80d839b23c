"""Two-dimensional feature extractors for single slabs, each with the layers that place its cells."""

from __future__ import annotations

from pathlib import Path

import torch
from monai.networks.nets import resnet18 as monai_resnet18
from torch import Tensor, nn

from ..errors import ConfigError
from ..geometry import Layer
from .registry import Registry

__all__ = ["BACKBONES", "Backbone", "ResNet18", "SmallBackbone", "load_backbone_weights"]


class Backbone(nn.Module):
    """A feature extractor of single slabs, ``[N, 3, H, W] -> [N, channels, h, w]``; one to derive from."""

    channels: int
    layers: tuple[Layer, ...]  # along H and W alike, the branch with the largest receptive field


BACKBONES: Registry[Backbone] = Registry("backbone", group="organcam.backbones")


@BACKBONES.register("resnet18")
class ResNet18(Backbone):
    """ResNet-18 without pooling and classifier: 512 channels at stride 32.

    MONAI's network in torchvision's layout (stem stride 2, shortcuts without bias), so that ``state_dict`` has
    torchvision's names and shapes and takes its ImageNet weights. Cell k is centred on voxel 32 k; 420 voxels give 14
    cells, whose centres 0, 32, ..., 416 span the image symmetrically to 1.5 voxels. Receptive field 435 voxels.
    """

    channels = 512
    layers = (
        Layer(7, 2, 3),
        Layer(3, 2, 1),
        *4 * (Layer(3, 1, 1),),
        *3 * (Layer(3, 2, 1), *3 * (Layer(3, 1, 1),)),
    )

    def __init__(self) -> None:
        super().__init__()
        whole = monai_resnet18(
            pretrained=False,
            spatial_dims=2,
            n_input_channels=3,
            conv1_t_stride=2,
            bias_downsample=False,
            feed_forward=False,
        )
        for name in ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(whole, name))

    def forward(self, slabs: Tensor) -> Tensor:
        """``[N, 3, H, W] -> [N, 512, ceil(H / 32), ceil(W / 32)]``."""
        features = slabs
        for layer in self.children():
            features = layer(features)
        return features


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; at stride 2 both paths see whole 2 x 2 tiles, so that no cell is shifted."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        first = (
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
            if stride == 1
            else nn.Conv2d(channels_in, channels_out, stride, stride=stride, bias=False)
        )
        self.conv1, self.bn1 = first, nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu_(self.bn1(self.conv1(x)))
        return torch.relu_(self.bn2(self.conv2(y)) + self.shortcut(x))


@BACKBONES.register("small")
class SmallBackbone(Backbone):
    """A few layers for small volumes and no pretraining: 64 channels at stride 8, receptive field 44 voxels.

    Strided layers have even kernels, so that cell k is centred on voxel 8 k + 3.5 and the cells tile an image whose
    sides are multiples of 8 exactly. (5 x 5 and 3 x 3 kernels with symmetric padding would centre it on 8 k + 1.)
    """

    channels = 64
    layers = (Layer(6, 2, 2), Layer(2, 2), Layer(3, 1, 1), Layer(3, 1, 1), Layer(2, 2), Layer(3, 1, 1))

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 6, stride=2, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = _Residual(16, 32, stride=1)
        self.layer2 = _Residual(32, 64, stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, slabs: Tensor) -> Tensor:
        """``[N, 3, H, W] -> [N, 64, H // 8, W // 8]``."""
        features = self.maxpool(torch.relu_(self.bn1(self.conv1(slabs))))
        return self.layer2(self.layer1(features))


def load_backbone_weights(backbone: nn.Module, path: str | Path) -> None:
    """Load a state dict from a local file, for instance torchvision's ImageNet weights; nothing is downloaded.

    The classifier ``fc`` of a whole network is left out, and ``num_batches_tracked`` may be absent (older files).

    Args:
        backbone: changed in place.
        path: a file written by ``torch.save`` that holds tensors only (read with ``weights_only=True``).

    Raises:
        ConfigError: if the file is missing, unreadable or does not fit the backbone.
    """
    if not Path(path).is_file():
        msg = f"backbone weights {str(path)!r} not found; give the path of a local file (nothing is downloaded)"
        raise ConfigError(msg)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives and refused pickles raise many types
        msg = f"backbone weights {str(path)!r} cannot be read as a file of tensors: {_first_line(error)}"
        raise ConfigError(msg) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        msg = f"backbone weights {str(path)!r} must hold a state dict (name -> tensor)"
        raise ConfigError(msg)
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in wanted]
    unfit = [name for name in state if name in wanted and state[name].shape != wanted[name].shape]
    if missing or unknown or unfit:
        parts = {"missing": missing, "unknown": unknown, "of another shape": unfit}
        said = "; ".join(f"{len(names)} {kind} (first {names[0]!r})" for kind, names in parts.items() if names)
        msg = f"backbone weights {str(path)!r} do not fit {type(backbone).__name__}: {said}"
        raise ConfigError(msg)
    backbone.load_state_dict(state, strict=False)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
