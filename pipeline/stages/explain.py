"""Maps of all labels of every scan: ``attention/<m>/<id>.npz``, raw, signed and at the network's own resolution.

Chosen labels are also written as NIfTI on the scan's own grid. All labels at that size would be 23 GB a scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Compose
from torch import nn

from ..attention import attention_by_method, scan_attention, write_attention
from ..config import InputConfig
from ..contract import contract_of, slices_of_slab
from ..data.network_input import grid_key, input_affine
from ..data.records import in_split
from ..data.region_store import read_regions
from ..data.volume import Volume
from ..data.writers import write_nifti
from ..engines import choose_device, image_transforms
from ..errors import ConfigError, OrganCamError, did_you_mean
from ..geometry import FeatureGrid
from ..networks import WithAllowed
from ..placement import SourceGrid, map_on_source
from ..runner import StagePlan, StageSpec, Unit, WorkContext, fingerprint_value, output_hash, retire_others
from ..transforms import expand_regions
from .grids import build_model, reads_regions
from .regions import plan_regions
from .run import Ids, Run, StageSummary, summarise
from .store import plan_store
from .train import plan_choice

__all__ = ["LoadedModel", "load_model", "plan_explain", "run_explain"]

VERSION = 3
CHOICES = ("predicted", "present")
MODEL_KEYS = ("weights", "labels", "network", "input", "grid")
MODELS = 16
"""Networks that a worker keeps: all models of a workflow explain a scan before the next scan is read."""


class LoadedModel(NamedTuple):
    """A trained network with what is needed to use it.

    Attributes:
        network: on its device, in evaluation mode.
        labels: of its outputs.
        grid: of its attention.
        input: what it sees.
        options: name and options that the network was built with.
        places: bits ``[M, 10]`` of where each label could lie, for a network that looks at them; else None.
    """

    network: nn.Module
    labels: tuple[str, ...]
    grid: FeatureGrid
    input: InputConfig
    options: Mapping[str, Any]
    places: tuple[tuple[int, ...], ...] | None = None


def run_explain(run: Run) -> StageSummary:
    """Explain every scan of the wanted splits with every model that was trained."""
    results, notes = [], []
    models = tuple(run.workflow.models)
    for model, result in zip(models, run.make_all(plan_explain, [(model,) for model in models]), strict=True):
        failed = [replace(failure, reason=f"model {model}: {failure.reason}") for failure in result.failed]
        results.append(replace(result, failed=tuple(failed)))
        if not run.current(plan_choice, model):
            notes.append(f"models.{model}: no trained weights, so nothing is explained")
    for folder in sorted(run.folder("attention").iterdir()):
        if folder.is_dir() and folder.name not in run.workflow.models:
            retire_others(folder, "explain", ())
            with suppress(OSError):  # somebody's own files in it
                folder.rmdir()
    return summarise("explain", *results, notes=notes)


def plan_explain(run: Run, model: str, ids: Ids | None = None) -> StagePlan:
    """The maps of one model: of all scans of the wanted splits, or of some; none if its training failed."""
    settings = run.workflow.explain
    parameters = {
        "methods": settings.methods,
        "volumes": settings.volumes,
        "volume_scans": settings.volume_scans,
        "volume_method": settings.volume_method,
        "top": settings.top,
    }
    spec = StageSpec("explain", VERSION, run.root / "attention" / model, explain_scan, parameters)
    what = f"attention of the model {model}"
    chosen = run.current(plan_choice, model)
    if model not in chosen:
        return StagePlan(spec, (), what)
    _check_volume_labels(settings.volumes, chosen[model]["details"]["labels"])
    path = run.root / "models" / model / "model.pt"
    content = output_hash(chosen[model], path.name)
    names = tuple(record.scan_id for record in in_split(run.chosen("explain", ids), *settings.splits))
    volumes = run.current(plan_store, names)
    looks = run.once(("reads regions", model), lambda: reads_regions(run.workflow, model))
    seen = run.current(plan_regions, names) if looks else {}
    present = run.once("present labels", lambda: _present_labels(run)) if "present" in settings.volumes else {}
    units = []
    for name in names:
        stored = run.root / "volumes" / f"{name}.b2nd"
        geometry, labels = volumes[name]["details"], list(present.get(name, ()))
        inputs = {
            "model": content,
            "volume": output_hash(volumes[name], stored.name),
            "geometry": fingerprint_value(geometry),
            "present": ",".join(labels),
        }
        payload = {
            "model": str(path),
            "content": content,
            "stored": str(stored),
            "geometry": geometry,
            "present": labels,
            "device": run.workflow.training_of(model).device,
        }
        files = {str(stored): inputs["volume"]}
        if seen:
            regions = run.root / "regions" / f"{name}.npz"
            files[str(regions)] = inputs["regions"] = output_hash(seen[name], regions.name)
            payload["regions"] = str(regions)
        units.append(Unit(name, inputs, payload, files))
    asked = frozenset(record.scan_id for record in in_split(run.manifest(), *settings.splits))
    return StagePlan(spec, tuple(units), what, asked, {str(path): content}, timeout=settings.timeout)


def explain_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Maps and scores of one scan from one model."""
    device = choose_device(payload["device"])
    model = load_model(Path(payload["model"]), str(device), payload["content"])
    layout, slices = contract_of(model.network).input_layout, slices_of_slab(model.network)
    image = context.once(
        (payload["stored"], model.input.model_dump_json(), layout, slices, str(device)),
        lambda: Compose(image_transforms(model.input, layout, slices))({"image": payload["stored"]})["image"][None].to(
            device
        ),
    )
    network = model.network
    if model.places is not None:
        regions = torch.from_numpy(read_regions(payload["regions"], grid_key(model.grid)))
        network = WithAllowed(network, expand_regions(regions, torch.tensor(model.places))[None].to(device))
    found = attention_by_method(network, image, methods=parameters["methods"], cells=True)
    attention = scan_attention(found, 0, model.labels)
    with context.output(f"{context.id}.npz") as path, path.open("wb") as stream:
        write_attention(stream, attention)
    written = []
    if parameters["volume_scans"] is None or context.id in parameters["volume_scans"]:
        chosen = _chosen_labels(parameters, payload["present"], model.labels, attention.scores)
        for label in chosen:
            cells = attention.maps[parameters["volume_method"]][model.labels.index(label)]
            volume = map_on_scan(cells, attention.grid, payload["geometry"])
            with context.output(f"{context.id}_{label}.nii.gz") as path:
                write_nifti(path, volume.array, volume.affine)
            written.append(label)
    return {"volumes": written}


def map_on_scan(cells: np.ndarray, grid: FeatureGrid, stored: Mapping[str, Any]) -> Volume:
    """A map ``[S, h, w]`` on the scan's own voxels and axes; NaN where the network did not look.

    Args:
        cells: raw signed values of the feature cells.
        grid: where they lie in the network's input.
        stored: details of the scan's stored volume (shape, affine, scan_shape, scan_affine).
    """
    affine = input_affine(np.asarray(stored["affine"]), stored["shape"], grid.input_shape)
    source = SourceGrid(tuple(stored["scan_shape"]), np.asarray(stored["scan_affine"]))
    return map_on_source(cells, grid, affine, source)


@lru_cache(maxsize=MODELS)
def load_model(path: Path, device: str, content: str = "") -> LoadedModel:
    """Read a trained model (weights only, nothing of the file is executed); kept for the next scans.

    Args:
        path: a ``model.pt``.
        device: where it shall work.
        content: hash of the file: a worker outlives a training, and another model at the same path is another model.

    Raises:
        OrganCamError: if the file is missing or broken, or its weights are of another network or number of labels.
    """
    del content  # part of the cache's key
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        msg = f"{path}: not a readable model ({type(error).__name__})"
        raise OrganCamError(msg) from None
    missing = [key for key in MODEL_KEYS if not isinstance(state, Mapping) or key not in state]
    if missing:
        msg = f"{path}: not a model of organcam train: it has no '{missing[0]}'"
        raise OrganCamError(msg)
    input_config = InputConfig.model_validate(state["input"])
    options = {key: value for key, value in state["network"].items() if key != "weights"}  # no start needed any more
    network = build_model(options, input_config, len(state["labels"]))
    _fill(network, state, path)
    network.to(device).eval()
    places = tuple(map(tuple, state["input_places"])) if "input_places" in state else None
    grid = FeatureGrid.from_dict(state["grid"])
    return LoadedModel(network, tuple(state["labels"]), grid, input_config, options, places)


def _fill(network: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Weights into the network that the file says they are of."""
    weights, wanted = state["weights"], network.state_dict()
    there = isinstance(weights, Mapping)
    unfit = [name for name in wanted if not there or name not in weights or weights[name].shape != wanted[name].shape]
    unfit += [name for name in weights if name not in wanted] if there else []
    if unfit:
        name, labels = state["network"].get("name", "axialnet"), len(state["labels"])
        msg = (
            f"{path}: its weights are not those of the network {name} with {labels} labels that it names: {unfit[0]} "
            f"{'is missing or of another shape' if unfit[0] in wanted else 'is unknown'}"
        )
        raise OrganCamError(msg)
    network.load_state_dict(weights)


def _present_labels(run: Run) -> dict[str, tuple[str, ...]]:
    from .targets import load_targets  # noqa: PLC0415 - only wanted with reports

    if not run.workflow.data.tells_labels:
        return {}
    targets = load_targets(run, run.records("explain"))
    return {
        name: tuple(label for label, there in zip(targets.names, row, strict=True) if there)
        for name, row in zip(targets.ids, targets.present, strict=True)
    }


def _check_volume_labels(volumes: Sequence[str], labels: Sequence[str]) -> None:
    for name in volumes:
        if name not in CHOICES and name not in labels:
            msg = f"explain.volumes: '{name}' is no output of the model: {did_you_mean(name, [*CHOICES, *labels])}"
            raise ConfigError(msg)


def _chosen_labels(
    parameters: Mapping[str, Any], present: Sequence[str], labels: Sequence[str], scores: np.ndarray
) -> list[str]:
    chosen: list[str] = []
    for name in parameters["volumes"]:
        if name == "predicted":
            chosen += [labels[index] for index in np.argsort(-scores, kind="stable")[: parameters["top"]]]
        elif name == "present":
            chosen += [label for label in present if label in labels]
        else:
            chosen.append(name)
    return list(dict.fromkeys(chosen))
