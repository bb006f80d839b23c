"""How much of every feature cell each organ covers: ``regions/<id>.npz``, one entry a distinct grid of the models.

Cells are laid on the scan's own label map by the network's true stride and offset; nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from organcam.segmentation.regions import organ_occupancy, rough_regions

from ..data.network_input import grid_key, grid_on_scan, input_affine
from ..data.readers import read_volume
from ..errors import DataError
from ..geometry import FeatureGrid
from ..runner import Unit, WorkContext
from .run import Run, StageSummary, summarise

__all__ = ["run_regions"]

VERSION = 1


def run_regions(run: Run) -> StageSummary:
    """Occupancy of every scan on every grid of the workflow's models."""
    from .grids import grids_of_models  # noqa: PLC0415 - loads torch, which the workers do without

    records = run.records()
    ids = [record.scan_id for record in records]
    organs, volumes = run.sidecars(ids, "organs"), run.sidecars(ids, "volumes")
    units = [
        Unit(
            name,
            {"organs": organs[name]["key"], "volume": volumes[name]["key"]},
            {
                "organs": str(run.root / "organs" / f"{name}_organs.nii.gz"),
                "stored": {key: volumes[name]["details"][key] for key in ("shape", "affine")},
                "ok": bool(organs[name]["details"]["quality"]["ok"]),
            },
        )
        for name in ids
        if name in organs and name in volumes
    ]
    grids = {grid_key(grid): grid.to_dict() for grid in grids_of_models(run.workflow).values()}
    parameters = {"grids": grids, "flagged": run.workflow.regions.flagged}
    result = run.spread("regions", VERSION, run.folder("regions"), lay_cells, parameters, units)
    return summarise("regions", result)


def lay_cells(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Occupancy of one scan: uint8 ``[3, S, h, w]`` a grid, 255 where an organ fills the cell."""
    if not payload["ok"] and parameters["flagged"] == "leave_out":
        msg = "left out: its segmentation is flagged, see organs/quality.csv (regions.flagged)"
        raise DataError(msg)
    labels = read_volume(Path(payload["organs"])).reoriented()
    stored = payload["stored"]
    arrays: dict[str, Any] = {}
    for key, plain in parameters["grids"].items():
        grid = FeatureGrid.from_dict(plain)
        affine = input_affine(np.asarray(stored["affine"]), stored["shape"], grid.input_shape)
        cells = grid_on_scan(grid, affine, labels.affine, labels.array.shape)
        share = organ_occupancy(labels.array, cells) if payload["ok"] else rough_regions(grid)
        arrays[key] = np.rint(share * np.float32(255)).astype(np.uint8)
    with context.output(f"{context.id}.npz") as path, path.open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    return {"rough": not payload["ok"]}
