"""The optimiser of a training, and how its learning rate goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..config import TrainConfig

__all__ = ["SGD_MOMENTUM", "Plateau", "make_optimizer", "make_schedule"]

SGD_MOMENTUM = 0.99
"""As published."""


def make_optimizer(network: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    """AdamW or Adam with PyTorch's defaults, or SGD with the published momentum."""
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), rate, momentum=SGD_MOMENTUM, weight_decay=decay)
    if settings.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), rate, weight_decay=decay)
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=decay)


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate, moved on after each of the ``steps`` iterations of an epoch.

    ``one_cycle`` is PyTorch's ``OneCycleLR``: up to the peak over the first 30 % of all iterations, then down to
    nearly nothing. With Adam and AdamW it moves the first beta against the learning rate, between 0.85 and 0.95, as
    PyTorch does by default; the momentum of SGD stays the published one. Any other schedule leaves the rate alone here.
    """
    if settings.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            settings.learning_rate,
            total_steps=max(settings.epochs * steps, 2),
            cycle_momentum=settings.optimizer != "sgd",
        )
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


class Plateau:
    """The learning rate lowered where the monitored figure no longer gets better; a checkpointable object.

    PyTorch's ``ReduceLROnPlateau``, by one ten-thousandth at least, as published for PYLON. For any other schedule than
    ``plateau`` it does nothing.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: TrainConfig) -> None:
        self.optimizer = optimizer
        self.settings = settings
        self._schedule = None
        if settings.schedule == "plateau":
            self._schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer,
                mode="min" if settings.monitor == "loss" else "max",
                factor=settings.plateau_factor,
                patience=settings.plateau_patience,
            )

    def look(self, figure: float) -> None:
        """Take in the monitored figure of a validation."""
        if self._schedule is not None:
            self._schedule.step(figure)

    @property
    def is_over(self) -> bool:
        """Whether the rate has come down to where the training ends."""
        return self._schedule is not None and self.optimizer.param_groups[0]["lr"] <= self.settings.plateau_until

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for a checkpoint."""
        if self._schedule is None:
            return {}
        return {name: value for name, value in self._schedule.state_dict().items() if _is_plain(value)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Plain numbers from a checkpoint."""
        if self._schedule is not None:
            self._schedule.load_state_dict(dict(state_dict))


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, list)) or value is None
