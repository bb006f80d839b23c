"""Which processor a training runs on, and in which precision."""

from __future__ import annotations

import torch

from ..errors import ConfigError

__all__ = ["choose_device", "mixed_precision"]


def choose_device(name: str) -> torch.device:
    """The device of a settings value; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"train.device={name}: this machine has {torch.cuda.device_count()} GPUs that torch can use"
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
