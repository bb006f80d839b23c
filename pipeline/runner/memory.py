"""How much memory a worker may take: one scan too large becomes a failed unit, not a machine that stands still.

The limit is on private memory that can be written (``RLIMIT_DATA``, on Linux since 4.7). ``RLIMIT_AS`` counts address
space instead, of which CUDA and large libraries reserve tens of gigabytes without using them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["default_limit", "limit_memory", "out_of_memory"]

LEAST = 4 << 30
"""Bytes that every worker may take: torch, MONAI and a whole chest CT on its way through the segmentation."""
GENEROUS = 1.5
"""Times its share of the machine: not all workers hold their largest scan at once."""
CGROUP = Path("/sys/fs/cgroup/memory.max")


def default_limit(workers: int) -> int | None:
    """Bytes a worker may take when nothing is said; None where the machine's memory is not known."""
    total = _machine_memory()
    return None if total is None else max(LEAST, min(total, int(GENEROUS * total / workers)))


def limit_memory(most: int | None) -> None:
    """Let this process take no more; no effect where the system has no such limit (Windows, macOS)."""
    if most is None or sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 - unix only

    _, highest = resource.getrlimit(resource.RLIMIT_DATA)
    limit = most if highest == resource.RLIM_INFINITY else min(most, highest)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, highest))


def out_of_memory() -> str:
    """What to say when memory was refused in this process."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415

        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if limit != resource.RLIM_INFINITY:
            return f"out of memory (a worker may take {limit / 1e9:.3g} GB: memory_gb)"
    return "out of memory"


def _machine_memory() -> int | None:
    """Bytes of the machine, or of the container that this is."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    try:
        return min(total, int(CGROUP.read_text()))
    except (OSError, ValueError):  # no container, or "max"
        return total
