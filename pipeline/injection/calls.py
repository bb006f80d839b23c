"""Calls of somebody's network: their arguments, and whether they may be listened to."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from ..modules import unwrap

__all__ = ["as_inputs", "is_plain_inference"]


def as_inputs(network: nn.Module, given: tuple[Any, ...], words: dict[str, Any]) -> Any:
    """Arguments of a call in the form that ``attention_maps`` takes."""
    if not words:
        return given if len(given) > 1 else given[0]
    names = list(inspect.signature(unwrap(network).forward).parameters)
    return {**dict(zip(names, given, strict=False)), **words}


def is_plain_inference(network: nn.Module, inputs: Tensor) -> bool:
    """Whether the pass that the caller asked for can be listened to without changing anything for him."""
    return (
        not torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled(inputs.device.type)
        and unwrap(network) is network  # hooks on modules inside a compiled one are not seen
        and not any(module.training for module in network.modules())
    )
