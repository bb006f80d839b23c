"""failures.csv: every scan that a stage could not do, and why."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast, get_args

from ..spreadsheet import as_text, from_text
from .atomic import write_text_atomic
from .shards import Shard
from .unit import Failure, FailureKind

__all__ = ["read_failures", "write_failures"]

COLUMNS = ("stage", "scan_id", "kind", "reason")

_SHARD_FILE = re.compile(r"failures-\d+of\d+\.csv")


def read_failures(root: str | Path) -> list[Failure]:
    """All rows of a run, those of its shards included, ordered by stage and scan."""
    return _ordered(failure for path in _files(Path(root)) for failure in _read(path))


def write_failures(root: str | Path, stage: str, failed: Iterable[Failure], shard: Shard | None = None) -> Path:
    """Replace a stage's rows by those of its latest run, so that what went well meanwhile disappears.

    A shard writes ``failures-<i>of<n>.csv`` and touches no other. A run without shards takes over the rows of earlier
    shards and removes their files: started after the last shard, with everything done, it collects them.

    Args:
        root: the run's folder.
        stage: whose rows are replaced.
        failed: of that stage in this run.
        shard: if this run is one.

    Returns:
        The file written.
    """
    root = Path(root)
    path = root / f"failures{shard.suffix if shard else ''}.csv"
    sources = _files(root) if shard is None else [path]
    kept = [failure for source in sources for failure in _read(source) if failure.stage != stage]
    _write(path, _ordered([*kept, *failed]))
    for source in sources:
        if source != path:
            source.unlink()
    return path


def _files(root: Path) -> list[Path]:
    shards = sorted(path for path in root.glob("failures-*.csv") if _SHARD_FILE.fullmatch(path.name))
    whole = root / "failures.csv"
    return [whole, *shards] if whole.exists() else shards


def _ordered(failures: Iterable[Failure]) -> list[Failure]:
    """By stage and scan, every row once. A scan may have several in one stage: unreadable, and without a report."""
    return sorted(set(failures), key=lambda failure: (failure.stage, failure.id, failure.kind, failure.reason))


def _read(path: Path) -> list[Failure]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").replace("\0", "")
    except FileNotFoundError:
        return []
    table = csv.DictReader(io.StringIO(text), restval="")
    rows = [row for row in table if set(COLUMNS) <= row.keys()]
    rows = [{key: from_text(row[key]) for key in COLUMNS} for row in rows]
    return [Failure(row["stage"], row["scan_id"], row["reason"], _kind(row["kind"])) for row in rows]


def _kind(text: str) -> FailureKind:
    return cast(FailureKind, text) if text in get_args(FailureKind) else "internal"


def _write(path: Path, failures: list[Failure]) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(map(as_text, (one.stage, one.id, one.kind, one.reason)) for one in failures)
    write_text_atomic(path, text.getvalue())
