"""How long `organcam evaluate --maps` takes and what it holds in memory, for more and more scans.

    python tests/benchmarks/bench_given_maps.py [--scans 250 500 1000]

80 labels, 3 models with two methods each, maps of 135 x 6 x 6 cells as `organcam explain` writes them, ten labels a
scan. Twenty different scans are written and linked under as many names as wanted: the reading is real, the disk stays
small.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from organcam.catalogue import region_labels
from organcam.stages.given_maps import evaluate_given_maps

MODELS, METHODS, GRID, DIFFERENT, PRESENT = ("a", "b", "c"), ("gradcam", "hirescam"), (135, 6, 6), 20, 10


def write_files(folder: Path, scans: int) -> None:
    """Maps, masks and labels of that many scans."""
    rng = np.random.default_rng(0)
    names = np.asarray([label.name for label in region_labels()])
    present = np.zeros((scans, len(names)), int)
    for row in present:
        row[rng.choice(len(names), PRESENT, replace=False)] = 1
    for part in (*(f"maps/{model}" for model in MODELS), "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(scans):
        for part in (*(f"maps/{model}" for model in MODELS), "masks"):
            path = folder / part / f"s{number:05d}.npz"
            if number >= DIFFERENT:
                os.link(folder / part / f"s{number % DIFFERENT:05d}.npz", path)
            elif part == "masks":
                np.savez(path, labels=names, allowed=rng.random((len(names), *GRID)) < 0.4)
            else:
                maps = {method: rng.normal(size=(len(names), *GRID)).astype(np.float32) for method in METHODS}
                np.savez(path, labels=names, scores=rng.normal(size=len(names)), **maps)
    table = pd.DataFrame(present, columns=names)
    table.insert(0, "split", ["valid" if number % 3 == 0 else "test" for number in range(scans)])
    table.insert(0, "scan_id", [f"s{number:05d}" for number in range(scans)])
    table.to_csv(folder / "labels.csv", index=False)


def measure(scans: int) -> None:
    """One evaluation in this process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, scans)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, cpu = time.perf_counter(), time.process_time()
        found, failures = evaluate_given_maps(
            folder / "maps", [folder / "masks"], folder / "labels.csv", folder / "out"
        )
        wall, used = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pairs = len(found.tables["pairs"])
        print(
            f"{scans:6d} scans  {wall:6.1f} s  {used:6.1f} s CPU  +{(peak - before) / 1024:5.0f} MB  {pairs} pairs"
            f"  {len(failures)} failures",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for scans in arguments.scans:
        if arguments.here:
            measure(scans)
        else:  # the peak of memory is that of a process
            subprocess.run([sys.executable, __file__, "--here", "--scans", str(scans)], check=True)
