"""Maps of all labels of every scan: ``attention/<m>/<id>.npz``, raw, signed and at the network's own resolution.

Chosen labels are also written as NIfTI on the scan's own grid. All labels at that size would be 23 GB a scan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Compose
from torch import nn

from ..attention import attention_by_method, to_input_grid
from ..config import InputConfig
from ..data.network_input import grid_on_scan, input_affine
from ..data.records import in_split
from ..data.volume import Volume
from ..data.writers import write_nifti
from ..engines import choose_device, image_transforms
from ..errors import ConfigError, OrganCamError, did_you_mean
from ..geometry import FeatureGrid
from ..runner import Unit, WorkContext
from .grids import build_model
from .run import Run, StageSummary, summarise

__all__ = ["LoadedModel", "load_model", "run_explain"]

VERSION = 1
CHOICES = ("predicted", "present")


class LoadedModel(NamedTuple):
    """A trained network with what is needed to use it."""

    network: nn.Module
    labels: tuple[str, ...]
    grid: FeatureGrid
    input: InputConfig


def run_explain(run: Run) -> StageSummary:
    """Explain every scan of the wanted splits with every model."""
    settings = run.workflow.explain
    records = in_split(run.records(), *settings.splits)
    volumes = run.sidecars([record.scan_id for record in records], "volumes")
    present = _present_labels(run) if "present" in settings.volumes else {}
    results = []
    for model in run.workflow.models:
        trained = run.sidecars([model], "models", model)
        if not trained:
            msg = f"{run.root} has no trained model {model}: run the train stage first"
            raise OrganCamError(msg)
        path = run.root / "models" / model / "model.pt"
        _check_volume_labels(settings.volumes, load_model(path, "cpu").labels)
        units = [
            Unit(
                record.scan_id,
                {
                    "model": trained[model]["key"],
                    "volume": volumes[record.scan_id]["key"],
                    "present": ",".join(present.get(record.scan_id, ())),
                },
                {
                    "model": str(path),
                    "stored": str(run.root / "volumes" / f"{record.scan_id}.b2nd"),
                    "place": dict(volumes[record.scan_id]["details"]),
                    "present": list(present.get(record.scan_id, ())),
                },
            )
            for record in records
            if record.scan_id in volumes
        ]
        parameters = {
            "methods": settings.methods,
            "volumes": settings.volumes,
            "volume_scans": settings.volume_scans,
            "volume_method": settings.volume_method,
            "top": settings.top,
            "device": run.workflow.train.device,
        }
        results.append(run.spread("explain", VERSION, run.folder("attention", model), explain_scan, parameters, units))
    return summarise("explain", *results)


def explain_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Maps and scores of one scan from one model."""
    device = choose_device(parameters["device"])
    model = load_model(Path(payload["model"]), str(device))
    image = Compose(image_transforms(model.input))({"image": payload["stored"]})["image"][None].to(device)
    found = attention_by_method(model.network, image, methods=parameters["methods"])
    maps: dict[str, Any] = {method: one.values[0].float().cpu().numpy() for method, one in found.items()}
    scores = found[parameters["methods"][0]].logits[0].float().cpu().numpy()
    with context.output(f"{context.id}.npz") as path, path.open("wb") as stream:
        np.savez(
            stream,
            **maps,
            scores=scores,
            labels=np.asarray(model.labels),
            grid=np.asarray(json.dumps(model.grid.to_dict())),
        )
    written = []
    if parameters["volume_scans"] is None or context.id in parameters["volume_scans"]:
        chosen = _chosen_labels(parameters, payload["present"], model.labels, scores)
        for label in chosen:
            cells = maps[parameters["volume_method"]][model.labels.index(label)]
            volume = map_on_scan(cells, model.grid, payload["place"])
            with context.output(f"{context.id}_{label}.nii.gz") as path:
                write_nifti(path, volume.array, volume.affine)
            written.append(label)
    return {"volumes": written}


def map_on_scan(cells: np.ndarray, grid: FeatureGrid, place: Mapping[str, Any]) -> Volume:
    """A map ``[S, h, w]`` on the scan's own voxels and axes; 0 where the network did not look.

    Args:
        cells: raw signed values of the feature cells.
        grid: their place in the network's input.
        place: details of the scan's stored volume (shape, affine, scan_shape, scan_affine).
    """
    affine = input_affine(np.asarray(place["affine"]), place["shape"], grid.input_shape)
    scan = Volume(np.empty(place["scan_shape"], dtype=np.bool_), np.asarray(place["scan_affine"]))
    network_view = scan.reoriented()
    on_scan = grid_on_scan(grid, affine, network_view.affine, network_view.array.shape)
    dense = to_input_grid(torch.from_numpy(np.ascontiguousarray(cells)), on_scan).numpy()
    return Volume(dense, network_view.affine).reoriented(scan.axes)


@lru_cache(maxsize=1)
def load_model(path: Path, device: str) -> LoadedModel:
    """Read a trained model (weights only, nothing of the file is executed); kept for the next scan.

    Raises:
        OrganCamError: if the file is missing or broken.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        msg = f"{path}: not a readable model ({type(error).__name__})"
        raise OrganCamError(msg) from None
    shown = InputConfig.model_validate(state["input"])
    options = {key: value for key, value in state["network"].items() if key != "weights"}  # no start needed any more
    network = build_model(options, shown, len(state["labels"]))
    network.load_state_dict(state["weights"])
    network.to(device).eval()
    return LoadedModel(network, tuple(state["labels"]), FeatureGrid.from_dict(state["grid"]), shown)


def _present_labels(run: Run) -> dict[str, tuple[str, ...]]:
    from .targets import load_targets  # noqa: PLC0415 - only wanted with reports

    targets = load_targets(run, run.records())
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
