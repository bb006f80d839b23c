"""Whether the masks hold what is known to be there: the share of each known lesion inside its label's allowed cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..data.network_input import grid_key
from ..data.region_store import has_regions, read_regions
from ..errors import ConfigError
from .lesions import Lesions
from .run import Run

__all__ = ["lesions_in_cells"]


def lesions_in_cells(run: Run) -> pd.DataFrame:
    """Share of the known lesions' volume that lies in the cells where their label's evidence may lie.

    The cells are those of the place that the table of lesions states, so that a report plays no part: what is missing
    is the masks' fault, or the grid's.

    Returns:
        One row a label and grid: ``label, grid, scans, mean, worst, worst_scan``; shares from 0 to 1, over the scans
        with lesions and regions.

    Raises:
        ConfigError: if the workflow names no table of known lesions.
    """
    import torch  # noqa: PLC0415 - help and other stages do without

    from ..transforms import expand_regions  # noqa: PLC0415
    from .grids import grids_of_models  # noqa: PLC0415

    if run.workflow.data.lesions is None:
        msg = "--lesions: the workflow names no table of known lesions (data.lesions)"
        raise ConfigError(msg)
    lesions = Lesions(run.workflow.data.lesions)
    grids = {grid_key(grid): grid for grid in grids_of_models(run.workflow).values()}
    names = [record.scan_id for record in run.records() if record.scan_id in lesions]
    volumes = run.sidecars(names, "volumes")
    found: list[dict[str, Any]] = []
    for name in names:
        path = run.root / "regions" / f"{name}.npz"
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
        worst = part.loc[part["share"].idxmin()]
        rows.append((label, grid, len(part), float(np.mean(part["share"])), worst["share"], worst["scan_id"]))
    return pd.DataFrame(rows, columns=["label", "grid", "scans", "mean", "worst", "worst_scan"])
