"""Where the evidence of a label may lie, on the feature grid of every model: ``regions/<id>.npz``.

A few bitmaps a scan and grid, under 10 kB; the region of a label is put together from them when a batch is made. Cells
are laid on the scan's own label map by the network's true stride and offset; nothing is resampled. The published way of
shrinking masks (``regions.registration: reference``) works on the network's input instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organcam.segmentation import save_montage
from organcam.segmentation.pictures.cells_picture import ALLOWED_RGB, cells_picture
from organcam.segmentation.regions.bitmaps import organ_regions, rough_bitmaps

from ..data.network_input import grid_key, grid_on_scan, input_affine
from ..data.readers import read_volume
from ..data.region_store import write_regions
from ..data.volume import Volume
from ..errors import DataError
from ..geometry import FeatureGrid
from ..runner import StagePlan, StageSpec, Unit, WorkContext, fingerprint_value, output_hash
from .run import Ids, Run, StageSummary, summarise
from .segment import plan_segment
from .store import plan_store
from .targets import picture_places

__all__ = ["plan_regions", "run_regions"]

VERSION = 4


def run_regions(run: Run) -> StageSummary:
    """Regions of every scan on every grid of the workflow's models."""
    return summarise("regions", run.make(plan_regions))


def plan_regions(run: Run, ids: Ids | None = None) -> StagePlan:
    """The regions of all scans, or of some; they depend on the masks and on where the stored voxels lie."""
    from .grids import grids_of_models  # noqa: PLC0415 - loads torch, which the workers do without

    settings = run.workflow.regions
    records = run.chosen("regions", ids)
    names = tuple(record.scan_id for record in records)
    organs, volumes = run.current(plan_segment, names), run.current(plan_store, names)
    pictures = picture_places(run, settings.pictures, names)
    units = []
    for record in records:
        name, mask = record.scan_id, run.root / "organs" / f"{record.scan_id}_organs.nii.gz"
        stored = {key: volumes[name]["details"][key] for key in ("shape", "affine")}
        ok = bool(organs[name]["details"]["quality"]["ok"])
        content = output_hash(organs[name], mask.name)
        inputs = {"organs": content, "ok": str(ok), "stored": fingerprint_value(stored)}
        if pictures:
            inputs |= {"pictures": fingerprint_value(pictures[name]), "scan": organs[name]["inputs"]["scan"]}
        payload = {
            "organs": str(mask),
            "stored": stored,
            "ok": ok,
            "image": record.image,
            "pictures": pictures.get(name, {}),
        }
        units.append(Unit(name, inputs, payload, {str(mask): content}))
    grids = {
        grid_key(grid): grid.to_dict() for grid in run.once("grids", lambda: grids_of_models(run.workflow)).values()
    }
    parameters = {"grids": grids, **settings.model_dump(mode="json", exclude={"pictures"})}
    spec = StageSpec("regions", VERSION, run.root / "regions", lay_cells, parameters)
    return StagePlan(spec, tuple(units), "allowed regions", run.all_ids())


def lay_cells(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Region bitmaps of one scan on each grid, and the pictures that are asked for."""
    if not payload["ok"] and parameters["flagged"] == "leave_out":
        msg = "left out: its segmentation is flagged, see organs/quality.csv (regions.flagged)"
        raise DataError(msg)
    labels = read_volume(Path(payload["organs"])).reoriented()
    stored = payload["stored"]
    regions: dict[str, NDArray[np.bool_]] = {}
    on_scan: dict[str, FeatureGrid] = {}
    for key, plain in parameters["grids"].items():
        grid = FeatureGrid.from_dict(plain)
        affine = input_affine(np.asarray(stored["affine"]), stored["shape"], grid.input_shape)
        on_scan[key] = grid_on_scan(grid, affine, labels.affine, labels.array.shape)
        regions[key] = _bitmaps(labels, grid, on_scan[key], payload, parameters)
    with context.output(f"{context.id}.npz") as path, path.open("wb") as stream:
        write_regions(stream, regions)
    if payload["pictures"]:
        _draw(context, payload, labels, on_scan, regions)
    # a hash for each grid: another model with another grid changes the file, and not what this model is trained on
    return {"rough": not payload["ok"], "grids": {key: _content(cells) for key, cells in regions.items()}}


def _content(cells: NDArray[np.bool_]) -> str:
    return hashlib.sha256(repr(cells.shape).encode() + np.packbits(cells).tobytes()).hexdigest()


def _bitmaps(
    labels: Volume, grid: FeatureGrid, cells: FeatureGrid, payload: Mapping[str, Any], parameters: Mapping[str, Any]
) -> NDArray[np.bool_]:
    if not payload["ok"]:
        return rough_bitmaps(grid, parameters["thirds"], _has_base(parameters))
    options = {"dilate": parameters["dilate"], "thirds": parameters["thirds"]}
    if parameters["registration"] == "reference":
        array = on_stored_grid(labels, np.asarray(payload["stored"]["affine"]), payload["stored"]["shape"])
        return organ_regions(array, grid, registration="reference", mode=parameters["reference_mode"], **options)
    if _has_base(parameters):
        options["base_slices"] = max(1, round(parameters["base_mm"] / labels.spacing[0]))
    return organ_regions(labels.array, cells, threshold=parameters["threshold"], **options)


def _has_base(parameters: Mapping[str, Any]) -> bool:
    """Whether the bitmaps hold the base under each lung; the published shrinking knows none."""
    return bool(parameters["base_mm"] > 0 and parameters["registration"] == "network")


def on_stored_grid(labels: Volume, affine: NDArray[np.float64], shape: Sequence[int]) -> NDArray:
    """The label map on the stored volume's grid, nearest voxels; both have the network's axes."""
    mapping = np.linalg.inv(labels.affine) @ affine
    array = labels.array
    for axis, n in enumerate(shape):
        place = np.rint(mapping[axis, axis] * np.arange(n) + mapping[axis, 3]).astype(int)
        inside = (place >= 0) & (place < array.shape[axis])
        array = array.take(np.clip(place, 0, array.shape[axis] - 1), axis=axis)
        if not inside.all():
            array[(slice(None),) * axis + (~inside,)] = 0
    return array


def _draw(
    context: WorkContext,
    payload: Mapping[str, Any],
    labels: Volume,
    grids: Mapping[str, FeatureGrid],
    regions: Mapping[str, NDArray[np.bool_]],
) -> None:
    import torch  # noqa: PLC0415 - only for pictures

    from ..transforms import expand_regions  # noqa: PLC0415

    scan = read_volume(Path(payload["image"])).reoriented()
    for key, grid in grids.items():
        places = torch.tensor([asked["places"] for asked in payload["pictures"].values()], dtype=torch.uint8)
        allowed = expand_regions(torch.from_numpy(regions[key]), places).numpy()
        for cells, (label, asked) in zip(allowed, payload["pictures"].items(), strict=True):
            ending = "" if len(grids) == 1 else f"_{key}"
            picture = cells_picture(scan.array, labels.array, grid, cells, labels.spacing)
            named = {"allowed cells": ALLOWED_RGB}
            with context.output(f"{context.id}_{label}{ending}.png") as path:
                save_montage(path, picture, f"{context.id}: {label} ({asked['basis']})", named)
