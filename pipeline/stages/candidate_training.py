"""One training from its payload: in this process alone, or together with others that torchrun started."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from monai.data import DataLoader
from torch import nn

from ..candidates import all_candidates
from ..config import InputConfig, MaskLossConfig, TrainConfig, Workflow
from ..contract import contract_of, slices_of_slab
from ..data.network_input import grid_key
from ..engines import (
    ControlRegionsd,
    TrainedModel,
    TrainingError,
    TrainingReport,
    choose_device,
    joined,
    loader,
    save_state,
    team_of_process,
    trackers,
    train_model,
    training_transforms,
)
from ..errors import ConfigError, OrganCamError
from ..geometry import FeatureGrid
from ..losses import ClassAndMaskLoss, positive_weights, swapped_places
from ..plugins import ATTENTION_LOSSES
from ..runner import Launch, WorkContext, interruptible, torchrun_launch, write_text_atomic
from .exit_code import to_go_on
from .fine_tuning import start_network, train_in_phases
from .grids import build_model

__all__ = ["follow_training", "leading_training", "train_candidate"]


def train_candidate(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Train one candidate; its weights, training curve and figures on the validation split."""
    del parameters
    folder = _own_folder(context.folder / f"{context.id}.checkpoints", payload["made_for"])
    team = team_of_process()
    with nullcontext() if team is None else team.in_step():
        if team is not None:
            team.tell({"id": context.id, "payload": payload, "folder": str(folder)})
        trained, curve, fresh = _train(context.id, payload, folder)
    figures = {name: trained.figures.get(f"valid_{name}") for name in ("auroc_median", "organ_iou")}
    judged = {name: value for name, value in figures.items() if value is not None}
    told = ("labels", "network", "input", "grid", "input_places")
    state = {"weights": trained.weights, **{key: payload[key] for key in told if key in payload}}
    with context.output(f"{context.id}.pt") as path:
        save_state(state, path)
    with context.output(f"{context.id}.csv") as path:
        curve.to_csv(path, index=False)
    started = {} if fresh is None else {"fresh": list(fresh)}
    unjudged = {"unjudged": _unjudged(payload["items"], payload["labels"])}
    return {"labels": payload["labels"], "epochs": len(curve), **started, **unjudged, **judged}


@contextmanager
def leading_training(workflow: Workflow) -> Iterator[None]:
    """Around the trainings of a run: under torchrun with the other processes, which follow until the block is left.

    Raises:
        ConfigError: if the settings are not for several processes.
        OrganCamError: as `joined`, or when the processes got out of step.
        Interrupted: when a process was told to stop, with an exit code of its own.
    """
    launch = torchrun_launch()
    with to_go_on():
        if launch is None:
            yield
            return
        with joined(launch, _backend(workflow, launch.size)) as team:
            yield
            if team.broken:
                raise OrganCamError(team.broken)
            team.tell(None)


def follow_training(workflow: Workflow, launch: Launch) -> None:
    """In all processes of torchrun but the first: join each training of process 0, until it has none left.

    Nothing is written, and of the run directory only what process 0 names is read.

    Raises:
        ConfigError: if the settings are not for several processes.
        OrganCamError: if this process cannot go on, or another one is lost; process 0 then ends too.
        Interrupted: when one of them was told to stop.
    """
    backend = _backend(workflow, launch.size)
    with interruptible(), to_go_on(), joined(launch, backend) as team:
        while (job := team.hear()) is not None:
            with suppress(TrainingError), team.in_step():  # process 0 tells what came to a bad end
                _train(job["id"], job["payload"], Path(job["folder"]))


def _backend(workflow: Workflow, processes: int) -> str:
    """How they talk to each other; the same in all, which have read the same workflow."""
    kinds = set()
    for candidate in all_candidates(workflow):
        settings = candidate.training(workflow)
        if settings.parallel:
            msg = (
                "train.parallel: models trained side by side cannot be joined by torchrun's processes: set it to false"
            )
            raise ConfigError(msg)
        if settings.batch_size % processes:
            msg = (
                f"train.batch_size: {settings.batch_size} scans a step cannot be shared by {processes} processes; set "
                f"a multiple of {processes}"
            )
            raise ConfigError(msg)
        kinds.add(choose_device(settings.device).type)
    if len(kinds) > 1:
        msg = "train.device: models that several processes train are all trained on GPUs, or all on the CPU"
        raise ConfigError(msg)
    return "nccl" if kinds == {"cuda"} else "gloo"


def _train(
    name: str, payload: Mapping[str, Any], folder: Path
) -> tuple[TrainedModel, pd.DataFrame, tuple[str, ...] | None]:
    """The model, its curve, and the weights that stayed fresh where it started from another one."""
    settings = TrainConfig.model_validate({**payload["train"], **payload["runtime"]})
    torch.manual_seed(payload["seed"])
    network = build_model(payload["network"], InputConfig.model_validate(payload["input"]), len(payload["labels"]))
    fresh = start_network(network, settings.start_from, payload["labels"])
    learned = [item["label"] for item in payload["items"] if item["split"] in ("train", "all")]
    weights = positive_weights(torch.tensor(learned)) if settings.positive_weights else None
    loss, ramp = _loss(payload["mask_loss"], payload["weight"], weights)

    batches, team = _batches(payload, network, settings), team_of_process()
    followed = settings.trackers if team is None or team.leads else ()

    def train(settings: TrainConfig, *, folder: Path, ramp: float) -> TrainedModel:
        with trackers(followed, folder, name, payload["train"]) as handlers:
            told = [TrainingReport(name), *handlers]
            options = {"seed": payload["seed"], "organ_iou": _has_regions(payload), "handlers": told}
            return train_model(network, loss, batches, settings, folder=folder, ramp=ramp, **options)

    trained, curve = train_in_phases(network, settings, train, folder=folder, ramp=ramp)
    return trained, curve, None if settings.start_from is None else fresh


def _batches(payload: Mapping[str, Any], network: nn.Module, settings: TrainConfig) -> tuple[DataLoader, DataLoader]:
    """Of the training and the validation scans."""
    shown = InputConfig.model_validate(payload["input"])

    def of_split(split: str) -> DataLoader:
        chosen = [item for item in payload["items"] if item["split"] in (split, "all")]
        name = payload.get("control", {}).get("name", "own") if split == "train" else "own"
        items = [
            _as_tensors(item, payload.get("possible_places"), payload.get("input_places"), swapped=name == "swapped")
            for item in chosen
        ]
        steps = training_transforms(
            shown,
            grid_key(FeatureGrid.from_dict(payload["grid"])) if _has_regions(payload) else None,
            augment=settings.augment and split == "train",
            layout=contract_of(network).input_layout,
            slices=slices_of_slab(network),
            control=None if name in ("own", "swapped") else _control_regions(payload, chosen),
        )
        return loader(
            items, steps, settings, voxels=math.prod(shown.shape), seed=payload["seed"], shuffle=split == "train"
        )

    return of_split("train"), of_split("valid")


def _control_regions(payload: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> ControlRegionsd:
    """The bitmaps of a control of the mask loss for the training scans."""
    files = {item["scan_id"]: item["regions"] for item in items}
    control, key = payload["control"], grid_key(FeatureGrid.from_dict(payload["grid"]))
    return ControlRegionsd(control["name"], files, key, control.get("lenders"), payload["seed"])


def _has_regions(payload: Mapping[str, Any]) -> bool:
    """Whether the scans have allowed regions; 2D images have none."""
    return all("regions" in item for item in payload["items"])


def _unjudged(items: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    """Labels that no validation scan has, or that all have."""
    rows = [item["label"] for item in items if item["split"] in ("valid", "all")]
    return [label for label, column in zip(labels, zip(*rows, strict=True), strict=True) if len({*column}) < 2]


def _own_folder(folder: Path, made_for: str) -> Path:
    """The folder of a candidate's checkpoints, emptied if those are of other settings or data."""
    note = folder / "made_for.txt"
    if folder.is_dir() and (not note.is_file() or note.read_text(encoding="utf-8") != made_for):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomic(note, made_for)
    return folder


def _loss(
    mask_loss: Mapping[str, Any] | None, weight: float | None, positive: torch.Tensor | None
) -> tuple[ClassAndMaskLoss, float]:
    if mask_loss is None or weight is None:
        return ClassAndMaskLoss(positive_weights=positive), 0.0
    settings = MaskLossConfig.model_validate(mask_loss)
    penalty = ATTENTION_LOSSES.build(settings.form, **settings.options())
    return ClassAndMaskLoss(penalty, weight=weight, positive_weights=positive), settings.ramp


def _as_tensors(
    item: Mapping[str, Any],
    possible: Sequence[Sequence[int]] | None,
    seen: Sequence[Sequence[int]] | None,
    swapped: bool,
) -> dict[str, Any]:
    """Label and place bits of a scan.

    Absent labels get the places where they could lie, if ``possible`` gives those. What a network sees of the organs
    (``seen``) is the same for every scan: places that a report states would tell it the labels. With ``swapped`` the
    loss goes by other organs than the label's.
    """
    label = torch.tensor(item["label"], dtype=torch.float32)
    places = torch.tensor(item["places"], dtype=torch.uint8)
    if possible is not None:
        places = torch.where(label[:, None] > 0, places, torch.tensor(possible, dtype=torch.uint8))
    if swapped:
        places = swapped_places(places)
    network_input = {} if seen is None else {"possible": torch.tensor(seen, dtype=torch.uint8)}
    return {**item, "label": label, "places": places, **network_input}
