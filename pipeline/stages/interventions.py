"""How far a label's score moves when one thing is put into a scan and everything else stays.

A map that stays inside the organ does not prove that the network looks nowhere else: receptive fields leak. Putting the
confounder into a scan asks the network itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.discover import read_table

__all__ = ["logit_changes", "summarise_changes"]

COLUMNS = ("scan_id", "counterpart", "inserted", "label")


def logit_changes(path: Path, score: Callable[[str, str], float | None]) -> pd.DataFrame:
    """One row a pair: how much the label's logit changed.

    Args:
        path: CSV ``scan_id, counterpart, inserted, label``: ``scan_id`` is ``counterpart`` with one thing put in.
        score: logit of (scan, label), None where there is none.

    Raises:
        ConfigError: if the file or a column is missing.
    """
    table = read_table(path, COLUMNS, "data.interventions")
    rows = []
    for row in table.to_dict("records"):
        after, before = score(row["scan_id"], row["label"]), score(row["counterpart"], row["label"])
        if after is not None and before is not None:
            rows.append({"label": row["label"], "inserted": row["inserted"], "change": after - before})
    return pd.DataFrame(rows, columns=["label", "inserted", "change"])


def summarise_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """Mean change, mean absolute change and number of pairs by label and inserted thing."""
    grouped = changes.assign(size=np.abs(changes["change"])).groupby(["label", "inserted"], as_index=False)
    return grouped.agg(mean_change=("change", "mean"), mean_absolute_change=("size", "mean"), pairs=("change", "size"))
