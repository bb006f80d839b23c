"""Figures of a network on its validation scans: for the training's log, and to choose between candidates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import nn

from ..metrics import is_present, organ_iou_curve
from ..metrics.classification import auroc, median_of_defined
from .distributed import gathered, mean_over_team
from .fit import require_fit
from .loaders import prepare_batch
from .step import TrainingLoss, needs_attention, predict

__all__ = ["validate"]


def validate(
    network: nn.Module,
    batches: DataLoader,
    device: torch.device,
    *,
    loss: TrainingLoss | None = None,
    organ_iou: bool = False,
    between: Callable[[], None] | None = None,
) -> dict[str, float]:
    """One pass over the validation scans, in evaluation mode and float32; the network's mode is restored.

    Args:
        network: on ``device``, not wrapped for several processes.
        batches: of the validation scans; under torchrun of this process' share, and every process gets all figures.
        device: where it is computed.
        loss: see `TrainingLoss`; None for no loss.
        organ_iou: whether OrganIoU is measured, for which the network must give attention and the batches regions.
        between: called before each batch; what it raises ends the pass.

    Returns:
        ``loss``, the mean over batches weighted by their scans: exactly the mean over scans for a loss that is one
        itself, and for a mask loss, which averages over the cells of a batch, close to it. ``auroc_median`` over the
        labels that have both classes. ``organ_iou``: mean over all (scan, present label) pairs of the attention's
        OrganIoU at each label's best threshold on these same scans. NaN where there is no such label or pair; all of
        them are NaN for a network that gives a NaN or an infinity.

    Raises:
        ValueError: if a label is NaN.
    """
    attention = organ_iou or (loss is not None and needs_attention(loss))
    wanted = {"loss": loss is not None, "auroc_median": True, "organ_iou": organ_iou}
    rows: dict[str, list[NDArray[Any]]] = {"scores": [], "labels": [], "losses": [], "curves": []}
    finite = True
    with eval_mode(network):
        for batch in batches:
            if between is not None:
                between()
            inputs, targets = prepare_batch(batch, device)
            prediction = predict(network, inputs, attention, targets.get("possible"))
            require_fit(network, prediction, targets)
            finite = finite and all(bool(value.isfinite().all()) for value in prediction.values())
            if not finite:
                break
            rows["scores"].append(prediction["logits"].float().cpu().numpy())
            rows["labels"].append(targets["label"].cpu().numpy())
            if loss is not None:
                rows["losses"].append(np.full(len(inputs), float(loss(prediction, targets))))
            if organ_iou:
                rows["curves"].append(organ_iou_curve(prediction["attention"], targets["allowed"]).cpu().numpy())
    if mean_over_team(float(finite), device=device)[0] < 1:
        return {name: float("nan") for name, asked in wanted.items() if asked}
    found = {name: gathered(np.concatenate(parts)) for name, parts in rows.items() if parts}
    present = is_present(found["labels"])
    figures = {"loss": float(found["losses"].mean())} if loss is not None else {}
    figures["auroc_median"] = median_of_defined(auroc(found["scores"], present))
    if organ_iou:
        figures["organ_iou"] = _best_organ_iou(found["curves"], present)
    return figures


def _best_organ_iou(curves: NDArray[np.float64], present: NDArray[np.bool_]) -> float:
    """Mean over all present pairs of curves ``[N, M, T]``, each label at its best threshold."""
    scans = {label: curves[present[:, label], label] for label in np.flatnonzero(present.any(axis=0))}
    best = [of_label.mean(axis=0).max() for of_label in scans.values()]
    return float(np.average(best, weights=[len(of_label) for of_label in scans.values()])) if best else float("nan")
