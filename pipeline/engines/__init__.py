"""Assembling and running MONAI trainers."""

from .device import choose_device
from .loaders import ScanDataset, image_transforms, loader, prepare_batch, training_transforms
from .progress import TrainedModel
from .step import TrainingLoss, TrainingStep
from .train_model import train_model
from .training_log import TrainingLog
from .validation import validate

__all__ = [
    "ScanDataset",
    "TrainedModel",
    "TrainingLog",
    "TrainingLoss",
    "TrainingStep",
    "choose_device",
    "image_transforms",
    "loader",
    "prepare_batch",
    "train_model",
    "training_transforms",
    "validate",
]
