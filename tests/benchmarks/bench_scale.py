"""What the runner itself costs with many scans: the start, a unit, a run with nothing to do, memory of the driver.

``python tests/benchmarks/bench_scale.py --scans 36000 --workers 2``: so many tiny NIfTI files go through the ingest
stage, whose work on each is next to nothing. Prints seconds until the first unit is over, milliseconds of processor
time a unit (the work and all that is beside it), seconds of the same run again, and megabytes of the driver after it.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from organcam.runner import SilentProgress
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow


class FirstUnit(SilentProgress):
    """Notes when the first unit is over."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seconds = 0.0

    def advance(self, stage: str, done: int, total: int, failed: int) -> None:
        if done and not self.seconds:
            self.seconds = time.perf_counter() - self.started


def write_scans(folder: Path, count: int) -> None:
    """Copies of one file in folders of patients, three scans each."""
    first = folder / "p0" / "scan0.nii.gz"
    first.parent.mkdir(parents=True)
    values = np.random.default_rng(0).integers(-1000, 200, (6, 6, 6)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([-2.0, -2.0, 2.0, 1.0])), first)
    for number in range(1, count):
        place = folder / f"p{number // 3}"
        place.mkdir(exist_ok=True)
        shutil.copyfile(first, place / f"scan{number}.nii.gz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=36_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--executor", default="processes")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="organcam-bench-") as folder:
        data, out = Path(folder) / "data", Path(folder) / "out"
        write_scans(data, chosen.scans)
        workflow = parse_workflow({"data": {"images": str(data)}})
        options = {"stages": ["ingest"], "executor": chosen.executor, "workers": chosen.workers}
        first = FirstUnit()
        started, before = time.perf_counter(), os.times()
        run_workflow(workflow, out, progress=first, **options)
        whole, after = time.perf_counter() - started, os.times()
        cpu = 1000 * (sum(after[:4]) - sum(before[:4])) / chosen.scans
        started, before = time.perf_counter(), os.times()
        run_workflow(workflow, out, **options)
        again, after = time.perf_counter() - started, os.times()
        again_cpu = sum(after[:4]) - sum(before[:4])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    engine = f"{chosen.workers} {chosen.executor}"
    print(f"{chosen.scans} scans, {engine}: first unit after {first.seconds:.1f} s, all after {whole:.1f} s")
    print(f"{cpu:.1f} ms of processor time a unit, all processes; again {again:.1f} s ({again_cpu:.1f} s of it)")
    print(f"driver {peak:.0f} MB")


if __name__ == "__main__":
    main()
