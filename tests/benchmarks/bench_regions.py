"""Share of each kind of lesion that lies in allowed cells, and how large the allowed regions are.

    organcam run phantom --out runs/demo --until regions   # or any run of the phantom workflow
    python tests/benchmarks/bench_regions.py runs/demo [--threshold 0.1]

With the true organs, with the segmented ones, and with the segmented ones and the unsure base under the lungs, by how
far (mm) that reaches; training scans only. A lesion counts with all labels, so that the table also shows what the base
would do for labels that are not allowed there.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from organcam.config import Workflow
from organcam.data.network_input import grid_on_scan, input_affine
from organcam.data.readers import read_volume
from organcam.geometry import FeatureGrid
from organcam.segmentation.regions import lung_bases, organ_occupancy
from organcam.stages.grids import grids_of_models

BASES_MM = (0, 10, 20, 30, 40)
SCANS = 80
IN_MEDIASTINUM = ("aorta", "heart", "svc", "mediastinum")

Cells = NDArray[np.bool_]


def main(run: Path, threshold: float) -> None:
    """Measure and print."""
    workflow = Workflow.model_validate(yaml.safe_load((run / "workflow.yaml").read_text()))
    grid = next(iter(grids_of_models(workflow).values()))
    truth = run / "phantom" / "truth"
    lesions = pd.read_csv(truth / "lesions.csv", keep_default_na=False)
    lesions = lesions[(lesions["kind"] == "lesion") & lesions["scan_id"].str.endswith("-train")]
    shares: dict[str, list[list[float]]] = defaultdict(list)
    for number, (scan_id, rows) in enumerate(lesions.groupby("scan_id")):
        if number == SCANS:
            break
        masks = read_volume(truth / f"{scan_id}_lesions.nii.gz").reoriented()
        affine = input_affine(masks.affine, masks.array.shape, grid.input_shape)
        cells = grid_on_scan(grid, affine, masks.affine, masks.array.shape)
        true, found = (
            read_volume(folder / f"{scan_id}_organs.nii.gz").reoriented().array for folder in (truth, run / "organs")
        )
        allowed = [_allowed(true, cells, threshold, 0)]
        for mm in BASES_MM:
            allowed.append(_allowed(found, cells, threshold, max(1, round(mm / masks.spacing[0])) if mm else 0))
        shares["cells of both lungs"].append([float(lungs.sum()) for lungs, _ in allowed])
        for row in rows.itertuples():
            filled = organ_occupancy(masks.array, cells, [int(row.value)])[0]
            if filled.any():
                central = row.location in IN_MEDIASTINUM
                shares[row.abnormality].append(
                    [float(filled[heart if central else lungs].sum() / filled.sum()) for lungs, heart in allowed]
                )
    table = Table(title=f"Share of a lesion in cells that its organs cover to {threshold:g}, {run}")
    table.add_column("finding", no_wrap=True)
    for name in ("true organs", *(f"found, base {mm}" for mm in BASES_MM)):
        table.add_column(name, justify="right")
    for name, values in sorted(shares.items()):
        table.add_row(f"{name} ({len(values)})", *(f"{mean:.2f}" for mean in np.mean(values, axis=0)))
    Console(width=120).print(table)


def _allowed(labels: NDArray[np.uint8], cells: FeatureGrid, threshold: float, base_slices: int) -> tuple[Cells, Cells]:
    """Cells of both lungs with their bases, and of heart and mediastinum."""
    share = organ_occupancy(labels | (lung_bases(labels, base_slices) << 3), cells, [1, 2, 3, 8, 16])
    return share[[0, 1, 3, 4]].sum(axis=0) >= threshold, share[2] >= threshold


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=Path("runs/demo"))
    parser.add_argument("--threshold", type=float, default=0.1)
    given = parser.parse_args()
    main(given.run, given.threshold)
