"""Train every model of the workflow: ``models/<m>/`` with weights, training curve and how they were chosen.

A mask-loss weight given as a list, and the workflow's ``search``, make several candidates of a model; one is chosen on
the validation split (`organcam.candidates`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..candidates import Candidate, all_candidates, best_candidate
from ..config import TrainRuntime
from ..data.network_input import grid_key
from ..data.records import ScanRecord, in_split
from ..errors import ConfigError, OrganCamError, some_of
from ..geometry import FeatureGrid
from ..losses import other_patients
from ..networks.weights import IMAGENET, weights_file
from ..runner import (
    StagePlan,
    StageSpec,
    Unit,
    WorkContext,
    fingerprint_file,
    fingerprint_value,
    output_hash,
    retire_others,
)
from .candidate_training import leading_training, train_candidate
from .grids import grids_of_models, reads_regions
from .regions import plan_regions
from .run import Run, StageSummary, summarise
from .store import plan_store
from .targets import load_targets, possible_places, training_labels

__all__ = ["plan_candidates", "plan_choice", "run_train"]

VERSION = 3

LISTED = 5


def run_train(run: Run) -> StageSummary:
    """Train all candidates, then choose one for each model; a candidate goes on from its own checkpoints.

    A model without any trained candidate is retired: what an earlier training left is removed.
    """
    with leading_training(run.workflow):
        results = [run.make(plan_candidates)]
    _clear_checkpoints(run)
    notes = []
    for model in run.workflow.models:
        results.append(run.make(plan_choice, model))
        if not results[-1].done:
            notes.append(f"models.{model}: training failed, so this model has no maps and no figures")
    notes += _judging_notes(results[0].done.values())
    gone = _retire_dropped_models(run)
    if gone:
        notes.append(f"removed, because the workflow names them no more: {', '.join(gone)}")
    return summarise("train", *results, notes=notes)


def _judging_notes(sidecars: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the validation split cannot say, told once: all candidates have the same scans and labels."""
    details: Mapping[str, Any] = next((sidecar["details"] for sidecar in sidecars), {})
    lost = details.get("unjudged", [])
    if not lost:
        return []
    if len(lost) == len(details["labels"]):
        consequence = "nothing can tell candidates apart, and the first of a model is taken"
    else:
        consequence = "they take no part in the choice of candidates"
    named = some_of(lost, LISTED)
    return [f"no validation scan has, or every one has, {named}: {consequence} (data.splits, data.fractions)"]


def plan_candidates(run: Run) -> StagePlan:
    """Every candidate of every model. Data and settings make the key; where they are computed on does not."""
    grids = run.once("grids", lambda: grids_of_models(run.workflow))
    data = _training_data(run)
    units = tuple(_unit(run, candidate, grids[candidate.model], data) for candidate in all_candidates(run.workflow))
    spec = StageSpec("train", VERSION, run.root / "models" / "candidates", train_candidate)
    alone = not run.workflow.train.parallel
    return StagePlan(spec, units, "trained candidates", shared=data.files, in_process=alone)


def plan_choice(run: Run, model: str) -> StagePlan:
    """The chosen candidate of a model; no unit where training failed."""
    candidates = [candidate for candidate in all_candidates(run.workflow) if candidate.model == model]
    trained = run.current(plan_candidates)
    done = {candidate: trained[candidate.id] for candidate in candidates if candidate.id in trained}
    spec = StageSpec("train", VERSION, run.root / "models" / model, choose_candidate)
    if not done:
        return StagePlan(spec, (), f"model {model}")
    folder = run.root / "models" / "candidates"
    needs = {str(folder / name): output_hash(sidecar, name) for sidecar in done.values() for name in sidecar["outputs"]}
    judged = [_judged(candidate, sidecar) for candidate, sidecar in done.items()]
    inputs = {Path(path).name: content for path, content in needs.items()} | {"judged": fingerprint_value(judged)}
    labels = next(iter(done.values()))["details"]["labels"]
    payload = {"folder": str(folder), "judged": judged, "labels": labels}
    return StagePlan(spec, (Unit(model, inputs, payload, needs),), f"model {model}", in_process=True)


def choose_candidate(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the best candidate of a model to its folder and write down why."""
    del parameters
    judged: Sequence[Mapping[str, Any]] = payload["judged"]
    choice = judged[best_candidate(judged)]
    for suffix, name in ((".pt", "model.pt"), (".csv", "metrics.csv")):
        with context.output(name) as path:
            shutil.copyfile(Path(payload["folder"]) / f"{choice['id']}{suffix}", path)
    table = pd.DataFrame(judged).assign(chosen=[row is choice for row in judged]).drop(columns="id")
    with context.output("selection.csv") as path:
        table.to_csv(path, index=False)
    return {**choice, "labels": payload["labels"]}


def _judged(candidate: Candidate, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    details = sidecar["details"]
    figures = {name: details[name] for name in ("auroc_median", "organ_iou") if name in details}
    return {"id": candidate.id, "weight": candidate.weight, **dict(candidate.tried), **figures}


@dataclass(frozen=True)
class TrainingData:
    """The training and validation scans.

    Attributes:
        items: what training reads, one dictionary a scan.
        labels: names of the network's outputs.
        files: path to content hash of every stored volume and regions file.
        contents: content hash of each item's volume, and of its regions on each grid; 2D images have none.
        patients: whose each scan is.
    """

    items: list[dict[str, Any]]
    labels: list[str]
    files: dict[str, str]
    contents: list[tuple[str, Mapping[str, str]]]
    patients: dict[str, str]


def _training_data(run: Run) -> TrainingData:
    failed = {failure.id for failure in run.failures if failure.stage == "train"}
    records = [record for record in run.records("train") if record.scan_id not in failed]
    targets = load_targets(run, records)
    labels = training_labels(run, targets, records)
    chosen = targets.columns(labels)
    usable = [record for record in in_split(records, "train", "valid") if record.scan_id in targets.rows]
    _require_both_splits(usable)
    ids = tuple(record.scan_id for record in usable)
    volumes = run.current(plan_store, ids)
    regions = {} if run.workflow.of_images else run.current(plan_regions, ids)
    data = TrainingData([], list(labels), {}, [], {record.scan_id: record.patient_id for record in usable})
    for record in usable:
        name, row = record.scan_id, targets.rows[record.scan_id]
        image = run.root / "volumes" / f"{name}.b2nd"
        item = {
            "scan_id": name,
            "split": record.split,
            "label": chosen.present[row].tolist(),
            "places": chosen.places[row].tolist(),
            "image": str(image),
        }
        data.files[str(image)] = output_hash(volumes[name], image.name)
        grids: Mapping[str, str] = {}
        if name in regions:
            bitmaps = run.root / "regions" / f"{name}.npz"
            item["regions"], grids = str(bitmaps), regions[name]["details"]["grids"]
            data.files[str(bitmaps)] = output_hash(regions[name], bitmaps.name)
        data.items.append(item)
        data.contents.append((data.files[str(image)], grids))
    return data


def _unit(run: Run, candidate: Candidate, grid: FeatureGrid, data: TrainingData) -> Unit:
    workflow = run.workflow
    mask_loss = workflow.models[candidate.model].mask_loss
    training, elsewhere = candidate.training(workflow), set(TrainRuntime.model_fields)
    settings: dict[str, Any] = {
        "weight": candidate.weight,
        "network": workflow.network_of(candidate.model),
        "mask_loss": mask_loss.model_dump(mode="json", exclude={"weight", "control"}) if mask_loss else None,
        "train": training.model_dump(mode="json", exclude=elsewhere),
        "input": workflow.input.model_dump(mode="json"),
        "seed": workflow.seed,
        "grid": grid.to_dict(),
    }
    if mask_loss is not None and mask_loss.control != "own":
        settings["control"] = _control(candidate.model, mask_loss.control, data, workflow.seed)
    if mask_loss is not None and mask_loss.absent == "outside":
        settings["possible_places"] = possible_places(workflow, data.labels)
    if run.once(("reads regions", candidate.model), lambda: reads_regions(workflow, candidate.model)):
        settings["input_places"] = possible_places(workflow, data.labels)
    scans = [
        [
            volume,
            grids[grid_key(grid)] if grids else "",
            *(item[name] for name in ("scan_id", "split", "label", "places")),
        ]
        for item, (volume, grids) in zip(data.items, data.contents, strict=True)
    ]
    inputs = {
        "data": fingerprint_value([scans, data.labels]),
        "settings": fingerprint_value(
            {
                **settings,
                "network": _by_content(run, settings["network"], "weights", "network"),
                "train": _by_content(run, settings["train"], "start_from", "train"),
            }
        ),
    }
    runtime = training.model_dump(mode="json", include=elsewhere)  # not in the key: a change of it trains nothing again
    payload = {"items": data.items, "labels": data.labels, **settings, "runtime": runtime}
    return Unit(candidate.id, inputs, {**payload, "made_for": fingerprint_value([VERSION, inputs])})


def _control(model: str, control: str, data: TrainingData, seed: int) -> dict[str, Any]:
    """What stands in for the own masks of the training scans; part of the key, with the bitmaps of all of them."""
    if control != "permuted":
        return {"name": control}
    ids = [item["scan_id"] for item in data.items if item["split"] in ("train", "all")]
    try:
        return {"name": control, "lenders": other_patients({name: data.patients[name] for name in ids}, seed)}
    except ValueError as error:
        msg = f"models.{model}.mask_loss.control: permuted: {error}"
        raise ConfigError(msg) from None


def _by_content(run: Run, options: Mapping[str, Any], key: str, section: str) -> dict[str, Any]:
    """Options with the content of a file of first weights instead of the file's path."""
    source = options.get(key)
    if source is None or source == IMAGENET:  # torchvision's names of files are those of their contents
        return dict(options)
    path = weights_file(source)
    if not path.is_file():
        msg = f"{section}.{key}: no such file: {path}"
        raise ConfigError(msg)
    return {**options, key: run.once(("weights", path), lambda: fingerprint_file(path))}


def _clear_checkpoints(run: Run) -> None:
    """Checkpoints of candidates that the workflow names no more."""
    wanted = {f"{candidate.id}.checkpoints" for candidate in all_candidates(run.workflow)}
    for folder in (run.root / "models" / "candidates").glob("*.checkpoints"):
        if folder.name not in wanted:
            shutil.rmtree(folder)


def _retire_dropped_models(run: Run) -> list[str]:
    """Models that the workflow names no more; their files are removed."""
    gone = []
    for folder in sorted((run.root / "models").iterdir()):
        if folder.is_dir() and folder.name not in {"candidates", *run.workflow.models}:
            gone += retire_others(folder, "train", ())
            with suppress(OSError):  # somebody's own files in it
                folder.rmdir()
    return gone


def _require_both_splits(records: Sequence[ScanRecord]) -> None:
    for split in ("train", "valid"):
        if not in_split(records, split):
            msg = (
                f"the split {split} is empty: none of its scans has labels, a stored volume and regions "
                "(data.splits, data.reports or data.labels; failures.csv says why)"
            )
            raise OrganCamError(msg)
