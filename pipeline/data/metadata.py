"""CT-RATE's tables of metadata: voxel size, slope and intercept of volumes whose headers are blank."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import DataError
from .discover import read_table
from .formats.described import SUFFIX
from .found import FoundScan
from .readers import without_ending

__all__ = ["described", "read_metadata"]

COLUMNS = ("VolumeName", "RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def read_metadata(paths: Sequence[Path]) -> dict[str, Mapping[str, str]]:
    """Volume name, without its ending, to its row.

    Raises:
        ConfigError: if a table cannot be read or lacks a column.
    """
    rows: dict[str, Mapping[str, str]] = {}
    for path in paths:
        table = read_table(path, COLUMNS, "data.metadata")
        for row in table.astype(str).to_dict("records"):
            rows[without_ending(row["VolumeName"].strip())] = {str(column): cell for column, cell in row.items()}
    return rows


def described(scan: FoundScan, rows: Mapping[str, Mapping[str, str]], folder: Path) -> FoundScan:
    """The scan with what its row says, as a description in ``folder``; unchanged where it has no row.

    Raises:
        DataError: if the row's numbers are none.
    """
    row = rows.get(without_ending(scan.image.name))
    if row is None:
        return scan
    description = {"file": str(scan.image.resolve()), **_numbers(scan, row)}
    text = json.dumps(description)
    path = folder / f"{scan.scan_id}{SUFFIX}"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return replace(scan, image=path)


def _numbers(scan: FoundScan, row: Mapping[str, str]) -> dict[str, Any]:
    plane = [float(number) for number in NUMBER.findall(row["XYSpacing"])]  # "[0.7, 0.7]"
    rest = [NUMBER.fullmatch(row[name].strip()) for name in ("ZSpacing", "RescaleSlope", "RescaleIntercept")]
    if len(plane) != 2 or None in rest:
        named = ", ".join(COLUMNS[1:])
        msg = f"data.metadata: the row of {scan.image.name} has no numbers in one of {named}"
        raise DataError(msg)
    z, slope, intercept = (float(match[0]) for match in rest if match)
    return {"spacing_mm": [*plane, z], "slope": slope, "intercept": intercept}
