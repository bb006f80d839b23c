"""Train every model of the workflow: ``models/<m>/`` with weights, checkpoints and ``metrics.csv``.

A mask-loss weight given as a list is chosen on the validation split: of the candidates whose median AUROC comes within
`AUROC_SLACK` of the best candidate's, the one with the highest OrganIoU of HiResCAM. ``selection.csv`` shows the choice.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..config import InputConfig, MaskLossConfig, TrainConfig
from ..data.network_input import grid_key
from ..data.records import ScanRecord, in_split
from ..engines import TrainedModel, judge_on_validation, loader, train_model, training_transforms
from ..errors import OrganCamError
from ..geometry import FeatureGrid
from ..losses import ClassAndMaskLoss, MaskLoss
from ..runner import Unit, WorkContext, make_executor, write_json_atomic
from .grids import build_model, grids_of_models
from .run import Run, StageSummary, summarise
from .targets import load_targets, training_labels

__all__ = ["AUROC_SLACK", "run_train"]

VERSION = 1
AUROC_SLACK = 0.02

logger = logging.getLogger(__name__)


def run_train(run: Run) -> StageSummary:
    """Train the models one after another; each is a unit of work that goes on from its own checkpoints."""
    records = run.records()
    targets = load_targets(run, records)
    labels = training_labels(run, targets, records)
    columns = [targets.names.index(name) for name in labels]
    wanted = [record for record in in_split(records, "train", "valid") if record.scan_id in targets.rows]
    keys = _input_keys(run, wanted)
    usable = [record for record in wanted if record.scan_id in keys]
    _require_both_splits(usable)
    items = [
        {
            "scan_id": record.scan_id,
            "split": record.split,
            "image": str(run.root / "volumes" / f"{record.scan_id}.b2nd"),
            "occupancy": str(run.root / "regions" / f"{record.scan_id}.npz"),
            "label": targets.present[targets.rows[record.scan_id], columns].tolist(),
            "organs": targets.organs[targets.rows[record.scan_id]][columns].tolist(),
        }
        for record in usable
    ]
    digest = hashlib.sha256(json.dumps([keys, items], sort_keys=True).encode()).hexdigest()
    grids = grids_of_models(run.workflow)
    results = []
    with make_executor("serial") as here:  # a model uses every core by itself
        for model in run.workflow.models:
            payload = {"items": items, "labels": list(labels), "grid": grids[model].to_dict()}
            unit = Unit(model, {"data": digest}, payload)
            results.append(
                run.spread(
                    "train",
                    VERSION,
                    run.folder("models", model),
                    train_one,
                    _parameters(run, model),
                    [unit],
                    executor=here,
                )
            )
    return summarise("train", *results)


def train_one(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Train one model, or one for each candidate weight of its mask loss, and keep the best."""
    folder = context.folder / "checkpoints"
    _drop_foreign_checkpoints(folder, {"payload": payload, "parameters": parameters})
    candidates = _candidates(parameters["mask_loss"])
    trained, rows = [], []
    for weight in candidates:
        place = folder if len(candidates) == 1 else folder / f"weight_{weight:g}"
        model, judged = _train_candidate(context.id, place, weight, payload, parameters)
        trained.append(model)
        rows.append({"weight": weight, **judged})
    choice = _choose(rows)
    chosen = trained[choice]
    state = {
        "weights": chosen.weights,
        "labels": list(payload["labels"]),
        "network": dict(parameters["network"]),
        "input": dict(parameters["input"]),
        "grid": dict(payload["grid"]),
    }
    with context.output("model.pt") as path:
        torch.save(state, path)
    with context.output("metrics.csv") as path:
        chosen.log.frame().to_csv(path, index=False)
    table = pd.DataFrame(rows).assign(chosen=[row == choice for row in range(len(rows))])
    with context.output("selection.csv") as path:
        table.to_csv(path, index=False)
    return {"labels": len(payload["labels"]), "epochs": len(chosen.log.rows), **rows[choice]}


def _train_candidate(
    name: str, folder: Path, weight: float | None, payload: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[TrainedModel, dict[str, float]]:
    settings = TrainConfig.model_validate(parameters["train"])
    shown = InputConfig.model_validate(parameters["input"])
    seed = parameters["seed"]
    torch.manual_seed(seed)
    network = build_model(parameters["network"], shown, len(payload["labels"]))
    loss, ramp = _loss(parameters["mask_loss"], weight)
    key = grid_key(FeatureGrid.from_dict(payload["grid"]))
    batches = []
    for split in ("train", "valid"):
        items = [_as_arrays(item) for item in payload["items"] if item["split"] in (split, "all")]
        steps = training_transforms(shown, key, parameters["threshold"], augment=settings.augment and split == "train")
        voxels = shown.shape[0] * shown.shape[1] * shown.shape[2]
        batches.append(loader(items, steps, settings, voxels, seed, shuffle=split == "train"))
    folder.mkdir(parents=True, exist_ok=True)
    title = name if weight is None else f"{name} (weight {weight:g})"

    def tell(epoch: int, figures: Mapping[str, float]) -> None:
        shares = "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
        logger.info("%s  epoch %d/%d  %s", title, epoch, settings.epochs, shares)

    model = train_model(
        network, loss, (batches[0], batches[1]), settings, folder=folder, ramp=ramp, seed=seed, on_epoch=tell
    )
    network.load_state_dict(model.weights)
    return model, judge_on_validation(network, batches[1], settings)


def _parameters(run: Run, model: str) -> dict[str, Any]:
    workflow = run.workflow
    mask_loss = workflow.models[model].mask_loss
    return {
        "network": workflow.network_of(model),
        "mask_loss": mask_loss.model_dump(mode="json") if mask_loss else None,
        "train": workflow.training_of(model).model_dump(mode="json"),
        "input": workflow.input.model_dump(mode="json"),
        "threshold": workflow.regions.threshold,
        "seed": workflow.seed,
    }


def _input_keys(run: Run, records: Sequence[ScanRecord]) -> dict[str, list[str]]:
    """Keys of stored volume and regions of every scan that has both."""
    ids = [record.scan_id for record in records]
    volumes, regions = run.sidecars(ids, "volumes"), run.sidecars(ids, "regions")
    return {name: [volumes[name]["key"], regions[name]["key"]] for name in ids if name in volumes and name in regions}


def _require_both_splits(records: Sequence[ScanRecord]) -> None:
    for split in ("train", "valid"):
        if not in_split(records, split):
            msg = f"no scan of the split {split} has a report, a stored volume and regions: see failures.csv"
            raise OrganCamError(msg)


def _drop_foreign_checkpoints(folder: Path, content: Mapping[str, Any]) -> None:
    """Checkpoints of other settings or data are no start for this training."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    note = folder / "checkpoints.json"
    if folder.is_dir() and (not note.is_file() or json.loads(note.read_text())["made_for"] != digest):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json_atomic(note, {"made_for": digest})


def _candidates(mask_loss: Mapping[str, Any] | None) -> list[float | None]:
    if mask_loss is None:
        return [None]
    weight = mask_loss["weight"]
    return list(weight) if isinstance(weight, Sequence) else [weight]


def _loss(mask_loss: Mapping[str, Any] | None, weight: float | None) -> tuple[ClassAndMaskLoss, float]:
    if mask_loss is None or weight is None:
        return ClassAndMaskLoss(), 0.0
    settings = MaskLossConfig.model_validate(mask_loss)
    penalty = MaskLoss(form=settings.form, reduction=settings.reduction, absent=settings.absent)
    return ClassAndMaskLoss(penalty, weight=weight), settings.ramp


def _choose(rows: Sequence[Mapping[str, Any]]) -> int:
    """The candidate with the highest OrganIoU among those that classify about as well as the best one."""
    best = max((row["auroc_median"] for row in rows), default=0.0)
    good = [row for row in range(len(rows)) if not rows[row]["auroc_median"] < best - AUROC_SLACK]
    return max(good, key=lambda row: rows[row]["organ_iou"])


def _as_arrays(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **item,
        "label": torch.tensor(item["label"], dtype=torch.float32),
        "organs": torch.tensor(item["organs"], dtype=torch.uint8),
    }
