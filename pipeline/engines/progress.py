"""What a training has reached: its log, its best weights, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..config import TrainConfig
from .distributed import TrainingError
from .optimisation import Plateau
from .training_log import TrainingLog

__all__ = ["Progress", "TrainedModel"]


@dataclass(frozen=True)
class TrainedModel:
    """A finished training.

    Attributes:
        weights: those to use, on the CPU.
        log: one row an epoch.
        epoch: after which the network had these weights.
    """

    weights: dict[str, Tensor]
    log: TrainingLog
    epoch: int

    @property
    def figures(self) -> dict[str, float]:
        """The log's row of these weights: they were measured on the validation scans when they were current."""
        return self.log.rows[self.epoch - 1]


class Progress:
    """The epochs so far; a checkpointable object.

    Args:
        settings: which weights to keep, and the patience.
        plateau: told of each monitored figure.

    Attributes:
        log: one row an epoch.
        column: of the log, that decides which weights are best.
    """

    def __init__(self, settings: TrainConfig, plateau: Plateau) -> None:
        self.settings = settings
        self.plateau = plateau
        self.log = TrainingLog()
        self.column = f"valid_{settings.monitor}"
        self._highest = settings.monitor != "loss"
        self._best: dict[str, Tensor] = {}

    def add(self, network: nn.Module, **figures: float) -> None:
        """One epoch more, with the figures of its row; the weights are remembered where they are the best to keep."""
        self.log.add(**figures)
        if self.column in figures:
            self.plateau.look(figures[self.column])
        if self.settings.keep == "best" and self.log.best(self.column, self._highest) == len(self.log.rows) - 1:
            self._best = _on_cpu(network)

    @property
    def is_over(self) -> bool:
        """Whether the training ends: after all epochs, out of patience, or with the rate as low as it goes."""
        return len(self.log.rows) >= self.settings.epochs or self._out_of_patience() or self.plateau.is_over

    def _out_of_patience(self) -> bool:
        """Whether the last look at the validation scans came too long after the best one."""
        if self.settings.patience is None or not self.log.rows or self.column not in self.log.rows[-1]:
            return False
        return self.log.since_best(self.column, self._highest) >= self.settings.patience

    def finish(self, network: nn.Module) -> TrainedModel:
        """The weights to use.

        Args:
            network: as the last epoch left it.

        Raises:
            TrainingError: if their validation loss is not finite, or what is monitored never had a value.
        """
        best = self.settings.keep == "best"
        row = self.log.best(self.column, self._highest) if best else len(self.log.rows) - 1
        if row is None and self._highest:
            msg = (
                f"train.monitor: {self.settings.monitor} had no value in any epoch, since the validation split has no "
                "label with positive scans (and for auroc_median negative ones)"
            )
            raise TrainingError(msg)
        if row is None or not math.isfinite(self.log.rows[row]["valid_loss"]):
            which = "any epoch" if best else f"the last epoch, {len(self.log.rows)}"
            msg = (
                f"the validation loss of {which} is not finite, and no model is made of such weights: try a lower "
                "train.learning_rate, a train.gradient_clip, or train.keep: best"
            )
            raise TrainingError(msg)
        return TrainedModel(self._best if best else _on_cpu(network), self.log, row + 1)

    def state_dict(self) -> dict[str, Any]:
        """Rows and best weights for a checkpoint."""
        return {"log": self.log.state_dict(), "best": self._best}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Rows and best weights from a checkpoint."""
        self.log.load_state_dict(state_dict["log"])
        self._best = dict(state_dict["best"])


def _on_cpu(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
