"""CPU time of phantom scans, beside that of drawing their noise alone: ``python tests/benchmarks/bench_phantom.py``.

The ratio is what to compare between machines; the noise cannot be left out, so it is the floor.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan, write_scan


def cpu_ms(work: Callable[[], object], repeats: int) -> float:
    """Least CPU milliseconds of several runs: the others were disturbed."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(24, 96, 96))
    parser.add_argument("--scans", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    settings = PhantomSettings(shape=tuple(options.shape), scans={"train": options.scans}, interventions=0)
    specs = plan_dataset(settings)
    draw = np.random.default_rng(0)
    noise = cpu_ms(lambda: draw.standard_normal(settings.shape, np.float32), options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        for spec in specs[:2]:
            write_scan(spec, settings, folder)
        render = np.mean([cpu_ms(lambda s=spec: render_scan(settings, s), options.repeats) for spec in specs])
        both = np.mean([cpu_ms(lambda s=spec: write_scan(s, settings, folder), options.repeats) for spec in specs])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"shape {settings.shape}, {options.scans} scans, least of {options.repeats} runs each, CPU ms per scan")
    for name, value in (("noise alone", noise), ("render", render), ("render and write", both)):
        print(f"{name:<18}{value:10.1f}   {value / noise:6.1f} x noise")
    print(f"peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
