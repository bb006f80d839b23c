"""Assembling and running MONAI trainers."""

from .judge import judge_on_validation
from .loaders import image_transforms, loader, prepare_batch, training_transforms
from .train_model import TrainedModel, choose_device, train_model
from .training_log import TrainingLog

__all__ = [
    "TrainedModel",
    "TrainingLog",
    "choose_device",
    "image_transforms",
    "judge_on_validation",
    "loader",
    "prepare_batch",
    "train_model",
    "training_transforms",
]
