"""Share of each kind of lesion that lies in allowed cells, by the share of a cell that its organs must cover.

    python tests/benchmarks/bench_regions.py runs/demo   # a finished run of the phantom workflow

Once with the true organs, once with the segmented ones; training scans only.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from organcam.data.network_input import grid_on_scan, input_affine
from organcam.data.readers import read_volume
from organcam.segmentation.regions import organ_occupancy
from organcam.stages.explain import load_model

THRESHOLDS = (0.5, 0.25, 0.1)
SCANS = 80
IN_MEDIASTINUM = ("aorta", "heart", "svc", "mediastinum")


def main(run: Path) -> None:
    """Measure and print."""
    grid = load_model(run / "models" / "baseline" / "model.pt", "cpu").grid
    lesions = pd.read_csv(run / "phantom" / "truth" / "lesions.csv", keep_default_na=False)
    lesions = lesions[(lesions["kind"] == "lesion") & lesions["scan_id"].str.endswith("-train")]
    shares: dict[str, list[list[float]]] = defaultdict(list)
    for number, (scan_id, rows) in enumerate(lesions.groupby("scan_id")):
        if number == SCANS:
            break
        truth = run / "phantom" / "truth"
        masks = read_volume(truth / f"{scan_id}_lesions.nii.gz").reoriented()
        affine = input_affine(masks.affine, masks.array.shape, grid.input_shape)
        cells = grid_on_scan(grid, affine, masks.affine, masks.array.shape)
        organs = [
            organ_occupancy(read_volume(folder / f"{scan_id}_organs.nii.gz").reoriented().array, cells)
            for folder in (truth, run / "organs")
        ]
        for row in rows.itertuples():
            filled = organ_occupancy(masks.array, cells, [int(row.value)])[0]
            if filled.any():
                shares[row.abnormality].append(_inside(filled, organs, row.location in IN_MEDIASTINUM))
    table = Table(title=f"Share of a lesion in allowed cells, {run}")
    table.add_column("finding")
    for organ in ("true", "segmented"):
        for threshold in THRESHOLDS:
            table.add_column(f"{organ}, {threshold:g}", justify="right")
    for name, values in sorted(shares.items()):
        table.add_row(f"{name} ({len(values)})", *(f"{mean:.2f}" for mean in np.mean(values, axis=0)))
    Console(width=120).print(table)


def _inside(filled: NDArray[np.float32], organs: list[NDArray[np.float32]], central: bool) -> list[float]:
    covered = [share[2] if central else share[0] + share[1] for share in organs]
    return [float(filled[cover >= least].sum() / filled.sum()) for cover in covered for least in THRESHOLDS]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))
