"""A handler that lets anybody's MONAI training go on where it was stopped."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..modules import unwrap
from .checkpoints import Checkpoints, Resumable

__all__ = ["ResumeHandler"]


class ResumeHandler:
    """Save a trainer's state after each epoch, and go on from the newest sound file when it is started again.

    Unlike MONAI's ``CheckpointLoader`` it needs no path that is there already: the first start begins anew, and every
    later one goes on. Files are whole or absent; one that a disk has damaged is put aside for the one before. With
    weights, optimiser, mixed precision and schedule the random states of torch, NumPy and Python are kept, so that a
    loader without worker processes gives the batches it would have given; MONAI's random transforms have states of
    their own and begin theirs anew. A training that has had all its epochs does nothing more; with more ``max_epochs``
    it goes on.

    Example, for the ``train#handlers`` of a bundle (at the front, since other processes than the first cut the end; it
    saves after all other handlers all the same)::

        - _target_: organcam.engines.ResumeHandler
          output_dir: "@ckpt_dir"
          lr_scheduler: "@lr_scheduler"

    Args:
        output_dir: folder of this training alone; made if missing.
        lr_scheduler: of the trainer, if it has one.
    """

    def __init__(self, output_dir: str | Path, lr_scheduler: Resumable | None = None) -> None:
        self.output_dir = Path(output_dir)
        self.lr_scheduler = lr_scheduler
        self._checkpoints: Checkpoints | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer (MONAI's, which knows its network and optimiser)."""
        if not engine.has_event_handler(self.start, Events.STARTED):
            engine.add_event_handler(Events.STARTED, self.start)

    def start(self, engine: Any) -> None:
        """Go on from the newest checkpoint, if there is any.

        Raises:
            OrganCamError: if it is one of another network, or cannot be read now.
        """
        objects: dict[str, Resumable] = {
            "trainer": _Place(engine),
            "network": unwrap(engine.network),
            "optimizer": engine.optimizer,
            "random": _RandomStates(),
        }
        if self.lr_scheduler is not None:
            objects["lr_scheduler"] = self.lr_scheduler
        if getattr(engine, "scaler", None) is not None:
            objects["scaler"] = engine.scaler
        if not engine.has_event_handler(self, Events.EPOCH_COMPLETED):  # after what others do at the end of an epoch
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        self._checkpoints = Checkpoints(self.output_dir, objects)
        self._checkpoints.resume()

    def __call__(self, engine: Engine) -> None:
        """Save after an epoch."""
        assert self._checkpoints is not None
        self._checkpoints.save(engine.state.epoch)


class _Place:
    """How many epochs are done; how many there shall be is the caller's business."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.engine.state.epoch, "iteration": self.engine.state.iteration}

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        state = self.engine.state
        state.epoch, state.iteration = state_dict["epoch"], state_dict["iteration"]
        if state.epoch_length:  # of the data as they are now
            state.iteration = state.epoch * state.epoch_length


class _RandomStates:
    """Of torch on all devices, of NumPy and of Python, in types that a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]:
        name, keys, *rest = np.random.get_state(legacy=True)
        version, numbers, gauss = random.getstate()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [name, keys.tolist(), *rest],  # type: ignore[union-attr]
            "python": [version, list(numbers), gauss],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        torch.set_rng_state(state_dict["torch"])
        if len(state_dict["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state_dict["cuda"])
        name, keys, *rest = state_dict["numpy"]
        np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))
        version, numbers, gauss = state_dict["python"]
        random.setstate((version, tuple(numbers), gauss))
