"""Building blocks of decoders in two and three dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.layers.factories import Conv
from torch import Tensor, nn
from torch.nn import functional

from ...errors import did_you_mean

__all__ = ["NORMS", "ConvBlock", "convolution", "enlarge", "normalisation", "start_decoder", "start_head"]

NORMS = ("batch", "group")
GROUPS = 32


class _BatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that takes its running statistics where a channel has one value, which has no spread to divide by."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalised(self, input) if _alone(self, input) else super().forward(input)


class _BatchNorm3d(nn.BatchNorm3d):
    """As ``_BatchNorm2d``."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalised(self, input) if _alone(self, input) else super().forward(input)


class _GroupNorm(nn.GroupNorm):
    """GroupNorm that takes one value per channel too (and gives its bias), which PyTorch's refuses at batch size 1."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)


def convolution(spatial_dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """The convolution of that many dimensions."""
    return Conv[Conv.CONV, spatial_dims]


def normalisation(norm: str, spatial_dims: int, channels: int) -> nn.Module:
    """BatchNorm, or GroupNorm in groups of channels (one group where there is one channel).

    Args:
        norm: "batch" or "group" (32 groups, or as many as divide the channels).
        spatial_dims: 2 or 3.
        channels: to normalise.

    Raises:
        ValueError: for another ``norm``.
    """
    if norm == "batch":
        return (_BatchNorm2d if spatial_dims == 2 else _BatchNorm3d)(channels)
    if norm == "group":
        groups = next(count for count in range(min(GROUPS, channels), 0, -1) if channels % count == 0)
        return _GroupNorm(groups, channels)
    msg = f"unknown norm {norm!r}: {did_you_mean(norm, NORMS)}"
    raise ValueError(msg)


class ConvBlock(nn.Sequential):
    """Convolution that keeps the size, normalisation, ReLU."""

    def __init__(
        self,
        spatial_dims: int,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        *,
        bias: bool = True,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        conv = convolution(spatial_dims)(channels_in, channels_out, kernel, padding=kernel // 2, bias=bias)
        self.add_module("conv", conv)
        self.add_module("norm", normalisation(norm, spatial_dims, channels_out))
        self.add_module("relu", nn.ReLU())


def enlarge(x: Tensor, size: Sequence[int], mode: str = "corners") -> Tensor:
    """Resample a map to another size.

    Args:
        x: ``[N, F, *cells]``, two or three axes.
        size: cells per axis.
        mode: "corners" (linear, first and last cells on each other), "linear" (edges on each other) or "nearest".
    """
    if tuple(x.shape[2:]) == tuple(size):
        return x
    if mode == "nearest":
        return functional.interpolate(x, size=tuple(size), mode="nearest")
    linear = "bilinear" if x.ndim == 4 else "trilinear"
    return functional.interpolate(x, size=tuple(size), mode=linear, align_corners=mode == "corners")


@torch.no_grad()
def start_decoder(decoder: nn.Module) -> None:
    """Kaiming-uniform convolutions (fan in, ReLU) with biases 0, as segmentation_models_pytorch starts decoders."""
    for module in decoder.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@torch.no_grad()
def start_head(head: nn.Conv2d | nn.Conv3d) -> None:
    """Xavier-uniform weights, biases 0."""
    nn.init.xavier_uniform_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


def _alone(norm: nn.BatchNorm2d | nn.BatchNorm3d, x: Tensor) -> bool:
    return norm.training and x.numel() == x.shape[1]


def _normalised(norm: nn.BatchNorm2d | nn.BatchNorm3d, x: Tensor) -> Tensor:
    return functional.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
