"""The optimiser of a training, and how its learning rate goes."""

from __future__ import annotations

import torch
from torch import nn

from ..config import TrainConfig

__all__ = ["SGD_MOMENTUM", "make_optimizer", "make_schedule"]

SGD_MOMENTUM = 0.99
"""As published."""


def make_optimizer(network: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW with PyTorch's defaults, or SGD with the published momentum."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), rate, momentum=SGD_MOMENTUM, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate, moved on after each of the ``steps`` iterations of an epoch.

    ``one_cycle`` is PyTorch's ``OneCycleLR``: up to the peak over the first 30 % of all iterations, then down to
    nearly nothing. With AdamW it moves the first beta against the learning rate, between 0.85 and 0.95, as PyTorch does
    by default; the momentum of SGD stays the published one.
    """
    if settings.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            settings.learning_rate,
            total_steps=max(settings.epochs * steps, 2),
            cycle_momentum=settings.optimizer != "sgd",
        )
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
