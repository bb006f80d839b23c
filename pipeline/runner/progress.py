"""How far a stage is: a bar in a terminal, a line every few seconds in a log, or nothing.

rich is imported where it is used: worker processes import this package too, and it would be half of their start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

__all__ = ["BarProgress", "LineProgress", "Progress", "SilentProgress", "make_progress"]

LINE_EVERY = 10.0


class Progress(Protocol):
    """What the runner tells about a stage; a context manager around one or more stages."""

    def advance(self, stage: str, done: int, total: int, failed: int) -> None:
        """Report the state of a stage.

        Args:
            stage: its name.
            done: units over, skipped and failed ones included.
            total: units in all.
            failed: those of ``done`` that failed.
        """

    def __enter__(self) -> Progress: ...

    def __exit__(self, *error: object) -> None: ...


class SilentProgress:
    """Says nothing."""

    def advance(self, stage: str, done: int, total: int, failed: int) -> None:
        """See ``Progress.advance``."""

    def __enter__(self) -> SilentProgress:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class LineProgress:
    """One plain line at the end of a stage and every few seconds before; for log files.

    Args:
        write: gets each line.
        clock: seconds that only grow.
        every: seconds between lines of a stage.
    """

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic, every: float = LINE_EVERY
    ) -> None:
        self._write, self._clock, self._every = write, clock, every
        self._last: tuple[str, float] = ("", 0.0)

    def advance(self, stage: str, done: int, total: int, failed: int) -> None:
        """See ``Progress.advance``."""
        now = self._clock()
        if stage != self._last[0]:
            self._last = (stage, now)
        if done == total or now - self._last[1] >= self._every:
            self._last = (stage, now)
            self._write(f"{stage}: {done} of {total}" + (f", {failed} failed" if failed else ""))

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *error: object) -> None:
        return None


class BarProgress:
    """A bar that goes when its stage is over, leaving one line.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._console = console
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._stage = ""

    def advance(self, stage: str, done: int, total: int, failed: int) -> None:
        """See ``Progress.advance``."""
        failures = f"{failed} failed" if failed else ""
        if self._task is None or stage != self._stage:
            self._forget()
            self._stage, self._task = stage, self._bar.add_task(stage, total=total, failures=failures)
        self._bar.update(self._task, completed=done, total=total, failures=failures)
        if done == total:
            self._forget()
            self._console.print(f"{stage}: {done} of {total}" + (f", {failures}" if failures else ""), highlight=False)

    def _forget(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._stage, self._task = "", None

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()


def make_progress(console: Console | None = None, *, quiet: bool = False) -> Progress:
    """The progress that suits where it is shown.

    Args:
        console: where to; standard error by default, so that standard output stays clean.
        quiet: show nothing.
    """
    if quiet:
        return SilentProgress()
    if console is None:
        from rich.console import Console  # noqa: PLC0415

        console = Console(stderr=True)
    if console.is_terminal:
        return BarProgress(console)
    return LineProgress(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
