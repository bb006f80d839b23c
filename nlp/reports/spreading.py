"""Reports over several processes, in order and with flat memory, whatever becomes of a process.

The processes are the caller's: anything like ``Executor.run`` of :mod:`organcam.runner`, which gives results in the
order in which they are ready and something else than a result for what a dead process was working on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import count, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from .findings import ParsedReport

if TYPE_CHECKING:
    from .parser import ReportParser

__all__ = ["Batch", "Spread", "parse_batch", "spread_reports"]

BATCH = 50
"""Reports that go to a process together."""
WINDOW = 64
"""Batches of which all results are awaited before the next are read; what memory holds at most."""


class Batch(NamedTuple):
    """Reports on their way to a process, with their parser, of which a process makes one for all its batches."""

    number: int
    parser: ReportParser
    reports: list[object]


Spread = Callable[[Callable[[Batch], list[ParsedReport]], Iterable[Batch]], Generator[tuple[Batch, Any], None, None]]
"""Applies a function to batches somewhere; yields each batch with its result, or with what became of it instead."""


def parse_batch(batch: Batch) -> list[ParsedReport]:
    """Parse the reports of a batch."""
    return [batch.parser.parse_any(report) for report in batch.reports]


def spread_reports(parser: ReportParser, reports: Iterable[object], spread: Spread) -> Iterator[ParsedReport]:
    """Parsed reports in the order given.

    A batch whose process died is tried again alone; if the process dies again, each of its reports is. A report that
    ends a process by itself gives no findings, and the reason.

    Args:
        parser: parses them.
        reports: anything that ``ReportParser.parse_any`` takes; read a window at a time.
        spread: ``Executor.run`` of :mod:`organcam.runner`, or anything like it.
    """
    stream = iter(reports)
    for number in count(0, WINDOW):
        window = [
            Batch(number + offset, parser, items) for offset in range(WINDOW) if (items := list(islice(stream, BATCH)))
        ]
        if not window:
            return
        done = _results(window, spread)
        for batch in window:
            yield from _again(batch, done.pop(batch.number), spread)


def _results(batches: list[Batch], spread: Spread) -> dict[int, Any]:
    with closing(spread(parse_batch, batches)) as results:
        return {batch.number: result for batch, result in results}


def _again(batch: Batch, result: Any, spread: Spread) -> list[ParsedReport]:
    """The result of a batch; where there is none, after another attempt, and at last one for each of its reports."""
    if isinstance(result, list):
        return result
    result = _results([batch], spread)[batch.number]
    if isinstance(result, list):
        return result
    if len(batch.reports) == 1:
        return [ParsedReport("", (), str(getattr(result, "reason", "its process died")))]
    return [found for report in batch.reports for found in _again(batch._replace(reports=[report]), None, spread)]
