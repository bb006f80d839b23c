"""The review of the report parser by a person: its page, and the table of its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from organcam.nlp import (
    find_columns,
    load_vocabulary,
    parse_table,
    read_rows,
    render_review,
    sample_rows,
    score_review,
)

from .runner import write_text_atomic

__all__ = ["scores_table", "write_review"]


def write_review(
    page: Path,
    reports: Path,
    id_column: str | None,
    text_columns: Sequence[str] | None,
    *,
    vocabulary: str = "chest_ct",
    uncertain: str | None = None,
    historical: str = "negative",
    count: int = 100,
) -> int:
    """Write the page for some reports of a table, the same ones every time; returns how many.

    Raises:
        OrganCamError: for a bad table, column, vocabulary or policy.
    """
    words = load_vocabulary(vocabulary)
    identity, texts = find_columns(reports, id_column, text_columns)
    rows = sample_rows(read_rows(reports), identity, count)
    parsed = list(parse_table(rows, identity, texts, vocabulary=words))
    write_text_atomic(page, render_review(parsed, words, uncertain=uncertain, historical=historical))
    return len(parsed)


def scores_table(path: Path) -> Table:
    """Precision, recall and accuracy of the place of every label, as a table for the terminal.

    Raises:
        DataError: if the file is no review.
    """
    table = Table(box=None)
    for column in ("label", "found", "wrong", "missed", "precision", "recall", "place right"):
        table.add_column(column, justify="left" if column == "label" else "right", no_wrap=True)
    for score in score_review(path):
        shares = (score.precision, score.recall, score.place_accuracy)
        counts = (score.found, score.wrong, score.missed)
        table.add_row(score.label, *map(str, counts), *("" if s is None else f"{s:.3f}" for s in shares))
    return table
