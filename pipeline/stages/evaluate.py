"""Judge maps and scores of every model: ``evaluation/*.csv`` and ``summary.json``, made anew together or not at all.

OrganIoU thresholds are chosen per label and method on the validation split and used on every other one. Scans are read
one after another, the validation scans twice (for the thresholds, then for the scores at them), so that a few numbers a
scan and label are all that stays in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..catalogue.targets import RegionTargets
from ..data.discover import read_table
from ..data.records import in_split
from ..errors import OrganCamError
from ..evaluation import (
    Ladder,
    ModelScores,
    ThresholdSearch,
    evaluate_models,
    find_ladders,
    ladder_sentence,
    ladder_table,
    pairs_table,
    scores_table,
)
from ..runner import (
    DamagedFilesError,
    Failure,
    StagePlan,
    StageSpec,
    Unit,
    WorkContext,
    fingerprint_file,
    fingerprint_path,
    fingerprint_value,
    is_damaged,
    output_hash,
    plain_json,
    to_json,
)
from .explain import plan_explain
from .image_places import ImagePlaces
from .interventions import COLUMNS as PAIR_COLUMNS
from .interventions import logit_changes, summarise_changes
from .lesions import COLUMNS as LESION_COLUMNS
from .lesions import Lesions
from .organ_truth import COLUMNS as ORGAN_COLUMNS
from .organ_truth import organ_scores
from .regions import plan_regions
from .run import Run, StageSummary, summarise
from .scan_figures import FigureReader
from .segment import plan_segment
from .store import plan_store
from .targets import load_targets
from .train import plan_choice

__all__ = ["SCORED_SPLITS", "plan_evaluate", "run_evaluate"]

VERSION = 2
SHOWN = 3
SCORED_SPLITS = ("valid", "test", "shifted")
TABLES = (
    *("organ_iou.csv", "classification.csv", "localization.csv", "interventions.csv", "segmentation.csv"),
    *("gains.csv", "ladder.csv", "pairs.csv", "scores.csv", "thresholds.json", "summary.json"),
)


def run_evaluate(run: Run) -> StageSummary:
    """Evaluate every trained model of the workflow on every split that was explained."""
    result = run.make(plan_evaluate)
    kept = {name for sidecar in result.done.values() for name in sidecar["outputs"]}
    for name in TABLES:  # of a run of an earlier version, which had no sidecar here
        if name not in kept:
            (run.root / "evaluation" / name).unlink(missing_ok=True)
    details = [sidecar["details"] for sidecar in result.done.values()]
    problems = [Failure("evaluate", name, why, "data") for found in details for name, why in found["problems"]]
    notes = [note for found in details for note in found["notes"]]
    if not result.done and not result.failed:
        notes.append("no model was trained and explained, so there is nothing to evaluate")
    summary = summarise("evaluate", result, notes=notes)
    return replace(summary, failures=(*summary.failures, *problems))


def plan_evaluate(run: Run) -> StagePlan:
    """The whole evaluation in one unit: its key is made of the content of every map, region and table that it uses."""
    workflow = run.workflow
    parameters = {**workflow.evaluate.model_dump(mode="json"), "name": workflow.name, "seed": workflow.seed}
    spec = StageSpec("evaluate", VERSION, run.root / "evaluation", evaluate_all, parameters)
    models = [model for model in workflow.models if run.current(plan_choice, model)]
    if not models:
        return StagePlan(spec, (), "evaluation", in_process=True)
    records = run.records("explain")
    targets = load_targets(run, records)
    explained = in_split(records, *workflow.explain.splits)
    splits = {
        split: [record.scan_id for record in in_split(explained, split) if record.scan_id in targets.rows]
        for split in SCORED_SPLITS
    }
    splits = {split: names for split, names in splits.items() if names}
    scored = tuple(dict.fromkeys(name for names in splits.values() for name in names))
    if "valid" not in splits and not workflow.of_images:
        msg = "no validation scan with a report was explained, so OrganIoU has no thresholds (explain.splits)"
        raise OrganCamError(msg)
    paired = tuple(record.scan_id for record in in_split(explained, "intervention"))
    volumes = run.current(plan_store, scored)
    regions = None if workflow.of_images else _contents(run.current(plan_regions, scored), "{}.npz")
    maps = {model: _contents(run.current(plan_explain, model, (*scored, *paired)), "{}.npz") for model in models}
    masks = {}
    if workflow.data.organs is not None:
        judged = tuple(record.scan_id for record in in_split(records, "test"))
        masks = _contents(run.current(plan_segment, judged), "{}_organs.nii.gz")
    inputs = {
        "files": fingerprint_value([maps, regions, masks]),
        "scans": fingerprint_value(splits),
        "targets": fingerprint_value(_facts(targets)),
        "geometry": fingerprint_value({name: made["details"] for name, made in volumes.items()}),
        "known": fingerprint_value(_known_files(run)),
    }
    ladders = find_ladders(workflow)
    patients = {record.scan_id: record.patient_id for record in explained} if ladders else {}
    if ladders:
        inputs["ladders"] = fingerprint_value([[ladder.models for ladder in ladders], patients])
    payload = {
        "ladders": ladders,
        "patients": patients,
        "root": str(run.root),
        "maps": maps,
        "regions": regions,
        "kind": workflow.data.kind,
        "masks": masks,
        "splits": splits,
        "targets": targets,
        "geometry": {name: made["details"] for name, made in volumes.items()},
        **{name: getattr(workflow.data, name) for name in ("lesions", "organs", "interventions")},
    }
    return StagePlan(spec, (Unit("evaluation", inputs, payload),), "evaluation", in_process=True)


def _contents(made: Mapping[str, Mapping[str, Any]], pattern: str) -> dict[str, str]:
    """Scan -> content hash of the file that is read of it."""
    return {name: output_hash(sidecar, pattern.format(name)) for name, sidecar in made.items()}


def _facts(targets: RegionTargets) -> list[Any]:
    rows = {name: [targets.present[row].tolist(), targets.places[row].tolist()] for name, row in targets.rows.items()}
    return [list(targets.names), rows]


def _known_files(run: Run) -> list[Any]:
    """What the tables of known lesions, organs and interventions hold, and the stamps of the masks that they name."""
    data = run.workflow.data
    found: list[Any] = []
    for name, columns, column in (
        ("lesions", LESION_COLUMNS, "mask"),
        ("organs", ORGAN_COLUMNS, "organs"),
        ("interventions", PAIR_COLUMNS, None),
    ):
        path: Path | None = getattr(data, name)
        if path is None:
            continue
        if name == "lesions" and data.kind == "images":
            found.append(fingerprint_path(path))
            continue
        table = read_table(path, columns, f"data.{name}")
        masks = [] if column is None else sorted(set(table[column]))
        found.append([fingerprint_file(path), [_stamp(path.parent / mask) for mask in masks]])
    return found


def _known_lesions(path: Path | None, kind: str) -> Lesions | ImagePlaces | None:
    if path is None:
        return None
    return ImagePlaces(path) if kind == "images" else Lesions(path)


def _stamp(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError:
        return [path.name]
    return [path.name, status.st_size, status.st_mtime_ns]


def evaluate_all(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read every scan, then write every table.

    Raises:
        DamagedFilesError: naming all files that are not what was written.
    """
    models, splits = list(payload["maps"]), payload["splits"]
    reader = FigureReader(
        Path(payload["root"]),
        payload["maps"],
        payload["regions"],
        payload["targets"],
        payload["geometry"],
        _known_lesions(payload["lesions"], payload["kind"]),
        parameters["fidelity"],
        parameters["pointing_tolerance"],
    )
    searches = _search_thresholds(reader, models, splits.get("valid", ()))
    scores = _score(reader, splits, searches)
    thresholds = {model: {how: search.best() for how, search in found.items()} for model, found in searches.items()}
    evaluation = evaluate_models(scores, thresholds)
    tables = dict(evaluation.tables)
    summary: dict[str, Any] = {
        "workflow": parameters["name"],
        "seed": parameters["seed"],
        "learned": list(evaluation.learned),
        "models": evaluation.models,
    }
    if payload["ladders"]:
        tables["ladder"], summary["ladder"] = _judge_ladders(payload, scores, summary["models"], parameters["seed"])
    if payload["interventions"] is not None:
        tables["interventions"] = _judge_interventions(reader, payload["interventions"], summary["models"])
    if payload["organs"] is not None:
        tables["segmentation"], summary["segmentation"] = _judge_organs(payload)
    reader.refuse_damaged()
    _write(context, tables, summary, scores, thresholds)
    without = [
        f"models.{model}: no maps of validation scans, so it is not judged" for model in set(models) - set(scores)
    ]
    notes = [*sorted(without), *_lacking(scores, splits)]
    return {"problems": sorted(reader.problems.items()), "notes": notes, "models": list(scores)}


def _search_thresholds(
    reader: FigureReader, models: Sequence[str], scan_ids: Sequence[str]
) -> dict[str, dict[str, ThresholdSearch]]:
    """Model -> method -> the search over all validation scans; no method where there are no organs."""
    found: dict[str, dict[str, ThresholdSearch]] = {model: {} for model in models}
    if reader.regions is None:
        return found
    for scan_id in scan_ids:
        for model in models:
            for labels, method, present, curve in reader.curves(model, scan_id):
                found[model].setdefault(method, ThresholdSearch(labels)).add(curve, present)
    reader.refuse_damaged()
    return {model: searches for model, searches in found.items() if searches}


def _score(
    reader: FigureReader, splits: Mapping[str, Sequence[str]], searches: Mapping[str, Mapping[str, ThresholdSearch]]
) -> dict[str, ModelScores]:
    """Model -> figures of all its scans."""
    steps = {model: {how: search.steps() for how, search in found.items()} for model, found in searches.items()}
    scores: dict[str, ModelScores] = {}
    for split, scan_ids in splits.items():
        for scan_id in scan_ids:
            for model in searches:  # in turn, so that a scan's lesions are read once
                found = reader.figures(model, split, scan_id, steps[model])
                if found is not None:
                    scores.setdefault(model, ModelScores(found[0])).scans.append(found[1])
    reader.refuse_damaged()
    return scores


def _judge_ladders(
    payload: Mapping[str, Any], scores: Mapping[str, ModelScores], models: Mapping[str, Mapping[str, Any]], seed: int
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """What each mask loss with controls beside it owes to the patient's own masks: tables and sentences."""
    parts, told = [], []
    ladders: Sequence[Ladder] = payload["ladders"]
    for ladder in ladders:
        split = models[ladder.rungs["own"]]["split"] if ladder.rungs["own"] in models else "test"
        parts.append(ladder_table(ladder, scores, split, payload["patients"], seed))
        told.append({"models": ladder.models, "sentence": ladder_sentence(parts[-1])})
    return pd.concat(parts, ignore_index=True), told


def _judge_interventions(reader: FigureReader, path: Path, models: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """How far one inserted thing moves the logits of each model; into its headline figures too."""
    parts = []
    for model, figures in models.items():
        table = summarise_changes(logit_changes(path, partial(reader.logit, model)))
        table.insert(0, "model", model)
        parts.append(table)
        figures["interventions"] = {
            label: {row.inserted: row.mean_absolute_change for row in rows.itertuples()}
            for label, rows in table.groupby("label")
        }
    return pd.concat(parts, ignore_index=True)


def _judge_organs(payload: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The segmentation against known organs; the known ones are used for nothing else."""
    folder, masks = Path(payload["root"]) / "organs", payload["masks"]
    damaged = [
        path for path in ((str(folder / f"{name}_organs.nii.gz"), masks[name]) for name in masks) if is_damaged(path)
    ]
    if damaged:
        raise DamagedFilesError([path for path, _ in damaged])
    table = organ_scores(payload["organs"], masks, folder)
    summary = {
        str(organ): {key: float(rows[key].mean()) for key in ("dice", "precision", "recall")}
        for organ, rows in table.groupby("organ")
    }
    return table, summary


def _lacking(scores: Mapping[str, ModelScores], splits: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence for each model without some of the scans."""
    notes = []
    wanted = list(dict.fromkeys(name for scan_ids in splits.values() for name in scan_ids))
    for model, found in scores.items():
        there = {scan.scan_id for scan in found.scans}
        absent = [name for name in wanted if name not in there]
        if absent:
            named = ", ".join(absent[:SHOWN]) + (" ..." if len(absent) > SHOWN else "")
            notes.append(f"models.{model}: {len(absent)} scans have no maps and are left out of its figures ({named})")
    return notes


def _write(
    context: WorkContext,
    tables: Mapping[str, pd.DataFrame],
    summary: Mapping[str, Any],
    scores: Mapping[str, ModelScores],
    thresholds: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> None:
    for name, table in tables.items():
        with context.output(f"{name}.csv") as path:
            table.to_csv(path, index=False, lineterminator="\n")
    for name, make in (("pairs", pairs_table), ("scores", scores_table)):
        with context.output(f"{name}.csv") as path:
            for position, (model, found) in enumerate(scores.items()):
                table = make(model, found)
                table.to_csv(path, mode="a", header=not position, index=False, lineterminator="\n")
    chosen = {
        model: {
            method: dict(zip(scores[model].labels, values.tolist(), strict=True)) for method, values in found.items()
        }
        for model, found in thresholds.items()
    }
    for name, document in (("thresholds", chosen), ("summary", summary)):
        with context.output(f"{name}.json") as path:
            path.write_text(to_json(plain_json(document)), encoding="utf-8", newline="\n")
