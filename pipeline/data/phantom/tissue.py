"""Mean HU of tissues and materials, read from ``hounsfield.csv``."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

__all__ = ["hounsfield"]


def hounsfield(tissue: str) -> float:
    """Mean HU of a tissue of the table (120 kV, no contrast medium)."""
    return _table()[tissue]


@cache
def _table() -> dict[str, float]:
    text = (files(__package__) / "hounsfield.csv").read_text(encoding="utf-8")
    return {row["tissue"]: float(row["hu"]) for row in csv.DictReader(text.splitlines())}
