"""How far a training is, in lines for a terminal or a log file."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events

__all__ = ["TrainingReport"]

EVERY = 30.0
"""Seconds between two lines inside an epoch."""

logger = logging.getLogger(__name__)


class TrainingReport:
    """A handler that tells loss, pace, time left and memory: a line every half minute, and all figures of each epoch.

    The time left is that of the steps to come, at the mean pace since this process began, validations included.

    Args:
        name: of the training.
        write: gets each line; the log by default.
        clock: seconds that only grow.
    """

    def __init__(
        self, name: str, write: Callable[[str], object] = logger.info, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._write, self._clock = write, clock

    def attach(self, engine: Engine) -> None:
        """Begin to count; attached to a trainer that goes on, the steps that it does itself."""
        self._began = self._last = self._clock()
        self._before = engine.state.iteration
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)

    def _end_step(self, engine: Engine) -> None:
        state: Any = engine.state
        now = self._clock()
        if now - self._last >= EVERY:
            self._last = now
            step = (state.iteration - 1) % state.epoch_length + 1
            self._tell(engine, f"step {step}/{state.epoch_length}  loss {float(state.output['loss']):.4f}")

    def _end_epoch(self, engine: Engine) -> None:
        figures: Mapping[str, float] = engine.state.metrics
        if figures:
            self._last = self._clock()
            self._tell(engine, "  ".join(f"{name} {value:.4f}" for name, value in figures.items()))

    def _tell(self, engine: Engine, what: str) -> None:
        state: Any = engine.state
        done = max(1, state.iteration - self._before)
        pace = (self._clock() - self._began) / done
        left = pace * (state.max_epochs * state.epoch_length - state.iteration)
        self._write(
            f"{self.name}  epoch {state.epoch}/{state.max_epochs}  {what}  {pace:.3g} s a step, "
            f"{_in_words(left)} left, {_memory(state.device)}"
        )


def _in_words(seconds: float) -> str:
    """Example: 3 h 25 min."""
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole:02d} s" if minutes else f"{whole} s"


def _memory(device: torch.device) -> str:
    """The most so far, on the GPU or of this process."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB on the GPU"
    if sys.platform == "win32":
        return "on the CPU"
    import resource  # noqa: PLC0415 - unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak * (1 if sys.platform == 'darwin' else 1024) / 1e9:.1f} GB"
