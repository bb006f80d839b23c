"""Finding the scans and reports that a workflow's ``data`` section names, before anything heavy is read."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from organcam.nlp import known_layout

from ..config import DataConfig
from ..errors import ConfigError, DataError, did_you_mean
from .folders import IdRule, scans_of_folder
from .found import Finds, FoundScan
from .image_folders import images_of_folder
from .label_files import label_ids
from .readers import volume_suffix
from .series import Choice

__all__ = [
    "find_scans",
    "look_for_scans",
    "paired_id",
    "read_reports",
    "read_table",
    "report_columns",
    "reports_of",
    "scans_of",
    "unique_report",
]

HEAD = 1 << 16
MOST_NULS = 0.001
"""Share of NUL bytes in a table's head above which it is no text; a stray one in a report is dropped."""
MOST_NAMED = 10


def look_for_scans(
    images: Path | Sequence[Path],
    id_column: str = "scan_id",
    image_column: str = "image",
    *,
    ids: IdRule = "path",
    series: Choice = "best",
    kind: str = "volumes",
) -> Finds:
    """All scans of a folder, a list of files, or a CSV, and what is passed over.

    Args:
        images: a folder (volume files and DICOM series at any depth, see `scans_of_folder`), files, or a CSV with
            ``id_column`` and ``image_column`` and optionally ``patient_id``, ``split``, ``report_id``.
        id_column: column of the scan id.
        image_column: column of the image path, relative to the CSV.
        ids: what the ids of a folder's scans are made of.
        series: whether one series of a DICOM study is taken or all.
        kind: ``volumes``, or ``images``: of a folder all 2D image files, see `images_of_folder`.

    Returns:
        Scans in the order of the CSV, or sorted by path.

    Raises:
        ConfigError: if nothing is there, or a column is missing (legal ones are named).
    """
    if not isinstance(images, Path):
        return Finds(tuple(_from_file(Path(image)) for image in images))
    if images.is_dir() and kind == "images":
        return images_of_folder(images)
    if images.is_dir():
        return scans_of_folder(images, ids, series)
    if volume_suffix(images) == ".csv":
        return Finds(tuple(_from_csv(images, id_column, image_column)))
    if images.is_file():
        return Finds((_from_file(images),))
    msg = f"data.images: no such file or folder: {images}"
    raise ConfigError(msg)


def find_scans(
    images: Path | Sequence[Path], id_column: str = "scan_id", image_column: str = "image"
) -> list[FoundScan]:
    """The scans of `look_for_scans` alone.

    Raises:
        ConfigError: as there, or if what is there cannot be used.
    """
    found = look_for_scans(images, id_column, image_column)
    if not found.scans:
        msg = f"data.images: {found.refused[0].path}: {found.refused[0].reason}"
        raise ConfigError(msg)
    return list(found.scans)


def scans_of(data: DataConfig) -> Finds:
    """What ``data.images`` names, as `look_for_scans` finds it, with absolute paths.

    Raises:
        ConfigError: as there, or if it is not set.
    """
    images = data.images
    if images is None:
        msg = "data.images is not set: name a folder, a CSV or a list of files (--set data.images=FOLDER)"
        raise ConfigError(msg)
    places = images.absolute() if isinstance(images, Path) else [Path(image).absolute() for image in images]
    rules: dict[str, Any] = {"ids": data.ids, "series": data.series, "kind": data.kind}
    return look_for_scans(places, data.id_column, data.image_column, **rules)


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
    """The id of a scan's report: as its table says, its own id, or another name of it that a report has.

    CT-RATE's tables name volumes, ``train_1_a_1.nii.gz``; a hospital's reports stand under accession numbers.
    """
    wanted = scan.report_id or scan.scan_id
    others = (f"{scan.scan_id}{volume_suffix(scan.image)}", *scan.also)
    return next((name for name in (wanted, *others) if name in known), wanted)


def reports_of(data: DataConfig) -> dict[str, list[str]]:
    """Ids of the reports, or of the given labels, each with its texts (of a label: an empty one).

    Raises:
        ConfigError: as `read_reports` and `label_ids`.
    """
    if data.reports is not None:
        return read_reports(data.reports, data.report_id_column, data.report_text_columns)
    return {name: [""] for name in label_ids(data.label_files, data.kind)}


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
