"""Training one network with MONAI's SupervisedTrainer, resumable after a kill with the same outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from torch import nn

from ..config import TrainConfig, TrainRuntime
from ..errors import ConfigError
from ..handlers import MaskLossRamp
from ..runner import held_back, stop_asked
from .checkpoints import Checkpoints, SameSettings
from .device import choose_device, mixed_precision, to_channels_last
from .distributed import StopRequests, as_one, lost_contact_told, share_buffers
from .loaders import prepare_batch
from .optimisation import Plateau, make_optimizer, make_schedule
from .position import EpochPosition
from .progress import Progress, TrainedModel
from .step import TrainingLoss, TrainingStep
from .tracking import Handler
from .validation import validate

__all__ = ["train_model"]

_SILENT = logging.getLogger(f"{__name__}.trainer")
_SILENT.setLevel(logging.CRITICAL + 1)


def train_model(
    network: nn.Module,
    loss: TrainingLoss,
    loaders: tuple[DataLoader, DataLoader],
    settings: TrainConfig,
    *,
    folder: Path,
    ramp: float = 0.0,
    seed: int = 0,
    organ_iou: bool = False,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
    handlers: Sequence[Handler] = (),
) -> TrainedModel:
    """Train a network until ``settings.epochs``, or until patience runs out.

    A checkpoint is written after each epoch (atomically, the last two are kept), and inside it every
    ``settings.save_minutes``; a second call with the same folder goes on from the newest sound one. All that is random
    depends on seed, epoch and step, so the resumed outcome is the uninterrupted one, bit for bit on the same machine
    and number of threads; with float16 the gradient scaler goes on too. Under ``organcam.runner.interruptible`` a
    signal is heeded after the step, or the batch of the validation, that is under way: the state is saved there, and
    ``Interrupted`` is raised. With batches of other samplers than those of `loader` it goes on from the last epoch.

    Under torchrun every process calls this with the same arguments, inside `joined`: each takes its share of a step's
    scans, and process 0 alone writes. Batch statistics and a mask loss's means over cells are those of a share.

    A training loss that is NaN or infinite ends the training with an error, and so does a validation loss that is not
    finite for the weights to be kept: a model without figures is none. In between such a validation loss counts as
    worse than any other.

    Args:
        network: from a batch's image to logits ``[B, M]``; called with ``attention=True``, to ``{"logits",
            "attention"}``, where the loss or ``organ_iou`` needs that.
        loss: of prediction and target, see `TrainingLoss`.
        loaders: of the training and the validation scans.
        settings: see `TrainConfig`.
        folder: for the checkpoints of this training alone.
        ramp: share of the epochs over which the loss's ``weight`` rises from 0, see `MaskLossRamp`; 0 for none.
        seed: of everything random.
        organ_iou: whether OrganIoU is measured along with the validation loss.
        on_epoch: told epoch and figures after each epoch.
        handlers: of ignite, MONAI or one's own, attached to the trainer where it begins or goes on, in process 0 alone;
            ``engine.state.metrics`` has the figures of the epoch.

    Returns:
        Weights of the last or best epoch, their epoch, and the log: ``epoch, learning_rate, train_loss``, and in the
        epochs of validation ``valid_loss, valid_auroc_median`` and, if wanted, ``valid_organ_iou`` (see `validate`).

    Raises:
        TrainingError: for a loss that is not finite.
        OrganCamError: for a checkpoint of another training.
        Interrupted: when it was told to stop.
        ConfigError: if the device is not there, or settings do not go together.
    """
    _check_settings(settings, organ_iou)
    device = choose_device(settings.device)
    network.to(device)
    if settings.channels_last:
        to_channels_last(network)
    if isinstance(loss, nn.Module):
        loss.to(device)
    optimizer = make_optimizer(network, settings)
    schedule = make_schedule(optimizer, settings, len(loaders[0]))
    plateau = Plateau(optimizer, settings)
    precision, parts = mixed_precision(settings.amp, device), settings.accumulation_steps
    step = TrainingStep(device, precision, settings.gradient_clip, schedule, parts)
    progress = Progress(settings, plateau)
    requests = StopRequests()
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=settings.epochs,
        train_data_loader=loaders[0],
        network=as_one(network, device),
        optimizer=optimizer,
        loss_function=loss,
        non_blocking=device.type == "cuda",
        prepare_batch=prepare_batch,
        iteration_update=step,
        train_handlers=[MaskLossRamp(loss, ramp)] if ramp else None,
        decollate=False,
    )
    trainer.logger = _SILENT  # it would announce each error before it is told
    position = EpochPosition(loaders[0], seed)
    position.attach(trainer)

    def look() -> dict[str, float]:
        share_buffers(network)
        return validate(network, loaders[1], device, loss=loss, organ_iou=organ_iou, between=_heed_signals)

    _attach_progress(trainer, network, position, progress, look, on_epoch)
    decided = {**settings.model_dump(exclude=set(TrainRuntime.model_fields)), "ramp": ramp, "seed": seed}
    checkpoints = Checkpoints(
        folder,
        {
            "trainer": trainer,
            "network": network,
            "optimizer": optimizer,
            "schedule": schedule,
            "plateau": plateau,
            "scaler": step.scaler,
            "position": position,
            "progress": progress,
            "settings": SameSettings(decided),
        },
    )
    checkpoints.attach(trainer, position, requests, settings.save_minutes)
    checkpoints.resume()
    for handler in handlers if idist.get_rank() == 0 else ():
        handler.attach(trainer)
    # A signal is heeded where everything can be saved, and raises at the end of this block.
    with held_back(), lost_contact_told():
        if position.steps == trainer.state.epoch_length:
            trainer.fire_event(Events.EPOCH_COMPLETED)  # it ended before this epoch's validation did
        if not requests.ask() and not progress.is_over:
            trainer.run()
    requests.heed()
    return progress.finish(network)


def _check_settings(settings: TrainConfig, organ_iou: bool) -> None:
    try:
        settings.require_consistent()
    except ValueError as problem:
        msg = f"train.{problem}"
        raise ConfigError(msg) from None
    if settings.monitor == "organ_iou" and not organ_iou:
        msg = "train.monitor: organ_iou is not measured here; pass organ_iou=True"
        raise ConfigError(msg)


class _StoppedError(Exception):
    """A signal waits."""


def _heed_signals() -> None:
    if stop_asked() and idist.get_world_size() == 1:  # processes with fewer batches would not come to know
        raise _StoppedError


def _attach_progress(
    trainer: SupervisedTrainer,
    network: nn.Module,
    position: EpochPosition,
    progress: Progress,
    look: Callable[[], dict[str, float]],
    on_epoch: Callable[[int, dict[str, float]], None] | None,
) -> None:
    """A row of the log after each epoch, with the validation figures where it is time for them."""
    settings = progress.settings

    @trainer.on(Events.EPOCH_COMPLETED)
    def end_epoch(engine: SupervisedTrainer) -> None:
        epoch, figures = engine.state.epoch, {"train_loss": position.mean_loss}
        if epoch % settings.validate_every == 0 or epoch == settings.epochs:
            try:
                figures |= {f"valid_{name}": value for name, value in look().items()}
            except _StoppedError:  # the epoch stays open, to be ended with its validation when the training goes on
                engine.state.metrics = {}
                engine.terminate()
                return
        engine.state.metrics = figures
        rate = engine.optimizer.param_groups[0]["lr"]
        progress.add(network, epoch=epoch, learning_rate=rate, **figures)
        position.close()
        if progress.is_over:
            engine.terminate()
        if on_epoch is not None:
            on_epoch(epoch, figures)
