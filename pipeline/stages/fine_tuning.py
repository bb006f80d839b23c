"""A training in one or two phases, and the model that it may start from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import pandas as pd
from torch import nn

from ..config import TrainConfig
from ..engines import TrainedModel
from ..errors import some_of
from ..networks import load_network_weights, set_trainable

__all__ = ["Train", "start_network", "train_in_phases"]

LISTED = 3

logger = logging.getLogger(__name__)


class Train(Protocol):
    """`train_model` with its network, loss and batches."""

    def __call__(self, settings: TrainConfig, *, folder: Path, ramp: float) -> TrainedModel:
        """Train the network, with checkpoints in a folder."""


def start_network(network: nn.Module, source: str | None, labels: Sequence[str]) -> tuple[str, ...]:
    """Start from another model; the names of what stays fresh.

    Raises:
        ConfigError: if the file is missing or damaged, or nothing of it fits.
    """
    if source is None:
        return ()
    fresh = load_network_weights(network, source, labels=labels)
    told = f"these stay fresh: {some_of(fresh, LISTED)}" if fresh else "every weight is taken"
    logger.info("train.start_from: %s", told)
    return fresh


def train_in_phases(
    network: nn.Module, settings: TrainConfig, train: Train, *, folder: Path, ramp: float
) -> tuple[TrainedModel, pd.DataFrame]:
    """One training, or two: decoder and head on a frozen backbone, then everything from the best weights of that.

    Args:
        network: trained in place.
        settings: ``head_epochs`` says how long the first phase lasts.
        train: the network's training.
        folder: of checkpoints; each of two phases has one of its own inside it.
        ramp: of the mask loss; it rises in the first of two phases.

    Returns:
        The model of the last phase, and its training curve, with a column ``phase`` where there are two.

    Raises:
        ValueError: if a network of two phases has no backbone.
    """
    if not settings.head_epochs:
        trained = train(settings, folder=folder, ramp=ramp)
        return trained, trained.log.frame()
    set_trainable(network, "head")
    shorter = settings.model_copy(update={"epochs": settings.head_epochs, "keep": "best"})
    first = train(shorter, folder=folder / "head", ramp=ramp)
    network.load_state_dict(first.weights)
    set_trainable(network, "all")
    second = train(settings, folder=folder / "all", ramp=0.0)
    curves = {"head": first.log.frame(), "all": second.log.frame()}
    return second, pd.concat([frame.assign(phase=phase) for phase, frame in curves.items()], ignore_index=True)
