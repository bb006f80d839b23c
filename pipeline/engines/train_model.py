"""Training one network with MONAI's SupervisedTrainer, resumable after a kill with the same outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose
from torch import nn

from ..config import TrainConfig, TrainRuntime
from ..handlers import MaskLossRamp
from .checkpoints import Checkpoints, SameSettings
from .device import choose_device, mixed_precision
from .loaders import prepare_batch
from .optimisation import make_optimizer, make_schedule
from .progress import Progress, TrainedModel
from .step import TrainingLoss, TrainingStep
from .validation import validate

__all__ = ["train_model"]


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
) -> TrainedModel:
    """Train a network until ``settings.epochs``, or until patience runs out.

    A checkpoint is written after each epoch (atomically, the last two are kept); a second call with the same folder
    goes on from the newest sound one. Order of scans and augmentation depend on seed and epoch, so the resumed outcome
    is the uninterrupted one, bit for bit on the same machine and number of threads; with float16 the gradient scaler
    goes on too.

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

    Returns:
        Weights of the last or best epoch, their epoch, and the log: ``epoch, learning_rate, train_loss``, and in the
        epochs of validation ``valid_loss, valid_auroc_median`` and, if wanted, ``valid_organ_iou`` (see `validate`).

    Raises:
        OrganCamError: for a loss that is not finite, or a checkpoint of another training.
        ConfigError: if the device is not there.
    """
    device = choose_device(settings.device)
    network.to(device)
    if isinstance(loss, nn.Module):
        loss.to(device)
    optimizer = make_optimizer(network, settings)
    schedule = make_schedule(optimizer, settings, len(loaders[0]))
    step = TrainingStep(device, mixed_precision(settings.amp, device), settings.gradient_clip, schedule)
    progress = Progress(settings)
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=settings.epochs,
        train_data_loader=loaders[0],
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        non_blocking=device.type == "cuda",
        prepare_batch=prepare_batch,
        iteration_update=step,
        train_handlers=[MaskLossRamp(loss, ramp)] if ramp else None,
        decollate=False,
    )
    _attach_seeds(trainer, loaders[0], seed)

    def look() -> dict[str, float]:
        return validate(network, loaders[1], device, loss=loss, organ_iou=organ_iou)

    _attach_progress(trainer, progress, look, on_epoch)
    decided = {**settings.model_dump(exclude=set(TrainRuntime.model_fields)), "ramp": ramp, "seed": seed}
    checkpoints = Checkpoints(
        folder,
        {
            "trainer": trainer,
            "network": network,
            "optimizer": optimizer,
            "schedule": schedule,
            "scaler": step.scaler,
            "progress": progress,
            "settings": SameSettings(decided),
        },
    )
    checkpoints.attach(trainer)
    checkpoints.resume()
    if trainer.state.epoch < settings.epochs and not progress.out_of_patience():
        trainer.run()
    return progress.finish(network)


def _attach_seeds(trainer: SupervisedTrainer, batches: DataLoader, seed: int) -> None:
    """Seed everything random at each epoch's start (order and augmentation of our own loaders have theirs)."""

    @trainer.on(Events.EPOCH_STARTED)
    def seed_epoch(engine: SupervisedTrainer) -> None:
        here = (seed * 100_003 + engine.state.epoch) % 2**31
        torch.manual_seed(here)
        transform = getattr(batches.dataset, "transform", None)
        if isinstance(transform, Compose):
            transform.set_random_state(seed=here)


def _attach_mean_loss(trainer: SupervisedTrainer) -> Callable[[], float]:
    """A function that gives the epoch's mean loss over the scans, and begins anew."""
    losses: list[float] = []
    scans: list[int] = []

    @trainer.on(Events.ITERATION_COMPLETED)
    def remember(engine: SupervisedTrainer) -> None:
        losses.append(float(engine.state.output["loss"].detach()))
        scans.append(len(engine.state.output["image"]))

    def mean() -> float:
        value = float(np.average(losses, weights=scans))
        losses.clear()
        scans.clear()
        return value

    return mean


def _attach_progress(
    trainer: SupervisedTrainer,
    progress: Progress,
    look: Callable[[], dict[str, float]],
    on_epoch: Callable[[int, dict[str, float]], None] | None,
) -> None:
    """A row of the log after each epoch, with the validation figures where it is time for them."""
    settings, mean_loss = progress.settings, _attach_mean_loss(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def end_epoch(engine: SupervisedTrainer) -> None:
        epoch, figures = engine.state.epoch, {"train_loss": mean_loss()}
        if epoch % settings.validate_every == 0 or epoch == settings.epochs:
            figures |= {f"valid_{name}": value for name, value in look().items()}
        rate = engine.optimizer.param_groups[0]["lr"]
        progress.add(engine.network, epoch=epoch, learning_rate=rate, **figures)
        if progress.out_of_patience():
            engine.terminate()
        if on_epoch is not None:
            on_epoch(epoch, figures)
