"""Ctrl-C and SIGTERM end a run in good order: nothing half-written, to be gone on with by the same command."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "held_back", "interruptible", "stop_asked"]

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """The run was told to stop.

    Not an ``OrganCamError``, nor an ``Exception``: what goes on after a failed scan must not go on after this.

    Args:
        number: of the signal.

    Attributes:
        exit_code: 130 for Ctrl-C, 143 for SIGTERM; a stage that saved what it was at may give another one.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command goes on from here")
        self.number = number
        self.exit_code = 128 + number


class _Hold:
    """How many blocks of the main thread hold signals back, and the signal that came in them."""

    depth = 0
    number: int | None = None


class _Watch:
    """The exception that a signal raised, until the block that it must end is left."""

    raised: weakref.ref[Interrupted] | None = None


_hold = _Hold()
_watch = _Watch()

AGAIN_AFTER = 0.05
"""Seconds until a signal whose exception was swallowed raises anew; by then the code that swallowed it is left."""


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal that comes inside the block raise at its end.

    For code that takes locks: an exception between a lock's taking and its ``with`` block leaves it locked for ever.
    Nothing changes outside `interruptible`, or outside the main thread.

    Raises:
        Interrupted: at the end of the outermost block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _hold.depth += 1
    try:
        yield
    finally:
        _hold.depth -= 1
        number = _hold.number
        if number is not None and not _hold.depth:
            _hold.number = None
            raise _watched(number)


def stop_asked() -> bool:
    """Whether a signal waits for the end of `held_back`, for long work that looks for a good moment to end itself."""
    return _hold.number is not None


def _watched(number: int) -> Interrupted:
    """The exception to raise, which comes again if it is swallowed.

    Python ignores what is raised in a finaliser or in the callback of a weak reference (importlib's locks have one);
    the signal would be lost and the run would go on. An exception that was swallowed is freed, which is noticed here.
    """
    stopped = Interrupted(number)
    if hasattr(signal, "setitimer"):
        _watch.raised = weakref.ref(stopped, _swallowed)
    return stopped


def _swallowed(reference: weakref.ref[Interrupted]) -> None:
    if _watch.raised is reference:  # else the block was left
        signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER)


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
        end(number)

    def end(number: int) -> None:
        if _hold.depth:
            _hold.number = number
        else:
            raise _watched(number)

    def again(_number: int, _frame: FrameType | None) -> None:
        if received:
            end(received[0])

    _hold.number = None
    handlers: dict[int, Callable[[int, FrameType | None], None]] = dict.fromkeys(SIGNALS, stop)
    if hasattr(signal, "setitimer"):
        handlers[signal.SIGALRM] = again
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        _watch.raised = None
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
