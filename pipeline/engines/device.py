"""Which processor a training runs on, and in which precision."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import ConfigError
from ..runner import torchrun_launch

__all__ = ["choose_device", "mixed_precision", "to_channels_last"]


def choose_device(name: str) -> torch.device:
    """The device of a settings value; ``auto`` takes a GPU where there is one.

    Among processes of torchrun each takes the GPU of its own number on its machine.

    Raises:
        ConfigError: if the device is not there, or several processes are to share one GPU.
    """
    launch = torchrun_launch()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
        if launch is None:
            return torch.device(name)
    device = torch.device(name)
    if device.type == "cuda" and launch is not None:
        if device.index is not None:
            msg = f"train.device={name}: each of the {launch.size} processes takes a GPU of its own; set cuda or auto"
            raise ConfigError(msg)
        device = torch.device("cuda", launch.local_rank)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"train.device={device}: this machine has {torch.cuda.device_count()} GPUs that torch can use"
        raise ConfigError(msg)
    return device


def mixed_precision(amp: bool | str, device: torch.device) -> torch.dtype | None:
    """The lower precision of forward passes in training; None for float32 throughout.

    Args:
        amp: ``TrainConfig.amp``. ``float16`` and ``bfloat16`` hold on any device; True is float16 on a GPU and nothing
            on a CPU, where it only costs time.
        device: where the network is trained.
    """
    if amp is True:
        return torch.float16 if device.type == "cuda" else None
    return getattr(torch, amp) if amp else None


def to_channels_last(network: nn.Module) -> None:
    """Lay the weights of convolutions over images and volumes in channels-last order; their outputs follow them."""
    orders = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        if weight.ndim in orders:
            weight.data = weight.data.contiguous(memory_format=orders[weight.ndim])
