"""How schedulers know a training that only has to be started again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ..runner import Interrupted

__all__ = ["EXIT_TO_GO_ON", "to_go_on"]

EXIT_TO_GO_ON = 75
"""Of a run that SIGTERM stopped while it trained: everything is saved, the same command goes on (EX_TEMPFAIL)."""


@contextmanager
def to_go_on() -> Iterator[None]:
    """Give SIGTERM, by which schedulers take a machine back, that exit code inside the block."""
    try:
        yield
    except Interrupted as stopped:
        if stopped.number == signal.SIGTERM:
            stopped.exit_code = EXIT_TO_GO_ON
        raise
