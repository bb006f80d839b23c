"""Training one network with MONAI's SupervisedTrainer, resumable after a kill with the same outcome."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Events
from ignite.handlers import Checkpoint, DiskSaver
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.transforms import Compose
from torch import Tensor, nn

from ..config import TrainConfig
from ..errors import ConfigError
from ..handlers import MaskLossRamp
from ..inferers import AttentionInferer
from ..losses import ClassAndMaskLoss
from ..metrics.classification import auroc, median_of_defined
from .loaders import prepare_batch
from .training_log import TrainingLog

__all__ = ["TrainedModel", "choose_device", "train_model"]


@dataclass(frozen=True)
class TrainedModel:
    """A finished training: the weights to use and one row an epoch."""

    weights: dict[str, Tensor]
    log: TrainingLog


def choose_device(name: str) -> torch.device:
    """The device of a settings value; ``auto`` takes a GPU where there is one.

    Raises:
        ConfigError: if the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        msg = f"train.device={name}: this machine has {torch.cuda.device_count()} GPUs that torch can use"
        raise ConfigError(msg)
    return device


def train_model(
    network: nn.Module,
    loss: ClassAndMaskLoss,
    loaders: tuple[DataLoader, DataLoader],
    settings: TrainConfig,
    *,
    folder: Path,
    ramp: float = 0.0,
    seed: int = 0,
    on_epoch: Callable[[int, dict[str, float]], None] | None = None,
) -> TrainedModel:
    """Train a network until ``settings.epochs``, or until patience runs out.

    A checkpoint is written after each epoch (atomically, the last two are kept); a second call with the same folder
    goes on from the newest readable one. Order of scans and augmentation depend on seed and epoch, so the resumed
    outcome is the uninterrupted one, bit for bit on the same machine and number of threads.

    Args:
        network: from ``[B, S, 3, H, W]`` to ``{"logits", "attention"}`` when called with ``attention=True``.
        loss: its mask weight is raised over the first ``ramp`` share of the epochs.
        loaders: of the training and the validation scans.
        settings: see `TrainConfig`.
        folder: for the checkpoints.
        ramp: see `MaskLossConfig`.
        seed: of everything random.
        on_epoch: told epoch and figures after each epoch.

    Returns:
        Weights of the last or best epoch, on the CPU, and the log.
    """
    device = choose_device(settings.device)
    network.to(device)
    optimizer = _optimizer(network, settings)
    scheduler = _scheduler(optimizer, settings, len(loaders[0]))
    log, best = TrainingLog(), _BestWeights()
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=settings.epochs,
        train_data_loader=loaders[0],
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=prepare_batch,
        inferer=AttentionInferer(),
        train_handlers=[MaskLossRamp(loss, ramp)] if loss.mask_loss is not None and ramp else None,
        amp=settings.amp and device.type == "cuda",
        decollate=False,
    )
    _attach_steps(trainer, network, scheduler, settings, loaders[0], seed)
    saved = {
        "trainer": trainer,
        "network": network,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "log": log,
        "best": best,
    }
    losses: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(float(engine.state.output["loss"].detach()))
    )

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine: SupervisedTrainer) -> None:
        epoch, figures = engine.state.epoch, {"train_loss": float(np.mean(losses))}
        if epoch % settings.validate_every == 0 or epoch == settings.epochs:
            figures |= evaluate_loss(network, loss, loaders[1], device)
        losses.clear()
        log.add(epoch=epoch, learning_rate=optimizer.param_groups[0]["lr"], **figures)
        if settings.keep == "best" and log.best("valid_loss") == len(log.rows) - 1:
            best.keep(network)
        if _out_of_patience(log, settings):
            engine.terminate()
        if on_epoch is not None:
            on_epoch(epoch, figures)

    # after `validate`, so that the saved log has this epoch's row
    saver = DiskSaver(str(folder), atomic=True, require_empty=False)
    checkpoint = Checkpoint(
        saved, saver, filename_prefix="", n_saved=2, global_step_transform=lambda engine, _: engine.state.epoch
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, checkpoint)
    _resume(saved, folder, device)
    if trainer.state.epoch < settings.epochs and not _out_of_patience(log, settings):
        trainer.run()
    weights = best.weights if settings.keep == "best" and best.weights else network.state_dict()
    return TrainedModel({name: value.detach().cpu().clone() for name, value in weights.items()}, log)


def evaluate_loss(
    network: nn.Module, loss: ClassAndMaskLoss, batches: DataLoader, device: torch.device
) -> dict[str, float]:
    """Mean loss and median AUROC over the validation scans; AUROC leaves out labels with one class only."""
    losses, scores, labels = [], [], []

    def keep(engine: SupervisedEvaluator) -> None:
        output = engine.state.output
        losses.append(float(loss(output["pred"], output["label"])))
        scores.append(output["pred"]["logits"].float().cpu().numpy())
        labels.append(output["label"]["label"].cpu().numpy())

    evaluator = SupervisedEvaluator(
        device=device,
        val_data_loader=batches,
        network=network,
        prepare_batch=prepare_batch,
        inferer=AttentionInferer(),
        decollate=False,
    )
    evaluator.add_event_handler(IterationEvents.MODEL_COMPLETED, keep)
    evaluator.run()
    area = auroc(np.concatenate(scores), np.concatenate(labels))
    return {"valid_loss": float(np.mean(losses)), "valid_auroc_median": median_of_defined(area)}


class _BestWeights:
    """The weights of the best epoch so far; a checkpointable object."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}

    def keep(self, network: nn.Module) -> None:
        self.weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = dict(state["weights"])


def _optimizer(network: nn.Module, settings: TrainConfig) -> torch.optim.Optimizer:
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(), settings.learning_rate, momentum=0.99, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)


def _scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "one_cycle":
        total = max(settings.epochs * steps, 2)
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=total)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _attach_steps(
    trainer: SupervisedTrainer,
    network: nn.Module,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    settings: TrainConfig,
    batches: DataLoader,
    seed: int,
) -> None:
    """Seeds at each epoch's start, gradient clipping, and the learning rate's step."""

    @trainer.on(Events.EPOCH_STARTED)
    def seed_epoch(engine: SupervisedTrainer) -> None:
        here = (seed * 100_003 + engine.state.epoch) % 2**31
        torch.manual_seed(here)
        transform = getattr(batches.dataset, "transform", None)
        if isinstance(transform, Compose):
            transform.set_random_state(seed=here)

    if settings.gradient_clip is not None:
        clip = settings.gradient_clip
        trainer.add_event_handler(
            IterationEvents.BACKWARD_COMPLETED, lambda _: nn.utils.clip_grad_norm_(network.parameters(), clip)
        )
    if settings.schedule == "one_cycle":
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: scheduler.step())


def _out_of_patience(log: TrainingLog, settings: TrainConfig) -> bool:
    best = log.best("valid_loss")
    return settings.patience is not None and best is not None and len(log.rows) - 1 - best >= settings.patience


def _resume(saved: dict[str, Any], folder: Path, device: torch.device) -> None:
    """Load the newest checkpoint that can be read; a broken one is removed."""
    found = sorted(folder.glob("checkpoint_*.pt"), key=lambda path: int(path.stem.rsplit("_", 1)[1]), reverse=True)
    for path in found:
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except Exception:  # torch raises anything from EOFError to RuntimeError for a cut file
            os.remove(path)
            continue
        Checkpoint.load_objects(to_load=saved, checkpoint=state)
        return
