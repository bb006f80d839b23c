"""Where units run: in this process, in several, or in an engine that an installed package adds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

from ..errors import ConfigError, did_you_mean
from .items import Item, Lost, Result

__all__ = ["Executor", "SerialExecutor", "executor_names", "make_executor"]

ENTRY_POINTS = "organcam.executors"

logger = logging.getLogger(__name__)


@runtime_checkable
class Executor(Protocol):
    """What the runner asks of an engine; it keeps no state of its own about what is done, the sidecars do.

    An executor is a context manager; its workers stay warm between stages and go when it is left.
    """

    name: str
    workers: int

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, timeout: float | None = None
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        """Results in the order in which they are ready.

        Args:
            function: at the top level of a module; does not raise.
            items: taken one by one as workers come free, never all at once.
            timeout: seconds an item may take.

        Yields:
            The item, with its result or what became of it. Closing the generator abandons what is being worked on.
        """

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error: object) -> None: ...


class SerialExecutor(AbstractContextManager["SerialExecutor"]):
    """One item after the other in this process: for debuggers and small jobs.

    A crash of native code ends the run (which can be resumed), and a timeout cannot be kept.
    """

    name = "serial"
    workers = 1

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, timeout: float | None = None
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        """See ``Executor.run``; a ``timeout`` is not kept, and that is logged."""
        if timeout is not None:
            logger.warning("the serial executor cannot keep a timeout (%g s asked for)", timeout)
        for item in items:
            yield item, function(item)

    def __exit__(self, *error: object) -> None:
        return None


def make_executor(name: str, workers: int = 1, **options: Any) -> Executor:
    """An executor by name.

    Args:
        name: ``serial``, ``processes``, ``dask``, or one that an installed package offers as entry point
            ``organcam.executors`` (a callable ``(workers, **options) -> Executor``).
        workers: number of processes, at least 1.
        options: ``memory_gb`` a worker for ``processes`` and ``dask``, ``scheduler`` for ``dask``; for executors of
            other packages what they take.

    Raises:
        ConfigError: if there is no such executor or the number of workers is below 1.
    """
    if workers < 1:
        msg = f"workers must be 1 or more, got {workers}"
        raise ConfigError(msg)
    if name == "serial":
        return SerialExecutor()
    if name == "processes":
        from .processes import ProcessExecutor  # noqa: PLC0415 - not needed by a serial run

        return ProcessExecutor(workers, **options)
    if name == "dask":
        from .dask_cluster import DaskExecutor  # noqa: PLC0415 - an extra

        return DaskExecutor(workers, **options)
    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        msg = f"there is no executor {name!r}; {did_you_mean(name, executor_names())}"
        raise ConfigError(msg)
    executor: Executor = found[0].load()(workers, **options)
    return executor


def executor_names() -> tuple[str, ...]:
    """All executors that can be named, those of installed packages included."""
    return tuple(sorted({"dask", "serial", "processes", *(entry.name for entry in entry_points(group=ENTRY_POINTS))}))
