"""How far wrong masks are from the patient's own, without training anything: a table of ``docs/mask_loss.md``.

    python tests/benchmarks/bench_controls.py [--phantoms centred off_centre] [--scans 40] [--seed 0]

Phantoms of the shipped ladders with their true organs, on the grid of the ladder's network. For every label of every
scan, the cells that a control of the mask loss allows: how far they overlap those of own masks (intersection over
union), and how much of the lesion itself lies in them (what does not, a loss with that control forbids to look at).
Rotten masks can teach only as much as this lets them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from bench_mask_loss import PHANTOMS, workflow_of

from organcam.catalogue.targets import region_targets
from organcam.data.network_input import grid_on_scan, input_affine
from organcam.data.phantom import PhantomScan, plan_dataset, render_scan
from organcam.geometry import FeatureGrid
from organcam.losses import CONTROLS, atlas_regions, other_patients, shuffled_regions, swapped_places
from organcam.segmentation.regions import organ_occupancy
from organcam.segmentation.regions.bitmaps import organ_regions
from organcam.stages.grids import grids_of_models
from organcam.transforms import expand_regions
from organcam.workflow_file import load_workflow


class Seen(NamedTuple):
    """What a loss is told of one scan: region bitmaps, and for each label its place bits and its lesions' cells."""

    regions: torch.Tensor
    places: torch.Tensor
    lesions: torch.Tensor


def seen_of(scan: PhantomScan, grid: FeatureGrid, threshold: float, base_mm: float) -> Seen:
    """Regions from the true organs, as the regions stage makes them of segmented ones."""
    affine = input_affine(scan.affine, scan.organs.shape, grid.input_shape)
    cells = grid_on_scan(grid, affine, scan.affine, scan.organs.shape)
    base_slices = max(1, round(base_mm / abs(scan.affine[2, 0])))
    regions = organ_regions(scan.organs, cells, threshold=threshold, base_slices=base_slices)
    rows = [row for row in scan.rows if row.kind == "lesion" and row.voxels]
    table = pd.DataFrame([[1] * len(rows)], columns=[f"{row.abnormality}*{row.location}" for row in rows], index=["a"])
    targets = region_targets(table.loc[:, ~table.columns.duplicated()])
    present = [name for name, there in zip(targets.names, targets.present[0], strict=True) if there]
    filled = np.zeros((len(present), *grid.shape), np.float32)
    for row in rows:
        own = region_targets(pd.DataFrame([[1]], columns=[f"{row.abnormality}*{row.location}"], index=["a"]))
        share = organ_occupancy(scan.lesions, cells, [row.value])[0]
        for column, name in enumerate(present):
            if own.columns([name]).present[0, 0]:
                filled[column] += share
    places = targets.columns(present).places[0]
    return Seen(torch.from_numpy(regions), torch.from_numpy(places), torch.from_numpy(filled))


def allowed_by(control: str, scan_id: str, scans: dict[str, Seen], lenders: dict[str, str], atlas: torch.Tensor):
    """Cells that the loss leaves to each label of a scan."""
    scan = scans[scan_id]
    regions, places = scan.regions, scan.places
    if control == "permuted":
        regions = scans[lenders[scan_id]].regions
    elif control == "atlas":
        regions = atlas
    elif control == "shuffled":
        regions = shuffled_regions(regions, scan_id, seed=0)
    elif control == "swapped":
        places = swapped_places(places)
    return expand_regions(regions, places)


def measured(phantom: str, count: int, seed: int) -> Iterator[dict[str, float]]:
    """One row a scan, label and control."""
    workflow = load_workflow(workflow_of(phantom), [f"seed={seed}", f"phantom.scans={{train: {count}}}"])
    grid = grids_of_models(workflow)["own"]
    settings = workflow.phantom
    assert settings is not None
    specs = [spec for spec in plan_dataset(settings) if spec.split == "train"]
    regions = workflow.regions
    scans = {
        spec.scan_id: seen_of(render_scan(settings, spec), grid, regions.threshold, regions.base_mm) for spec in specs
    }
    lenders = other_patients({name: name for name in scans}, seed)
    atlas = atlas_regions(scan.regions for scan in scans.values())
    for scan_id, scan in scans.items():
        own = allowed_by("own", scan_id, scans, lenders, atlas)
        for control in CONTROLS:
            cells = allowed_by(control, scan_id, scans, lenders, atlas)
            for mine, theirs, lesion in zip(own, cells, scan.lesions, strict=True):
                union = (mine | theirs).sum().item()
                if union and lesion.any():
                    inside = (lesion * theirs).sum().item() / lesion.sum().item()
                    overlap = (mine & theirs).sum().item() / union
                    yield {"phantom": phantom, "control": control, "overlap": overlap, "inside": inside}


def main() -> None:
    """Print one row a phantom."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", nargs="+", choices=PHANTOMS, default=list(PHANTOMS))
    parser.add_argument("--scans", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    others = CONTROLS[1:]
    overlaps = " | ".join(f"overlap: {name}" for name in others)
    print(f"| phantoms | {overlaps} | lesion inside: own | {' | '.join(others)} |")
    print(f"|---|{'---|' * (2 * len(others) + 1)}")
    for phantom in chosen.phantoms:
        means = pd.DataFrame(measured(phantom, chosen.scans, chosen.seed)).groupby("control").mean(numeric_only=True)
        numbers = [*means.loc[list(others), "overlap"], *means.loc[list(CONTROLS), "inside"]]
        print(f"| {phantom} | {' | '.join(f'{number:.2f}' for number in numbers)} |", flush=True)


if __name__ == "__main__":
    main()
