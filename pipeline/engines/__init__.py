"""Assembling and running MONAI trainers."""

from .checkpoints import save_state
from .controls import ControlRegionsd
from .device import choose_device
from .distributed import TrainingError, joined, team_of_process
from .loaders import ScanDataset, image_transforms, loader, prepare_batch, training_transforms
from .progress import TrainedModel
from .report import TrainingReport
from .resume import ResumeHandler
from .step import TrainingLoss, TrainingStep
from .tracking import require_trackers, trackers
from .train_model import train_model
from .training_log import TrainingLog
from .validation import validate

__all__ = [
    "ControlRegionsd",
    "ResumeHandler",
    "ScanDataset",
    "TrainedModel",
    "TrainingError",
    "TrainingLog",
    "TrainingLoss",
    "TrainingReport",
    "TrainingStep",
    "choose_device",
    "image_transforms",
    "joined",
    "loader",
    "prepare_batch",
    "require_trackers",
    "save_state",
    "team_of_process",
    "trackers",
    "train_model",
    "training_transforms",
    "validate",
]
