"""Run the phantom workflow for seeds 0 to 4 and print what each shows; nothing is chosen on test scans.

    python tests/benchmarks/phantom_seeds.py runs/seeds

A seed that is there already is not run again. About four minutes a seed on two cores.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from organcam.compare import interventions_table, results_table

SEEDS = range(5)


def main(folder: Path) -> None:
    """Run what is missing, then print the tables."""
    runs = [folder / f"seed{seed}" for seed in SEEDS]
    for seed, run in zip(SEEDS, runs, strict=True):
        command = [sys.executable, "-m", "organcam", "run", "phantom", "--out", str(run), "--workers", "2"]
        subprocess.run([*command, "--set", f"seed={seed}", "--set", "report.scans=2"], check=True)
    console = Console(width=120)
    console.print(results_table(runs))
    console.print(interventions_table(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/seeds"))
