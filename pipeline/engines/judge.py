"""Judging a trained network on its validation scans, to choose between candidates."""

from __future__ import annotations

import numpy as np
import torch
from monai.data import DataLoader
from torch import nn

from ..config import TrainConfig
from ..metrics import organ_iou_curve
from ..metrics.classification import auroc, median_of_defined
from .loaders import prepare_batch
from .train_model import choose_device

__all__ = ["judge_on_validation"]


def judge_on_validation(network: nn.Module, batches: DataLoader, settings: TrainConfig) -> dict[str, float]:
    """Median AUROC, and mean OrganIoU of HiResCAM at each label's best threshold, both on the same scans.

    Returns:
        ``{"auroc_median": x, "organ_iou": y}``; NaN where no label has both classes, or none is present.
    """
    device = choose_device(settings.device)
    network.to(device).eval()
    scores, labels, curves = [], [], []
    with torch.no_grad():
        for batch in batches:
            inputs, targets = prepare_batch(batch, device)
            output = network(inputs, attention=True)
            scores.append(output["logits"].float().cpu().numpy())
            labels.append(targets["label"].cpu().numpy())
            curves.append(organ_iou_curve(output["attention"], targets["allowed"]).cpu().numpy())
    present, curve = np.concatenate(labels).astype(bool), np.concatenate(curves)
    area = auroc(np.concatenate(scores), present)
    best = [curve[present[:, m], m].mean(axis=0).max() for m in range(present.shape[1]) if present[:, m].any()]
    pairs = [present[:, m].sum() for m in range(present.shape[1]) if present[:, m].any()]
    return {
        "auroc_median": median_of_defined(area),
        "organ_iou": float(np.average(best, weights=pairs)) if best else float("nan"),
    }
