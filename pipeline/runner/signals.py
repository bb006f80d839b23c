"""Ctrl-C and SIGTERM end a run in good order: nothing half-written, to be gone on with by the same command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "interruptible"]

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """The run was told to stop.

    Not an ``OrganCamError``, nor an ``Exception``: what goes on after a failed scan must not go on after this.

    Args:
        number: of the signal.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on from here")
        self.number = number
        self.exit_code = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into ``Interrupted`` inside the block.

    The first signal raises, which ends the workers on the way out; a second one, for those who cannot wait, ends
    workers and process at once. Outside the main thread, where signals cannot be caught, the block changes nothing.

    Raises:
        Interrupted: in the main thread, wherever it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(128 + number)
        raise Interrupted(number)

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
