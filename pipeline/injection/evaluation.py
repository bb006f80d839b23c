"""Tables of how well maps agree with masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import ConfigError
from ..metrics.functional.mask_score import Metric, check_metric, check_threshold, compute_score
from ..runner.atomic import atomic_path, write_csv_atomic

__all__ = ["Evaluator"]


class Evaluator:
    """Scores of maps against masks, gathered as a table.

    Args:
        metric: see ``compute_score``.
        threshold: see there.

    Example:
        >>> evaluator = Evaluator(metric="ioa", threshold=0.5)
        >>> evaluator.add(np.array([1.0, 0.9]), np.array([1, 0]), scan="one", layer="conv", label="3")
        0.5
        >>> evaluator.means()["mean"].tolist()
        [0.5]
    """

    def __init__(self, metric: Metric = "wioa", threshold: str | float = "otsu") -> None:
        check_metric(metric)
        check_threshold(threshold)
        self.metric = metric
        self.threshold = threshold
        self._rows: list[dict[str, Any]] = []

    def add(self, attention: NDArray, mask: NDArray, *, scan: str = "", layer: str = "", label: str = "") -> float:
        """Score one map; see ``compute_score``."""
        value = compute_score(attention, mask, self.metric, self.threshold)
        name = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "metric")
        self._rows.append({"scan": scan, "layer": layer, "label": label, "metric": name, "score": value})
        return value

    def scores(self) -> pd.DataFrame:
        """One row a map: scan, layer, label, metric, score."""
        return pd.DataFrame(self._rows, columns=["scan", "layer", "label", "metric", "score"])

    def means(self) -> pd.DataFrame:
        """Mean, standard deviation and number of scores of each layer and label."""
        groups = self.scores().groupby(["layer", "label", "metric"], sort=False)["score"]
        return groups.agg(["mean", "std", "count"]).reset_index()

    def dump(self, folder: str | Path) -> list[Path]:
        """Write ``scores.csv``, ``mean_scores.csv`` and, with both as sheets, ``scores.xlsx``.

        Raises:
            ConfigError: if openpyxl is not there; the CSV files are then written all the same.
        """
        folder = Path(folder)
        tables = {"scores": self.scores(), "mean_scores": self.means()}
        paths = [folder / f"{name}.csv" for name in tables]
        for path, table in zip(paths, tables.values(), strict=True):
            write_csv_atomic(path, table)
        book = folder / "scores.xlsx"
        _write_sheets(book, {"Scores": tables["scores"], "Mean Scores": tables["mean_scores"]})
        return [*paths, book]


def _write_sheets(path: Path, tables: dict[str, pd.DataFrame]) -> None:
    try:
        from openpyxl import Workbook  # noqa: PLC0415 - an extra
    except ImportError:
        msg = f"{path.name} needs openpyxl (pip install 'organcam[xlsx]'); the same tables are beside it as CSV"
        raise ConfigError(msg) from None
    book = Workbook()
    book.remove(book.active)
    for name, table in tables.items():
        sheet = book.create_sheet(name)
        rows: list[Sequence[Any]] = [list(table.columns), *table.astype(object).itertuples(index=False)]
        for row in rows:
            sheet.append([_cell(value) for value in row])
    with atomic_path(path) as temporary:
        book.save(temporary)


def _cell(value: Any) -> Any:
    """What a sheet holds: no NaN, and no text that a spreadsheet would take for a formula."""
    if isinstance(value, float):
        return None if np.isnan(value) else value
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@"}:
        return f"'{value}"
    return value.item() if isinstance(value, np.generic) else value
