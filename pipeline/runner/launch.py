"""What torchrun tells each of the processes that it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import ConfigError

__all__ = ["Launch", "torchrun_launch"]

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """One process among several.

    Attributes:
        rank: its number; process 0 leads.
        size: how many there are, on all machines.
        local_rank: its number on its own machine, which is that of its GPU.
        address: of process 0, host and port.
    """

    rank: int
    size: int
    local_rank: int
    address: str


def torchrun_launch() -> Launch | None:
    """The place of this process; None where it runs alone.

    Raises:
        ConfigError: if the variables of the environment do not go together.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return None
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        msg = f"WORLD_SIZE is set and {', '.join(missing)} not: start with torchrun, which sets them all, or unset it"
        raise ConfigError(msg)
    rank, size, local = (_number(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if rank >= size:
        msg = f"RANK={rank} of WORLD_SIZE={size}: the processes are numbered from 0 to {size - 1}"
        raise ConfigError(msg)
    return Launch(rank, size, local, f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}")


def _number(name: str) -> int:
    text = os.environ.setdefault(name, "0")  # LOCAL_RANK, where another launcher starts one process a machine
    if not text.isdecimal():
        msg = f"{name}={text} is no number; torchrun sets it"
        raise ConfigError(msg)
    return int(text)
