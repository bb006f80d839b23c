"""Attention for networks without a closed form of it: HiResCAM, by one short backward pass a label."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..attention.maps import attention_maps

__all__ = ["with_attention"]


def with_attention(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """``logits`` ``[B, M]`` and ``attention`` ``[B, M, *grid]``, differentiable where gradients are recorded."""
    maps = attention_maps(network, x, create_graph=torch.is_grad_enabled())
    return {"logits": maps.logits, "attention": maps.values}
