"""Labels given as tables in place of reports: RAD-ChestCT's label files, or a matrix of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..catalogue.tables import OTHER_LOCATION, parse_cell
from ..errors import ConfigError, DataError
from ..spreadsheet import from_text
from .image_labels import image_label_ids, read_image_labels
from .label_csv import read_label_csv
from .readers import without_ending

__all__ = ["label_ids", "read_label_files", "read_label_matrix"]

ROWS = 2000
"""Rows that are checked at a time: 70 MB of RAD-ChestCT's 4,368 columns."""


def read_label_files(paths: Sequence[Path], kind: str = "volumes") -> pd.DataFrame:
    """The rows of all files as one matrix.

    The first column holds ids, of scans or of reports (the ending of a volume file is cut off); every other column is
    an ``abnormality*location`` pair, or an abnormality alone where no place is known, with 0 and 1. RAD-ChestCT's
    ``img{train,valid,test}_Abnormality_and_Location_Labels.csv`` have 84 x 52 such columns. Forms of 2D images' labels
    are those of `read_image_labels`.

    Args:
        paths: CSV files with the same columns.
        kind: of the scans, ``data.kind``.

    Returns:
        uint8 0/1, index the ids, columns ``abnormality*location`` as `organcam.catalogue.targets.region_targets` takes
        them; of images the labels' own names.

    Raises:
        ConfigError: for a missing or unreadable file, a column that is no label, or files with different columns.
        DataError: for a value other than 0 and 1, or an id that occurs twice.
    """
    tables = [read_image_labels(path) if kind == "images" else _read(path) for path in paths]
    for path, table in zip(paths[1:], tables[1:], strict=True):
        if set(table.columns) != set(tables[0].columns):
            other = sorted(set(table.columns) ^ set(tables[0].columns))[0]
            msg = f"data.labels: {paths[0]} and {path} have different columns, such as '{other}'"
            raise ConfigError(msg)
    matrix = pd.concat(tables)
    twice = matrix.index[matrix.index.duplicated()]
    if len(twice):
        where = " and ".join(str(path) for path, table in zip(paths, tables, strict=True) if twice[0] in table.index)
        msg = f"data.labels: id '{twice[0]}' occurs more than once in {where}"
        raise DataError(msg)
    return matrix


def label_ids(paths: Sequence[Path], kind: str = "volumes") -> list[str]:
    """The ids alone, without reading the matrix.

    Raises:
        ConfigError: as `read_label_files`.
    """
    if kind == "images":
        return [name for path in paths for name in image_label_ids(path)]
    return [name for path in paths for name in _ids(read_label_csv(path, usecols=[0], dtype=str))]


def read_label_matrix(path: Path) -> pd.DataFrame:
    """``labels_by_location.csv`` of a run, index the report ids: a byte a cell, for tens of thousands of rows."""
    columns = pd.read_csv(path, nrows=0).columns
    table = pd.read_csv(path, dtype={columns[0]: str, **dict.fromkeys(columns[1:], np.uint8)})
    return table.set_index("report_id").rename(index=from_text)


def _read(path: Path) -> pd.DataFrame:
    header = [str(name) for name in read_label_csv(path, nrows=0, header=0).columns]
    cells = [_cell(path, name) for name in header[1:]]
    if not cells:
        msg = f"data.labels: {path} has no column beside its ids, '{header[0]}'"
        raise ConfigError(msg)
    try:
        kinds = {header[0]: str, **dict.fromkeys(header[1:], np.int64)}
        table = read_label_csv(path, narrow=_as_bytes, dtype=kinds, chunksize=ROWS)
    except (ValueError, OverflowError):  # some value is neither 0 nor 1: find it
        table = read_label_csv(path, dtype=str)
    table = table.set_axis(_ids(table)).drop(columns=header[0]).set_axis(cells, axis=1)
    wrong = ~table.isin((0, 1, "0", "1"))
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        told = f"id '{table.index[row]}' in column '{header[column + 1]}'"
        msg = f"data.labels: {path}: labels must be 0 or 1, found '{table.iloc[row, column]}' for {told}"
        raise DataError(msg)
    return table.astype(np.uint8)


def _cell(path: Path, name: str) -> str:
    try:
        return "*".join(parse_cell(name if "*" in name else f"{name}*{OTHER_LOCATION}"))
    except DataError as error:
        msg = f"data.labels: {path}: {error}"
        raise ConfigError(msg) from None


def _ids(table: pd.DataFrame) -> list[str]:
    return [without_ending(name.strip()) for name in table.iloc[:, 0]]


def _as_bytes(rows: pd.DataFrame) -> pd.DataFrame:
    """The same with a byte a label; read as bytes at once, some versions of pandas take 257 for 1."""
    if not rows.iloc[:, 1:].isin((0, 1)).to_numpy().all():
        msg = "labels must be 0 or 1"
        raise ValueError(msg)
    return rows.astype(dict.fromkeys(rows.columns[1:], np.uint8))
