"""Bring in the mask loss step by step."""

from __future__ import annotations

from ignite.engine import Engine, Events

from ..losses import ClassAndMaskLoss

__all__ = ["MaskLossRamp"]


class MaskLossRamp:
    """Raise the mask loss's weight linearly from 0 to its final value over the first part of the training.

    A large weight from the start lets a network give up its attention before it has learnt anything: on the phantom a
    weight of 50 collapsed without a ramp. The weight follows the trainer's iteration counter, so that a resumed
    training goes on where it was. Between epochs, where validation is usually run, the weight is the final one:
    otherwise the losses of early epochs would look better than those of later ones.

    Args:
        loss_function: the trainer's loss; its ``weight`` at this moment is the final value.
        fraction: part of all epochs that the ramp takes, in [0, 1]; 0 for no ramp. Defaults to 0.3.

    Raises:
        ValueError: if the fraction is outside [0, 1].
    """

    def __init__(self, loss_function: ClassAndMaskLoss, fraction: float = 0.3) -> None:
        if not 0 <= fraction <= 1:
            msg = f"fraction is a part of the training and must lie in [0, 1], got {fraction}"
            raise ValueError(msg)
        self.loss_function = loss_function
        self.final = float(loss_function.weight)
        self.fraction = fraction

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        if not engine.has_event_handler(self, Events.ITERATION_STARTED):
            engine.add_event_handler(Events.ITERATION_STARTED, self)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)
            engine.add_event_handler(Events.COMPLETED, self.finish)

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
