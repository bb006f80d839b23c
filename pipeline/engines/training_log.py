"""One row an epoch of what training did, kept in the checkpoint so that a resumed run writes the same metrics.csv."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

__all__ = ["TrainingLog"]


class TrainingLog:
    """Rows of plain numbers; a checkpointable object (``state_dict``)."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def add(self, **values: float) -> None:
        """Append one epoch; numbers become Python floats, which a weights-only checkpoint can hold."""
        self.rows.append({key: float(value) for key, value in values.items()})

    def best(self, column: str, highest: bool = False) -> int | None:
        """Index of the row with the lowest (or highest) value of a column, the earliest of equals.

        A value that is NaN or infinite is worse than any number; None where no row has a number.
        """
        rows = [index for index, row in enumerate(self.rows) if math.isfinite(row.get(column, math.nan))]
        sign = -1 if highest else 1
        return min(rows, key=lambda index: sign * self.rows[index][column], default=None)

    def since_best(self, column: str, highest: bool = False) -> int:
        """Rows after the best one; all of them where none has a number."""
        best = self.best(column, highest)
        return len(self.rows) if best is None else len(self.rows) - 1 - best

    def frame(self) -> pd.DataFrame:
        """The rows as a table."""
        table = pd.DataFrame(self.rows)
        return table.astype({"epoch": int}) if len(table) else table

    def state_dict(self) -> dict[str, Any]:
        """Rows for a checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Rows from a checkpoint."""
        self.rows = [dict(row) for row in state["rows"]]
