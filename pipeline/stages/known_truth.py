"""The user's tables of known findings, organs and interventions, looked at before anything is computed.

They are used by the last stages; a name that nothing has, or a mask that is not there, is told before the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from ..catalogue import abnormalities, locations
from ..config import Workflow
from ..data.boxes import read_known_places
from ..data.discover import read_table
from ..errors import OrganCamError, did_you_mean
from .interventions import COLUMNS as INTERVENTION_COLUMNS
from .lesions import COLUMNS as LESION_COLUMNS
from .organ_truth import COLUMNS as ORGAN_COLUMNS
from .targets import legal_labels, nearest_label

__all__ = ["table_problems"]


def table_problems(workflow: Workflow) -> Iterator[str]:
    """The first mistake of each table, with its line; a table that is not set is passed over."""
    data = workflow.data
    for key, path, look in (
        ("data.lesions", data.lesions, partial(_places, workflow=workflow) if workflow.of_images else _lesions),
        ("data.organs", data.organs, _organs),
        ("data.interventions", data.interventions, lambda path: _interventions(path, workflow)),
    ):
        if path is not None:
            try:
                problem = next(look(path), None)
            except OrganCamError as error:
                yield str(error)
            else:
                if problem is not None:
                    yield f"{key}: {path}, {problem}"


def _rows(table: pd.DataFrame) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with the number of their line; the header is the first."""
    for line, row in enumerate(table.to_dict("records"), start=2):
        yield line, {str(key): value for key, value in row.items()}


def _lesions(path: Path) -> Iterator[str]:
    known = [entry.name for entry in abnormalities()]
    legal = [entry.name for entry in locations()]
    for line, row in _rows(read_table(path, LESION_COLUMNS, "data.lesions")):
        if not row["value"].isascii() or not row["value"].isdigit() or not 1 <= int(row["value"][:6]) < 2**16:
            yield f"line {line}: value '{row['value'][:20]}' is no whole number from 1 to 65535"
        if row["location"] and row["abnormality"] not in known:
            yield f"line {line}: unknown abnormality '{row['abnormality']}', {did_you_mean(row['abnormality'], known)}"
        if row["location"] and row["location"] not in legal:
            yield f"line {line}: unknown location '{row['location']}', {did_you_mean(row['location'], legal)}"
        yield from _missing(path, line, row["mask"])


def _places(path: Path, workflow: Workflow) -> Iterator[str]:
    """A label of the boxes that no image can have; a box that is none is told as it is read."""
    legal = legal_labels(workflow)
    for label in read_known_places(path).labels:
        if legal and label not in legal:
            yield f"unknown label '{label}': {did_you_mean(label, legal)}"


def _organs(path: Path) -> Iterator[str]:
    seen = set()
    for line, row in _rows(read_table(path, ORGAN_COLUMNS, "data.organs")):
        if row["scan_id"] in seen:
            yield f"line {line}: scan id '{row['scan_id']}' occurs twice"
        seen.add(row["scan_id"])
        yield from _missing(path, line, row["organs"])


def _interventions(path: Path, workflow: Workflow) -> Iterator[str]:
    legal = legal_labels(workflow)
    for line, row in _rows(read_table(path, INTERVENTION_COLUMNS, "data.interventions")):
        if row["label"] not in legal:
            yield f"line {line}: unknown label '{row['label']}': {nearest_label(row['label'], legal)}"


def _missing(table: Path, line: int, name: str) -> Iterator[str]:
    try:
        there = bool(name) and (table.parent / name).exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        there = False
    if not there:
        yield f"line {line}: no such file: {name[:80]} (paths are relative to the table)"
