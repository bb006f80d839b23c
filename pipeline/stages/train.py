"""Train every model of the workflow: ``models/<m>/`` with weights, training curve and how they were chosen.

A mask-loss weight given as a list makes one candidate a weight. The choice is made on the validation split: of the
candidates whose median AUROC comes within `AUROC_SLACK` of the best one's, that with the highest OrganIoU of HiResCAM.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..config import InputConfig, MaskLossConfig, TrainConfig
from ..data.network_input import grid_key
from ..data.records import ScanRecord, in_split
from ..engines import judge_on_validation, loader, train_model, training_transforms
from ..errors import OrganCamError
from ..geometry import FeatureGrid
from ..losses import ClassAndMaskLoss, MaskLoss
from ..runner import Unit, WorkContext, fingerprint_value, make_executor, write_text_atomic
from .grids import build_model, grids_of_models
from .run import Run, StageSummary, summarise
from .targets import load_targets, possible_organs, training_labels

__all__ = ["AUROC_SLACK", "run_train"]

VERSION = 1
AUROC_SLACK = 0.02

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A model with one weight of its mask loss (None without one)."""

    model: str
    weight: float | None

    @property
    def id(self) -> str:
        """Name of its unit and files."""
        return self.model if self.weight is None else f"{self.model}-weight-{self.weight:g}"


def run_train(run: Run) -> StageSummary:
    """Train all candidates, then choose one for each model; a candidate goes on from its own checkpoints."""
    data, data_key = _training_data(run)
    grids = grids_of_models(run.workflow)
    units = {candidate: _unit(run, candidate, grids[candidate.model], data, data_key) for candidate in _all(run)}
    folder = run.folder("models", "candidates")
    with make_executor("serial") as here:
        executor = run.executor if run.workflow.train.parallel else here
        trained = run.spread("train", VERSION, folder, train_candidate, {}, list(units.values()), executor=executor)
        results = [trained]
        for model in run.workflow.models:
            done = {c: trained.done[c.id] for c in units if c.model == model and c.id in trained.done}
            if done:
                unit = Unit(
                    model,
                    {candidate.id: sidecar["key"] for candidate, sidecar in done.items()},
                    {"folder": str(folder), "judged": [_judged(c, sidecar) for c, sidecar in done.items()]},
                )
                place = run.folder("models", model)
                results.append(run.spread("train", VERSION, place, choose_candidate, {}, [unit], executor=here))
    return summarise("train", *results)


def train_candidate(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Train one candidate; its weights, training curve and figures on the validation split."""
    del parameters
    settings = TrainConfig.model_validate(payload["train"])
    shown = InputConfig.model_validate(payload["input"])
    checkpoints = _own_folder(context.folder / f"{context.id}.checkpoints", payload["made_for"])
    torch.manual_seed(payload["seed"])
    network = build_model(payload["network"], shown, len(payload["labels"]))
    loss, ramp = _loss(payload["mask_loss"], payload["weight"])
    batches = {
        split: loader(
            [
                _as_tensors(item, payload.get("possible_organs"))
                for item in payload["items"]
                if item["split"] in (split, "all")
            ],
            training_transforms(
                shown,
                grid_key(FeatureGrid.from_dict(payload["grid"])),
                augment=settings.augment and split == "train",
            ),
            settings,
            voxels=shown.shape[0] * shown.shape[1] * shown.shape[2],
            seed=payload["seed"],
            shuffle=split == "train",
        )
        for split in ("train", "valid")
    }

    def tell(epoch: int, figures: Mapping[str, float]) -> None:
        shares = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        logger.info("%s  epoch %d/%d  %s", context.id, epoch, settings.epochs, shares)

    trained = train_model(
        network,
        loss,
        (batches["train"], batches["valid"]),
        settings,
        folder=checkpoints,
        ramp=ramp,
        seed=payload["seed"],
        on_epoch=tell,
    )
    network.load_state_dict(trained.weights)
    judged = judge_on_validation(network, batches["valid"], settings)
    state = {"weights": trained.weights, **{key: payload[key] for key in ("labels", "network", "input", "grid")}}
    with context.output(f"{context.id}.pt") as path:
        torch.save(state, path)
    with context.output(f"{context.id}.csv") as path:
        trained.log.frame().to_csv(path, index=False)
    return {"labels": len(payload["labels"]), "epochs": len(trained.log.rows), **judged}


def choose_candidate(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the best candidate of a model to its folder and write down why."""
    del parameters
    judged: Sequence[Mapping[str, Any]] = payload["judged"]
    choice = judged[_best(judged)]
    for suffix, name in ((".pt", "model.pt"), (".csv", "metrics.csv")):
        with context.output(name) as path:
            shutil.copyfile(Path(payload["folder"]) / f"{choice['id']}{suffix}", path)
    table = pd.DataFrame(judged).assign(chosen=[row is choice for row in judged]).drop(columns="id")
    with context.output("selection.csv") as path:
        table.to_csv(path, index=False)
    return dict(choice)


def _best(judged: Sequence[Mapping[str, Any]]) -> int:
    """The candidate with the highest OrganIoU among those that classify about as well as the best one.

    NaN (a validation split without a label of both classes) counts as the worst.
    """
    area = [_or_lowest(row["auroc_median"]) for row in judged]
    good = [row for row in range(len(judged)) if area[row] >= max(area) - AUROC_SLACK]
    return max(good, key=lambda row: _or_lowest(judged[row]["organ_iou"]))


def _or_lowest(value: float | None) -> float:
    return -1.0 if value is None or math.isnan(value) else value


def _all(run: Run) -> Iterator[Candidate]:
    for model, settings in run.workflow.models.items():
        weight = settings.mask_loss.weight if settings.mask_loss else None
        for one in weight if isinstance(weight, list) else [weight]:
            yield Candidate(model, one)


def _judged(candidate: Candidate, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    details = sidecar["details"]
    return {"id": candidate.id, "weight": candidate.weight, **{k: details[k] for k in ("auroc_median", "organ_iou")}}


def _training_data(run: Run) -> tuple[dict[str, Any], str]:
    """Items and labels of the training and validation scans, and the fingerprint of all they depend on."""
    records = run.records()
    targets = load_targets(run, records)
    labels = training_labels(run, targets, records)
    chosen = targets.columns(labels)
    wanted = [record for record in in_split(records, "train", "valid") if record.scan_id in targets.rows]
    keys = _input_keys(run, wanted)
    usable = [record for record in wanted if record.scan_id in keys]
    _require_both_splits(usable)
    facts = [
        {
            "scan_id": record.scan_id,
            "split": record.split,
            "label": chosen.present[targets.rows[record.scan_id]].tolist(),
            "places": chosen.places[targets.rows[record.scan_id]].tolist(),
        }
        for record in usable
    ]
    items = [
        {
            **fact,
            "image": str(run.root / "volumes" / f"{fact['scan_id']}.b2nd"),
            "regions": str(run.root / "regions" / f"{fact['scan_id']}.npz"),
        }
        for fact in facts
    ]
    return {"items": items, "labels": list(labels)}, fingerprint_value([keys, facts, list(labels)])


def _unit(run: Run, candidate: Candidate, grid: FeatureGrid, data: Mapping[str, Any], data_key: str) -> Unit:
    workflow = run.workflow
    mask_loss = workflow.models[candidate.model].mask_loss
    settings: dict[str, Any] = {
        "weight": candidate.weight,
        "network": workflow.network_of(candidate.model),
        "mask_loss": mask_loss.model_dump(mode="json", exclude={"weight"}) if mask_loss else None,
        "train": workflow.training_of(candidate.model).model_dump(mode="json", exclude={"parallel", "loader_workers"}),
        "input": workflow.input.model_dump(mode="json"),
        "seed": workflow.seed,
        "grid": grid.to_dict(),
    }
    if mask_loss is not None and mask_loss.absent == "outside":
        settings["possible_organs"] = possible_organs(workflow, data["labels"])
    key = fingerprint_value(settings)
    payload = {**data, **settings, "made_for": fingerprint_value([data_key, key])}
    return Unit(candidate.id, {"data": data_key, "settings": key}, payload)


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


def _own_folder(folder: Path, made_for: str) -> Path:
    """The folder of a candidate's checkpoints, emptied if those are of other settings or data."""
    note = folder / "made_for.txt"
    if folder.is_dir() and (not note.is_file() or note.read_text(encoding="utf-8") != made_for):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(note, made_for)
    return folder


def _loss(mask_loss: Mapping[str, Any] | None, weight: float | None) -> tuple[ClassAndMaskLoss, float]:
    if mask_loss is None or weight is None:
        return ClassAndMaskLoss(), 0.0
    settings = MaskLossConfig.model_validate(mask_loss)
    penalty = MaskLoss(settings.form, settings.absent, settings.reduction, settings.smoothing)
    return ClassAndMaskLoss(penalty, weight=weight), settings.ramp


def _as_tensors(item: Mapping[str, Any], possible: Sequence[Sequence[int]] | None) -> dict[str, Any]:
    """Label and place bits of a scan; absent labels get the organs where they could lie, if those are given."""
    label = torch.tensor(item["label"], dtype=torch.float32)
    places = torch.tensor(item["places"], dtype=torch.uint8)
    if possible is not None:
        anywhere = torch.zeros_like(places)
        anywhere[:, :3] = torch.tensor(possible, dtype=torch.uint8)
        places = torch.where(label[:, None] > 0, places, anywhere)
    return {**item, "label": label, "places": places}
