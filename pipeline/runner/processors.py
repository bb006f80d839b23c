"""How many processors this process may use: a container's share, not the machine's number."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["THREAD_VARIABLES", "available_processors", "limit_threads"]

CGROUP = Path("/sys/fs/cgroup")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLOSC_NTHREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
"""Where libraries look for how many threads to start."""


def limit_threads() -> None:
    """Before libraries are loaded: no more threads than processors, where the machine has more than this process may
    use and nobody has said how many."""
    allowed = available_processors()
    if allowed < (os.cpu_count() or 1):
        for variable in THREAD_VARIABLES:
            os.environ.setdefault(variable, str(allowed))


def available_processors(cgroup: Path = CGROUP) -> int:
    """Processors by affinity and by the quota of the control group (version 2 or 1), whichever is less; at least 1.

    Schedulers of clusters bind jobs to processors, containers get a share of time; ``os.cpu_count`` knows of neither,
    and a library that starts as many threads as it says waits for itself.

    Args:
        cgroup: where the system tells of control groups.
    """
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _quota(cgroup)
    return max(1, here if share is None else min(here, math.ceil(share)))


def _quota(cgroup: Path) -> float | None:
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None
