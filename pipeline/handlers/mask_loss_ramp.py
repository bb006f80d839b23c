"""Bring in the mask loss step by step."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine, Events

__all__ = ["MaskLossRamp"]


class MaskLossRamp:
    """Raise the mask loss's weight linearly from 0 to its final value over the first part of the training.

    A large weight from the start lets a network give up its attention before it has learnt anything: on the phantom a
    weight of 50 collapsed without a ramp. The weight follows the trainer's iteration counter, so that a resumed
    training goes on where it was. Between iterations, where validation is run, the weight is the final one: otherwise
    the losses of early epochs would look better than those of later ones.

    An exception inside an iteration leaves the loss with that iteration's weight; for another training make the loss
    anew, or set its weight.

    Args:
        loss_function: the trainer's loss, for instance :class:`organcam.losses.ClassAndMaskLoss`; its ``weight`` at
            this moment is the final value.
        fraction: part of all epochs that the ramp takes, in [0, 1]; 0 for no ramp. Defaults to 0.3.

    Raises:
        ValueError: if the fraction is outside [0, 1], or the loss has no weight.
    """

    def __init__(self, loss_function: Any, fraction: float = 0.3) -> None:
        if not 0 <= fraction <= 1:
            msg = f"fraction is a part of the training and must lie in [0, 1], got {fraction}"
            raise ValueError(msg)
        if not isinstance(getattr(loss_function, "weight", None), (int, float)):
            kind = getattr(loss_function, "__name__", type(loss_function).__name__)
            msg = f"a ramp raises the loss's attribute 'weight', a number; the loss {kind} has no weight"
            raise ValueError(msg)
        self.loss_function = loss_function
        self.final = float(loss_function.weight)
        self.fraction = fraction

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if not engine.has_event_handler(self, Events.ITERATION_STARTED):
            engine.add_event_handler(Events.ITERATION_STARTED, self)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.finish)

    def __call__(self, engine: Engine) -> None:
        """Set the weight for the iteration that starts."""
        state = engine.state
        if state.epoch_length:
            done, total = state.iteration - 1, state.epoch_length * (state.max_epochs or 1)
        else:  # a loader without a length: epoch by epoch
            done, total = state.epoch - 1, state.max_epochs or 1
        ramp = self.fraction * total
        self.loss_function.weight = self.final * min(1.0, done / ramp) if ramp > 0 else self.final

    def finish(self, engine: Engine) -> None:  # noqa: ARG002
        """Set the final weight."""
        self.loss_function.weight = self.final
