"""Report tables in, label tables out: CSV files with any id and text columns, streamed row by row."""

from __future__ import annotations

import csv
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from organcam.errors import ConfigError, DataError, did_you_mean

from ..language.vocabulary import Vocabulary, load_vocabulary
from .findings import ParsedReport
from .parser import ReportParser
from .sections import load_sections
from .spreading import Spread

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["find_columns", "known_layout", "parse_table", "read_label_table", "read_rows"]

_MISSING = frozenset(("", "not given.", "not given", "nan", "none.", "n/a"))

# Id column and text columns of data sets whose report files are known.
_LAYOUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CT-RATE reports": ("VolumeName", ("ClinicalInformation_EN", "Technique_EN", "Findings_EN", "Impressions_EN")),
    "CT-RATE text classifier": ("AccessionNo", ("report_text",)),
    "OpenI": ("filename", ("indication", "comparison", "findings", "impression")),
    "organcam": ("scan_id", ("report_text",)),
}


def known_layout(columns: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Id and text columns of a report file in a known layout (CT-RATE, OpenI, ours), or None."""
    for identity, texts in _LAYOUTS.values():
        if identity in columns and all(text in columns for text in texts):
            return identity, texts
    return None


def read_rows(source: str | Path | pd.DataFrame | Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Rows of a CSV file (comma, semicolon or tab; UTF-8), a data frame, or any iterable of mappings.

    Raises:
        DataError: if the file cannot be read or has no header.
    """
    if isinstance(source, (str, Path)):
        yield from _read_csv(Path(source))
    elif hasattr(source, "itertuples") and hasattr(source, "columns"):
        names = [str(name) for name in source.columns]
        yield from (dict(zip(names, row, strict=True)) for row in source.itertuples(index=False, name=None))
    else:
        yield from source


def parse_table(
    source: str | Path | pd.DataFrame | Iterable[Mapping[str, Any]],
    id_column: str | None = None,
    text_columns: Sequence[str] | None = None,
    *,
    vocabulary: str | Path | Vocabulary | ReportParser = "chest_ct",
    spread: Spread | None = None,
) -> Iterator[tuple[str, ParsedReport]]:
    """Parsed reports of a table, in its order; no row is lost.

    A row without a usable report, or with an id that came before, still gives a report, with its ``reason``; a
    repeated id is told apart by ``#2``, ``#3`` ...

    Args:
        source: path of a CSV file, a data frame, or an iterable of rows.
        id_column: column of the report ids; found by itself in files of CT-RATE, OpenI and this project.
        text_columns: columns of the text, joined by blank lines in this order; a column named as a section
            ("Impressions_EN", "indication") is read as that section.
        vocabulary: name, path, loaded vocabulary, or a parser.
        spread: ``Executor.run`` of :mod:`organcam.runner`, which parses in its processes; None parses in this one.

    Yields:
        ``(report_id, parsed report)``.

    Raises:
        DataError: if the file cannot be read or a column is missing.
        ConfigError: for a bad vocabulary.
    """
    parser = vocabulary if isinstance(vocabulary, ReportParser) else ReportParser(vocabulary)
    rows = iter(read_rows(source))
    first = next(rows, None)
    if first is None:
        return
    identity, texts = _columns([str(key) for key in first], id_column, text_columns)
    headings = load_sections(parser.vocabulary.language).headings
    sections = [headings.get(" ".join(column.lower().replace("_", " ").split()), "") for column in texts]
    names: deque[tuple[str, str]] = deque()  # of the reports that are being read

    def parts() -> Iterator[list[tuple[str, object]]]:
        known = _Ids()
        for row in chain((first,), rows):
            names.append(known.name(row.get(identity)))
            yield [(section, _text(row.get(column))) for section, column in zip(sections, texts, strict=True)]

    for report in parser.parse_many(parts(), spread):
        name, reason = names.popleft()
        yield name, report.with_reason(reason) if reason else report


class _Ids:
    """Names for the rows of a table; of the ids seen, only their hashes are kept."""

    def __init__(self) -> None:
        self._rows = 0
        self._seen: set[int] = set()
        self._repeated: dict[str, int] = {}

    def name(self, raw: object) -> tuple[str, str]:
        """The name of the next row, and what is wrong with its id."""
        self._rows += 1
        name = "" if raw is None or (isinstance(raw, float) and isnan(raw)) else str(raw).strip()
        reason = "" if name else "no report id"
        name = name or f"row {self._rows}"
        given = name
        while hash(name) in self._seen:
            self._repeated[given] = self._repeated.get(given, 1) + 1
            name, reason = f"{given}#{self._repeated[given]}", f"the id {given!r} appears more than once"
        self._seen.add(hash(name))
        return name, reason


def _text(value: object) -> object:
    return "" if isinstance(value, str) and value.strip().lower() in _MISSING else value


def find_columns(
    path: str | Path, id_column: str | None = None, text_columns: Sequence[str] | None = None
) -> tuple[str, tuple[str, ...]]:
    """Id and text columns of a report file, from its first line; those not given are known for some data sets.

    Raises:
        DataError: if the file cannot be read or a column is missing.
        ConfigError: if the columns are not given and the layout is no known one.
    """
    with _open_csv(Path(path)) as reader:
        header = list(reader.fieldnames or ())
    return _columns(header, id_column, text_columns)


def _columns(
    header: Sequence[str], id_column: str | None, text_columns: Sequence[str] | None
) -> tuple[str, tuple[str, ...]]:
    known = known_layout(header)
    identity = id_column or (known[0] if known else None)
    texts = tuple(text_columns) if text_columns else (known[1] if known else ())
    if identity is None or not texts:
        msg = f"the layout is not a known one: name the id column and the text columns out of {', '.join(header)}"
        raise ConfigError(msg)
    for column in (identity, *texts):
        if column not in header:
            msg = f"the table has no column {column!r}; {did_you_mean(column, header)}"
            raise DataError(msg)
    return identity, texts


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with _open_csv(path) as reader:
        yield from reader


@contextmanager
def _open_csv(path: Path) -> Iterator[csv.DictReader[str]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as table:
            head = table.readline()
            if not head.strip():
                msg = f"{path}: the first line must hold the column names, got an empty line"
                raise DataError(msg)
            table.seek(0)
            delimiter = max(",;\t", key=head.count)
            yield csv.DictReader((line.replace("\0", "") for line in table), delimiter=delimiter, restkey="")
    except (OSError, csv.Error) as error:
        msg = f"{path}: cannot be read as a table ({error})"
        raise DataError(msg) from error


def read_label_table(path: str | Path, vocabulary: str | Path | Vocabulary = "chest_ct") -> pd.DataFrame:
    """A label file in RAD-ChestCT's form: 0/1 columns ``abnormality*location``, the id first.

    Reads RAD-ChestCT's own files (``imgtrain_Abnormality_and_Location_Labels.csv``, id ``NoteAcc_DEID``; its
    ``other_path`` is our ``other_disease``) and the ``labels_by_location.csv`` that :func:`write_outputs` writes.

    Args:
        path: the CSV file.
        vocabulary: whose labels and locations the columns must be.

    Returns:
        uint8 table, index ``report_id``, columns in the file's order.

    Raises:
        DataError: if it cannot be read, has repeated ids, unknown columns, or values other than 0 and 1.
    """
    import pandas as pd  # noqa: PLC0415 (slower to import than the parser takes to start)

    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    try:
        table = pd.read_csv(path, index_col=0, dtype={0: str})
    except (OSError, ValueError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as a label table ({' '.join(str(error).split())})"
        raise DataError(msg) from error
    table.columns = [str(column).replace("other_path*", "other_disease*") for column in table.columns]
    known = {f"{label}*{location}" for label in words.labels for location in words.locations}
    for column in table.columns:
        if column not in known:
            msg = f"{path}: the column {column!r} is no abnormality*location of the vocabulary {words.name}"
            raise DataError(msg)
    if table.index.hasnans or not table.columns.is_unique:
        msg = f"{path}: a row has no id, or a column appears more than once"
        raise DataError(msg)
    if not table.index.is_unique:
        msg = f"{path}: the id {table.index[table.index.duplicated()][0]!r} appears more than once"
        raise DataError(msg)
    if not table.isin((0, 1)).to_numpy().all():
        msg = f"{path}: holds values other than 0 and 1"
        raise DataError(msg)
    return table.astype("uint8").rename_axis("report_id")
