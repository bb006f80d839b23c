"""Units in several processes of this machine, each of which may die without harm to the others.

Every worker is a pool of one process of its own from the standard library. A death then names the unit it struck and
touches no other, whatever the exit code; no lock is shared that a killed process could keep. A pool with shared pipes
(pebble 5.2) was tried first: it waits for ever for a unit that ends its process with exit code 0. The price is 0.4 ms a
unit instead of 0.1 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import connection, parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from ..errors import OrganCamError
from .items import Item, Lost, Result
from .memory import default_limit, limit_memory
from .processors import THREAD_VARIABLES
from .signals import held_back

__all__ = ["ProcessExecutor", "without_ctrl_c"]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 2**31 - 1
START_POLL = 0.05
"""Seconds between looks at a worker that is still starting; its unit's time runs from when it is up."""
SIGNAL_POLL = 0.2
"""Seconds after which a signal held back while waiting ends the wait."""
START_ATTEMPTS = 2


class ProcessExecutor:
    """``workers`` processes with one thread each, started when first needed and kept warm until the executor is left.

    Args:
        workers: number of processes.
        memory_gb: gigabytes each may take; None takes one and a half times its share of the machine. A unit that asks
            for more fails as "out of memory", alone.
    """

    name = "processes"

    def __init__(self, workers: int, memory_gb: float | None = None) -> None:
        self.workers = workers
        most = default_limit(workers) if memory_gb is None else int(memory_gb * 1e9)
        self._workers = [_Worker(most) for _ in range(workers)]

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, timeout: float | None = None
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        """See ``Executor.run``.

        Raises:
            OrganCamError: if the processes cannot start.
        """
        waiting = iter(items)
        idle = self._workers[::-1]
        busy: dict[Future[Result], tuple[_Worker, Item]] = {}
        try:
            while True:
                for item in islice(waiting, len(idle)):
                    with held_back():
                        worker = idle.pop()
                        busy[worker.submit(function, item)] = (worker, item)
                if not busy:
                    return
                with held_back():
                    ended = _wait(busy, timeout)
                for future, lost in ended:
                    worker, item = busy.pop(future)
                    idle.append(worker)
                    if lost is None:
                        with held_back():
                            result = worker.result(future)
                        yield item, result
                    else:
                        yield item, lost
        finally:
            with held_back():
                for worker in self._workers:
                    if worker not in idle:
                        worker.kill()

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        with held_back():
            for worker in self._workers:
                worker.kill()


class _RecordingContext(SpawnContext):
    """Hands the pool its process and keeps it, for its number and exit code."""

    process: SpawnProcess | None = None

    def Process(self, *arguments: Any, **named: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        self.process = SpawnProcess(*arguments, **named)
        return self.process


class _Worker:
    """One process, replaced when it dies."""

    def __init__(self, most_memory: int | None) -> None:
        self._most_memory = most_memory
        self._pool: ProcessPoolExecutor | None = None
        self._context = _RecordingContext()
        self._ready: Future[None] = Future()
        self._since = 0.0
        self._failed_starts = 0

    def submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        try:
            return self._submit(function, item)
        except BrokenProcessPool:  # died while idle, which is nobody's fault
            self.kill()
            return self._submit(function, item)

    def _submit(self, function: Callable[[Item], Result], item: Item) -> Future[Result]:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, mp_context=self._context, initializer=_initialise, initargs=(self._most_memory,)
            )
            with without_ctrl_c():
                self._ready = self._pool.submit(_nothing)
            self._ready.add_done_callback(self._note_start)
        future = self._pool.submit(function, item)
        self._since = time.monotonic()
        return future

    def _note_start(self, _ready: Future[None]) -> None:
        self._since = time.monotonic()

    @property
    def starting(self) -> bool:
        return not self._ready.done()

    @property
    def elapsed(self) -> float:
        """Seconds since the item was handed over, or since the process was up."""
        return 0.0 if self.starting else time.monotonic() - self._since

    def result(self, future: Future[Result]) -> Result | Lost:
        try:
            result = future.result()
        except BrokenProcessPool:
            started = self._ready.exception() is None
            code = self.kill()
        else:
            self._failed_starts = 0
            return result
        self._failed_starts = 0 if started else self._failed_starts + 1
        if self._failed_starts == START_ATTEMPTS:
            msg = (
                f"worker processes cannot start ({_ending(code)}); a script that runs stages in processes must do so "
                'under `if __name__ == "__main__":`'
            )
            raise OrganCamError(msg)
        return Lost("crash", f"its worker process died ({_ending(code)})")

    def kill(self) -> int | None:
        """End the process at once, whatever it does; returns its exit code."""
        pool, process = self._pool, self._context.process
        self._pool = self._context.process = None
        if pool is None:
            return None
        if process is not None and process.is_alive():
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        return process.exitcode if process is not None else None


def _wait(
    busy: dict[Future[Result], tuple[_Worker, Any]], timeout: float | None
) -> list[tuple[Future[Result], Lost | None]]:
    """Futures that are ready, and those whose time is over with what to say about it; none after `SIGNAL_POLL`."""
    patience = SIGNAL_POLL
    if timeout is not None:
        left = [START_POLL if worker.starting else timeout - worker.elapsed for worker, _ in busy.values()]
        patience = max(0.0, min(patience, *left))
    done = wait(busy, timeout=patience, return_when=FIRST_COMPLETED).done
    ended: list[tuple[Future[Result], Lost | None]] = [(future, None) for future in done]
    if timeout is not None:
        for future, (worker, _) in busy.items():
            if future not in done and worker.elapsed >= timeout:
                worker.kill()
                ended.append((future, Lost("timeout", f"took longer than {timeout:g} s")))
    return ended


def _ending(code: int | None) -> str:
    if code is None:
        return "exit code unknown"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hints = {"SIGKILL": "killed, perhaps for want of memory", "SIGSEGV": "segmentation fault in native code"}
    return f"{name}: {hints[name]}" if name in hints else name


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Processes started in the block never see Ctrl-C, not even while they start, where it would print a traceback."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing() -> None:
    """The first task of every worker: whether it starts at all."""


def _initialise(most_memory: int | None) -> None:
    """In the worker, before anything of a stage is imported."""
    limit_memory(most_memory)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # reaches the whole process group; the parent ends its workers
    for variable in THREAD_VARIABLES:
        os.environ[variable] = "1"
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    _keep_memory()
    threading.Thread(target=_follow_parent, daemon=True).start()


def _keep_memory() -> None:
    """Let glibc keep what is freed: arrays of megabytes come and go with every batch, and each return of their pages to
    the system costs as much as filling them anew (a sixth of the phantom's training)."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in musl
        if mallopt is not None:
            mallopt(M_TRIM_THRESHOLD, LARGEST)
            mallopt(M_MMAP_THRESHOLD, LARGEST)


def _follow_parent() -> None:
    """End with the parent: after a kill -9 of it alone, its workers must not write beside those of the next run."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
