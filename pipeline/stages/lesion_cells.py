"""Whether the masks hold what is known to be there: the share of each known lesion inside its label's allowed cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import Workflow
from ..data.network_input import grid_key
from ..data.records import read_manifest
from ..data.region_store import has_regions, read_regions
from ..errors import ConfigError
from ..runner import read_sidecar
from .lesions import Lesions

__all__ = ["lesions_in_cells"]


def lesions_in_cells(workflow: Workflow, root: Path) -> pd.DataFrame:
    """Share of the known lesions' volume that lies in the cells where their label's evidence may lie.

    The cells are those of the place that the table of lesions states, so that a report plays no part: what is missing
    is the masks' fault, or the grid's.

    Args:
        workflow: of the run.
        root: the run directory, with its volumes and regions.

    Returns:
        One row a label and grid: ``label, grid, scans, mean, worst, worst_scan``; shares from 0 to 1, over the scans
        with lesions and regions.

    Raises:
        ConfigError: if the workflow names no table of known lesions.
    """
    import torch  # noqa: PLC0415 - help and other stages do without

    from ..transforms import expand_regions  # noqa: PLC0415
    from .grids import grids_of_models  # noqa: PLC0415

    if workflow.data.lesions is None:
        msg = "--lesions: the workflow names no table of known lesions (data.lesions)"
        raise ConfigError(msg)
    lesions = Lesions(workflow.data.lesions)
    grids = {grid_key(grid): grid for grid in grids_of_models(workflow).values()}
    names = [record.scan_id for record in read_manifest(root / "manifest.csv") if record.scan_id in lesions]
    stored = ((name, read_sidecar(root / "volumes", name)) for name in names)
    volumes = {name: sidecar for name, sidecar in stored if sidecar is not None}
    found: list[dict[str, Any]] = []
    for name in names:
        path = root / "regions" / f"{name}.npz"
        for key, grid in grids.items():
            if name not in volumes or not has_regions(path, key):
                continue
            targets = lesions.targets(name)
            present = tuple(label for label, there in zip(targets.names, targets.present[0], strict=True) if there)
            places = torch.from_numpy(targets.columns(present).places[0])
            allowed = expand_regions(torch.from_numpy(read_regions(path, key)), places).numpy()
            shares = lesions.occupancy(name, present, grid, volumes[name]["details"])
            for label, cells, share in zip(present, allowed, shares, strict=True):
                if share.any():
                    inside = float((share * cells).sum() / share.sum())
                    found.append({"label": label, "grid": key, "scan_id": name, "share": inside})
    return _by_label(pd.DataFrame(found, columns=["label", "grid", "scan_id", "share"]))


def _by_label(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (label, grid), part in table.groupby(["label", "grid"]):
        worst = part.sort_values("share").iloc[0]
        rows.append((label, grid, len(part), float(np.mean(part["share"])), worst["share"], worst["scan_id"]))
    return pd.DataFrame(rows, columns=["label", "grid", "scans", "mean", "worst", "worst_scan"])
