"""Finding the scans and reports that a workflow's ``data`` section names, before anything heavy is read."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from organcam.nlp import known_layout

from ..config import DataConfig
from ..errors import ConfigError, DataError, did_you_mean
from .ct_rate import ct_rate_scans
from .label_files import label_ids
from .readers import VOLUME_SUFFIXES, is_dicom_folder, volume_suffix

__all__ = [
    "FoundScan",
    "find_scans",
    "paired_id",
    "read_reports",
    "read_table",
    "report_columns",
    "reports_of",
    "unique_report",
]

HEAD = 1 << 16
MOST_NULS = 0.001
"""Share of NUL bytes in a table's head above which it is no text; a stray one in a report is dropped."""
MOST_NAMED = 10


@dataclass(frozen=True)
class FoundScan:
    """A scan as the user's files name it; nothing of it has been checked yet."""

    scan_id: str
    image: Path
    patient_id: str
    split: str = ""
    report_id: str = ""


def find_scans(
    images: Path | Sequence[Path], id_column: str = "scan_id", image_column: str = "image"
) -> list[FoundScan]:
    """All scans of a folder, a list of files, or a CSV.

    Args:
        images: a folder (its volume files; if it has none, CT-RATE's below it, or every folder below it that holds
            DICOM files), files, or a CSV with ``id_column`` and ``image_column`` and optionally ``patient_id``,
            ``split``, ``report_id``.
        id_column: column of the scan id.
        image_column: column of the image path, relative to the CSV.

    Returns:
        Scans in the order of the CSV, or sorted by name.

    Raises:
        ConfigError: if nothing is there, or a column is missing (legal ones are named).
    """
    if not isinstance(images, Path):
        return [_from_file(Path(image)) for image in images]
    if images.is_dir():
        return _from_folder(images)
    if volume_suffix(images) == ".csv":
        return _from_csv(images, id_column, image_column)
    if images.is_file():
        return [_from_file(images)]
    msg = f"data.images: no such file or folder: {images}"
    raise ConfigError(msg)


def report_columns(path: Path, id_column: str | None, text_columns: Sequence[str] | None) -> tuple[str, list[str]]:
    """The id column and text columns of a report table; those not given are known for some data sets.

    Raises:
        ConfigError: if the file or a column is missing, or the table is of no known form.
    """
    return _report_columns(path, read_table(path, [], "data.reports"), id_column, text_columns)


def _report_columns(
    path: Path, table: pd.DataFrame, id_column: str | None, text_columns: Sequence[str] | None
) -> tuple[str, list[str]]:
    found = list(table.columns)
    known = known_layout(found)
    identity = id_column or (known[0] if known else None)
    texts = text_columns or (known[1] if known else None)
    if identity is None or texts is None:
        msg = (
            f"data.reports: {path}: set data.report_id_column and data.report_text_columns; the columns are "
            f"{', '.join(found)}"
        )
        raise ConfigError(msg)
    _require_columns(path, table, [identity, *texts], "data.reports")
    return identity, list(texts)


def read_reports(path: Path, id_column: str | None, text_columns: Sequence[str] | None) -> dict[str, list[str]]:
    """Report texts by id; the list of an id that occurs more than once has more than one text.

    Raises:
        ConfigError: as `report_columns`.
    """
    table = read_table(path, [], "data.reports")
    identity, columns = _report_columns(path, table, id_column, text_columns)
    texts: dict[str, list[str]] = {}
    for row in table.itertuples(index=False):
        values = dict(zip(table.columns, row, strict=True))
        text = "\n".join(values[column] for column in columns if values[column].strip())
        texts.setdefault(values[identity].strip(), []).append(text)
    return texts


def paired_id(scan: FoundScan, known: Collection[str]) -> str:
    """The id of a scan's report: as its table says, or its own id, with the ending of its file where reports have it.

    CT-RATE's tables name volumes, ``train_1_a_1.nii.gz``.
    """
    named = f"{scan.scan_id}{volume_suffix(scan.image)}"
    wanted = scan.report_id or scan.scan_id
    return named if wanted not in known and named in known else wanted


def reports_of(data: DataConfig) -> dict[str, list[str]]:
    """Ids of the reports, or of the given labels, each with its texts (of a label: an empty one).

    Raises:
        ConfigError: as `read_reports` and `label_ids`.
    """
    if data.reports is not None:
        return read_reports(data.reports, data.report_id_column, data.report_text_columns)
    return {name: [""] for name in label_ids(data.label_files)}


def read_table(path: Path, columns: Sequence[str], key: str) -> pd.DataFrame:
    """A table of the user's as strings: CSV with comma, semicolon or tab, as spreadsheets write it.

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        columns: that it must hold.
        key: names the setting in the error.

    Raises:
        ConfigError: if it is missing, no text, empty, lacks a column or has one twice, or if a row is longer than the
            header: values that moved into other columns would be taken for what they are not.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        msg = f"{key}: {reason}: {str(path)[:200]}"
        raise ConfigError(msg) from None
    try:
        names, rows = _cells(content)
    except (DataError, csv.Error) as error:
        msg = f"{key}: {path} is not a readable CSV: {error}"
        raise ConfigError(msg) from None
    table = pd.DataFrame(rows, columns=names, dtype=str)
    table = table.loc[:, [bool(name.strip()) for name in names]]
    _require_columns(path, table, columns, key)
    return table


def _cells(content: bytes) -> tuple[list[str], list[list[str]]]:
    head = content[:HEAD]
    if head.count(0) > len(head) * MOST_NULS or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        msg = "not a text table; save it as CSV in UTF-8"
        raise DataError(msg)
    text = content.decode("utf-8-sig", errors="replace").replace("\0", "").lstrip("\r\n ")
    if not text:
        msg = "the file is empty"
        raise DataError(msg)
    csv.field_size_limit(2**31 - 1)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [name.strip() for name in next(reader)]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        msg = f"the column '{twice[0][:40]}' appears twice"
        raise DataError(msg)
    rows = []
    for row in reader:
        if len(row) > len(names) and any(row[len(names) :]):
            msg = f"line {reader.line_num} has {len(row)} values, the header names {len(names)} columns"
            raise DataError(msg)
        if row:
            rows.append([*row[: len(names)], *[""] * (len(names) - len(row))])
    if text.count('"') % 2 and _is_open(text, delimiter):
        msg = "a quotation mark is never closed"
        raise DataError(msg)
    return names, rows


def _is_open(text: str, delimiter: str) -> bool:
    """Whether a file ends inside a quotation: all rows after the mark would be one value."""
    try:
        deque(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), maxlen=0)
    except csv.Error as error:
        return "end of data" in str(error)
    return False


def _require_columns(path: Path, table: pd.DataFrame, columns: Sequence[str], key: str) -> None:
    missing = [column for column in columns if column not in table.columns]
    if missing:
        found = [str(name)[:40] for name in table.columns[:MOST_NAMED]]
        hints = "; ".join(f"column '{column}' is missing, {did_you_mean(column, found)}" for column in missing)
        msg = f"{key}: {path}: {hints}"
        raise ConfigError(msg)


def _from_folder(folder: Path) -> list[FoundScan]:
    volumes = [file for file in sorted(folder.iterdir()) if file.is_file() and volume_suffix(file) in VOLUME_SUFFIXES]
    if volumes:
        return [_from_file(file) for file in volumes]
    below = sorted(folder.rglob("*"))
    if known := ct_rate_scans(below):
        return [FoundScan(*scan) for scan in known]
    nested = [path for path in below if path.is_dir()]
    scans = [FoundScan(path.name, path, path.name) for path in [folder, *nested] if is_dicom_folder(path)]
    if not scans:
        msg = f"data.images: {folder} holds no volume ({', '.join(VOLUME_SUFFIXES)}) and no DICOM series"
        raise ConfigError(msg)
    return scans


def _from_file(path: Path) -> FoundScan:
    name = path.name[: -len(volume_suffix(path))] if path.is_file() and volume_suffix(path) else path.name
    return FoundScan(name, path, name)


def _from_csv(path: Path, id_column: str, image_column: str) -> list[FoundScan]:
    table = read_table(path, [id_column, image_column], "data.images")
    if table.empty:
        msg = f"data.images: {path} has no row"
        raise ConfigError(msg)
    scans = []
    for row in table.to_dict("records"):
        scan_id = row[id_column].strip()
        image = path.parent / row[image_column] if row[image_column].strip() else Path()
        patient = row.get("patient_id", "").strip() or scan_id
        scans.append(FoundScan(scan_id, image, patient, row.get("split", "").strip(), row.get("report_id", "").strip()))
    return scans


def unique_report(texts: Mapping[str, list[str]], report_id: str) -> str:
    """The text of a report id.

    Raises:
        DataError: if the id occurs more than once with different texts.
    """
    if len(set(texts[report_id])) > 1:
        msg = f"report id {report_id} occurs {len(texts[report_id])} times with different texts"
        raise DataError(msg)
    return texts[report_id][0]
