"""One iteration of training: forward, loss, gradients, clipping, update; in mixed precision on any device."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys
from torch import Tensor, nn

from ..inferers import LogitsAndAttentionInferer
from .distributed import TrainingError, mean_over_team, reaching_all
from .fit import require_fit

__all__ = ["TrainingLoss", "TrainingStep", "needs_attention", "predict"]


class TrainingLoss(Protocol):
    """Any loss of one prediction and one target, both dictionaries.

    An attribute ``needs_attention`` that is true asks for the network's attention; without it, or where it is false, a
    network is called with its input alone. A plain loss of PyTorch is wrapped, for instance
    ``lambda prediction, target: mse_loss(prediction["logits"], target["label"])``.
    """

    def __call__(self, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        """A scalar.

        Args:
            prediction: ``logits`` ``[B, M]``, and ``attention`` ``[B, M, *grid]`` where it is needed.
            target: ``label`` ``[B, M]``, and ``allowed`` ``[B, M, *grid]`` where the batch has regions.
        """


def needs_attention(loss: TrainingLoss) -> bool:
    """Whether a loss asks for attention beside the logits."""
    return bool(getattr(loss, "needs_attention", False))


def predict(network: nn.Module, inputs: Tensor, attention: bool, possible: Tensor | None = None) -> dict[str, Tensor]:
    """Logits of one forward pass, and the network's attention on request.

    Args:
        network: of the batch's input; it is asked for attention by ``attention=True``, and not otherwise.
        inputs: as the network takes them; metadata are dropped, see `LogitsAndAttentionInferer`.
        attention: whether the maps are needed.
        possible: cells where each label could lie, ``[B, M, *grid]``, for networks that look at them
            (`organcam.contract.takes_allowed`); None for all others.

    Returns:
        A dictionary of ``logits`` ``[B, M]``, and with ``attention`` of ``attention`` ``[B, M, *grid]``.
    """
    given = {} if possible is None else {"allowed": possible}
    if attention:
        return LogitsAndAttentionInferer()(inputs, network, **given)
    output = network(inputs.as_tensor() if hasattr(inputs, "as_tensor") else inputs, **given)
    return dict(output) if isinstance(output, Mapping) else {"logits": output}


class TrainingStep:
    """The ``iteration_update`` of a MONAI ``SupervisedTrainer`` that must have been built with ``amp=False``.

    It fires the events that MONAI's own iteration fires, with the same output. What differs (MONAI 1.6): MONAI opens
    autocast for CUDA whatever the device is; it makes a new gradient scaler in each ``run()``, so that a resumed
    training begins again at a scale of 65536; and its ``BACKWARD_COMPLETED``, where one clips, comes before the
    gradients are unscaled, so that a norm of 1 is clipped to 1 / 65536 of itself. Here ``BACKWARD_COMPLETED`` sees true
    gradients, the scaler is an attribute to be put into a checkpoint, and a loss that is not finite ends the training
    before it spoils the weights.

    Args:
        device: where the network is.
        precision: of the forward pass (`mixed_precision`); None for float32. float16 scales the loss, since small
            gradients would underflow, and leaves out steps whose gradients overflowed.
        gradient_clip: largest 2-norm of all gradients together; None for no limit.
        schedule: moved on with each update of the weights, and so not by a step that was left out.
        parts: into how many a batch is split, which go through the network one after another; the gradient is that of
            the whole batch, at the memory of a part.

    Attributes:
        scaler: gradient scaler; it does nothing except with float16.
    """

    def __init__(
        self,
        device: torch.device,
        precision: torch.dtype | None,
        gradient_clip: float | None,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        parts: int = 1,
    ) -> None:
        self.device = device
        self.precision = precision
        self.gradient_clip = gradient_clip
        self.schedule = schedule
        self.parts = parts
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)

    def __call__(self, engine: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Run one iteration.

        Args:
            engine: the ``SupervisedTrainer``.
            batch: as its ``prepare_batch`` takes it.

        Returns:
            ``{"image", "label", "pred", "loss"}`` as of MONAI's trainer, those of a batch in parts being of its last
            part; ``loss`` is the mean over the ``scans`` of the step, in all processes.

        Raises:
            TrainingError: if the loss is NaN or infinite.
        """
        engine.network.train()
        engine.optimizer.zero_grad()
        total = len(batch["label"])
        shares = list(_split(batch, self.parts))
        losses = []
        for number, part in enumerate(shares, start=1):
            with nullcontext() if number == len(shares) else _without_exchange(engine.network):
                losses.append(self._add_gradient(engine, part, total))
        mean = mean_over_team(sum(losses), device=self.device)[0]
        _require_finite(mean, engine.state, batch)
        output: dict[str, Any] = engine.state.output
        output[CommonKeys.LOSS] = torch.tensor(mean)
        output["scans"] = total * idist.get_world_size()
        self.scaler.unscale_(engine.optimizer)
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(engine.network.parameters(), self.gradient_clip)
        scale = self.scaler.get_scale()
        self.scaler.step(engine.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:  # it falls where gradients overflowed
            self.schedule.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return output

    def _add_gradient(self, engine: Any, part: Mapping[str, Any], total: int) -> float:
        """Forward and backward pass of a part of the batch; its share of the loss."""
        inputs, targets = engine.prepare_batch(part, engine.state.device, engine.non_blocking)
        output = engine.state.output = {CommonKeys.IMAGE: inputs, CommonKeys.LABEL: targets}
        with torch.autocast(self.device.type, dtype=self.precision, enabled=self.precision is not None):
            attention = needs_attention(engine.loss_function)
            output[CommonKeys.PRED] = predict(engine.network, inputs, attention, targets.get("possible"))
            require_fit(engine.network, output[CommonKeys.PRED], targets)
            engine.fire_event(IterationEvents.FORWARD_COMPLETED)
            loss = output[CommonKeys.LOSS] = engine.loss_function(output[CommonKeys.PRED], targets)
            engine.fire_event(IterationEvents.LOSS_COMPLETED)
        share = loss if len(inputs) == total else loss * (len(inputs) / total)
        self.scaler.scale(reaching_all(share, engine.network)).backward()
        return float(share.detach())


def _split(batch: Mapping[str, Any], parts: int) -> Iterator[Mapping[str, Any]]:
    """A collated batch as smaller ones: tensors and lists along their first axis."""
    size = -(-len(batch["label"]) // parts)
    for start in range(0, len(batch["label"]), size):
        yield {key: value[start : start + size] for key, value in batch.items()}


def _without_exchange(network: nn.Module) -> AbstractContextManager[Any]:
    """Gradients stay in this process until those of the batch's last part."""
    return network.no_sync() if isinstance(network, nn.parallel.DistributedDataParallel) else nullcontext()


def _require_finite(loss: float, state: Any, batch: Mapping[str, Any]) -> None:
    if math.isfinite(loss):
        return
    names = ", ".join(map(str, batch.get("scan_id", ())))
    if idist.get_world_size() > 1:
        of_all: Any = idist.all_gather(names)  # any of them may be the one
        names = ", ".join(of_all)
    scans = f" (scans {names})" if names else ""
    iteration = (state.iteration - 1) % state.epoch_length + 1
    msg = (
        f"training loss became {loss} in epoch {state.epoch}, iteration {iteration} of {state.epoch_length}{scans}; "
        "checkpoints of the epochs before are kept. Usual causes: a train.learning_rate that is too high, no "
        "train.gradient_clip, or train.amp: float16 (bfloat16 does not overflow)"
    )
    raise TrainingError(msg)
