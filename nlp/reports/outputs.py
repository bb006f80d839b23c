"""The label files of a corpus, written as the reports come: findings, labels, labels by location, a label profile."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import StringIO
from pathlib import Path
from typing import TextIO

from organcam.errors import ConfigError
from organcam.spreadsheet import as_text

from ..language.vocabulary import Vocabulary, load_vocabulary
from .findings import FINDING_COLUMNS, ParsedReport
from .policy import Policy, cells, grid_cells, positive_statuses
from .profiles import Profile, load_profile

__all__ = ["check_labels", "write_outputs"]

REPORT_COLUMNS = ("report_id", "characters", "findings", "conflicts", "reason")


def write_outputs(
    reports: Iterable[tuple[str, ParsedReport]],
    out: str | Path,
    *,
    vocabulary: str | Path | Vocabulary = "chest_ct",
    uncertain: Policy | None = None,
    historical: Policy = "negative",
    labels: str | None = None,
) -> dict[str, int]:
    """Write the label files of a stream of parsed reports; memory does not grow with their number.

    Files: ``findings.csv`` (a row per mention and location), ``labels.csv`` (a 0/1 column per label),
    ``labels_by_location.csv`` (a column ``abnormality*location`` per pair, lobes rolled up), ``reports.csv`` (a row
    per report with its number of findings, its conflicts and the reason where it could not be read), and with a
    profile ``<profile>.csv``. Each appears under its name only when complete.

    Args:
        reports: pairs of report id and parsed report, as :func:`parse_table` yields them.
        out: folder, made if missing.
        vocabulary: the one the reports were parsed with.
        uncertain: whether an uncertain mention counts as positive; None for the vocabulary's own habit.
        historical: whether a mention of the past counts as positive.
        labels: name of a label profile (``ct_rate``), or None.

    Returns:
        Counts: ``reports``, ``findings``, ``problems`` (reports with a reason), ``conflicts``.

    Raises:
        ConfigError: for a bad policy or profile, or a profile that belongs to another vocabulary.
    """
    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    profile = check_labels(labels, words) if labels else None
    uncertain = uncertain or words.uncertain  # type: ignore[assignment]
    positive_statuses(str(uncertain), historical)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"reports": 0, "findings": 0, "problems": 0, "conflicts": 0}
    with ExitStack() as stack:
        findings = stack.enter_context(_table(folder / "findings.csv", ("report_id", *FINDING_COLUMNS)))
        flat = stack.enter_context(_table(folder / "labels.csv", ("report_id", *words.labels)))
        names = [f"{label}*{location}" for label in words.labels for location in words.locations]
        grid = stack.enter_context(_table(folder / "labels_by_location.csv", ("report_id", *names)))
        row_of = _GridRow(words)
        status = stack.enter_context(_table(folder / "reports.csv", REPORT_COLUMNS))
        own = (
            stack.enter_context(_table(folder / f"{profile.name}.csv", (profile.id_column, *profile.rules)))
            if profile
            else None
        )
        for name, report in reports:
            for finding in report.findings:
                findings.row((name, *finding[: len(FINDING_COLUMNS)]))
            positive = cells(report, str(uncertain), historical)
            there = {abnormality for abnormality, _ in positive}
            flat.row((name, *[int(label in there) for label in words.labels]))
            grid.ready_row(name, row_of(grid_cells(report, words, str(uncertain), historical)))
            conflicts = "; ".join(f"{c.abnormality}: {c.findings} / {c.impression}" for c in report.conflicts)
            status.row((name, len(report.text), len(report.findings), conflicts, report.reason))
            if profile is not None and own is not None:
                own.row((name, *profile.labels(report, str(uncertain), historical).values()))
            counts["reports"] += 1
            counts["findings"] += len(report.findings)
            counts["problems"] += bool(report.reason)
            counts["conflicts"] += len(report.conflicts)
    return counts


def check_labels(labels: str, vocabulary: str | Path | Vocabulary) -> Profile:
    """The label profile of a name, if a vocabulary has what its rules speak of.

    Raises:
        ConfigError: if the profile is unknown or belongs to another vocabulary.
    """
    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    profile = load_profile(labels)
    if not profile.abnormalities <= set(words.labels):
        msg = f"the label profile {profile.name} needs a vocabulary that extends {profile.vocabulary}, got {words.name}"
        raise ConfigError(msg)
    return profile


class _GridRow:
    """Rows of ``labels_by_location.csv`` as text: thousands of 0 and 1, of which hardly any is 1."""

    def __init__(self, words: Vocabulary) -> None:
        width = len(words.locations)
        self._rows = {label: number * width for number, label in enumerate(words.labels)}
        self._columns = {location: number for number, location in enumerate(words.locations)}
        self._zeros = b",0" * (len(self._rows) * width)

    def __call__(self, positive: Iterable[tuple[str, str]]) -> str:
        values = bytearray(self._zeros)
        for abnormality, location in positive:
            values[2 * (self._rows[abnormality] + self._columns[location]) + 1] = _ONE
        return values.decode("ascii")


_ONE = ord("1")


@contextmanager
def _table(path: Path, header: Sequence[str]) -> Iterator[_Table]:
    """A CSV table on a temporary name that becomes the file when all went well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            table = _Table(stream)
            table.row(header)
            yield table
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Table:
    """A CSV table that is being written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = csv.writer(stream)
        self._cell = StringIO()

    def row(self, values: Iterable[object]) -> None:
        """Write a row."""
        self._writer.writerow([as_text(value) if isinstance(value, str) else value for value in values])

    def ready_row(self, first: str, rest: str) -> None:
        """Write a row whose first cell needs quoting and whose others are text already, commas included."""
        self._cell.seek(0)
        self._cell.truncate()
        csv.writer(self._cell, lineterminator="").writerow((as_text(first),))
        self._stream.write(f"{self._cell.getvalue()}{rest}\r\n")
