"""How far the epoch under way is, so that a training can end inside it and go on to the same weights."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.transforms import Compose
from torch.utils.data import DataLoader

__all__ = ["EpochPosition", "seed_everything"]


def seed_everything(*parts: int) -> None:
    """Seed torch on all devices, NumPy and Python from several numbers, whose neighbours have nothing in common."""
    mixed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    torch.manual_seed(mixed)
    np.random.seed(mixed)
    random.seed(mixed)


class EpochPosition:
    """Steps and losses of the epoch under way, and the random states of its steps; a checkpointable object.

    No random state is stored: whatever is drawn in a step depends on the seed and the numbers of step and process
    alone, as the order and the augmentation of `loader` depend on seed and epoch.

    Args:
        batches: of the training scans.
        seed: of everything random.

    Attributes:
        steps: done in the epoch under way; 0 once the epoch is over, validation included.
    """

    def __init__(self, batches: DataLoader[Any], seed: int) -> None:
        self.batches = batches
        self.seed = seed
        self.close()

    @property
    def can_go_on(self) -> bool:
        """Whether an epoch can be entered in its middle: with the batches of `loader`, whose sampler can ``skip``."""
        return hasattr(self.batches.sampler, "skip")

    @property
    def mean_loss(self) -> float:
        """Of the steps so far, over their scans."""
        return self._loss / self._scans

    def attach(self, trainer: Engine) -> None:
        """Seed each epoch and step, leave out the scans of the steps that are done, and add up the losses."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._begin_step)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)

    def close(self) -> None:
        """The epoch is over."""
        self.steps, self._loss, self._scans = 0, 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers for a checkpoint."""
        return {"steps": self.steps, "loss": self._loss, "scans": self._scans}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Plain numbers from a checkpoint."""
        self.steps, self._loss, self._scans = (state_dict[name] for name in ("steps", "loss", "scans"))

    def _begin_epoch(self, engine: Engine) -> None:
        seed_everything(self.seed, engine.state.epoch)
        transform = getattr(self.batches.dataset, "transform", None)
        if isinstance(transform, Compose):  # of somebody's own loader
            transform.set_random_state(seed=(self.seed * 100_003 + engine.state.epoch) % 2**31)
        if self.can_go_on:
            sampler: Any = self.batches.sampler
            sampler.skip(self.steps * (self.batches.batch_size or 1))

    def _begin_step(self, engine: Engine) -> None:
        seed_everything(self.seed, engine.state.epoch, engine.state.iteration, idist.get_rank())

    def _end_step(self, engine: Engine) -> None:
        output: Any = engine.state.output
        self.steps += 1
        self._loss += float(output["loss"]) * output["scans"]
        self._scans += output["scans"]
