"""Tables of parsed reports: findings, labels, and labels by location in the form of RAD-ChestCT's label files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..language.vocabulary import Vocabulary, load_vocabulary
from .findings import FINDING_COLUMNS, ParsedReport
from .policy import Policy, cells, grid_cells

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["findings_table", "labels_by_location_table", "labels_table"]


def findings_table(reports: Mapping[str, ParsedReport]) -> pd.DataFrame:
    """One row per mention and location: ``report_id`` and the columns of ``findings.csv``."""
    import pandas as pd  # noqa: PLC0415 (slower to import than the parser takes to start)

    rows = [(name, *finding[: len(FINDING_COLUMNS)]) for name, report in reports.items() for finding in report.findings]
    return pd.DataFrame(rows, columns=["report_id", *FINDING_COLUMNS])


def labels_table(
    reports: Mapping[str, ParsedReport],
    uncertain: Policy | None = None,
    historical: Policy = "negative",
    vocabulary: str | Vocabulary = "chest_ct",
) -> pd.DataFrame:
    """``report_id`` and one 0/1 column per label of the vocabulary.

    Args:
        reports: parsed reports by id.
        uncertain: ``positive`` or ``negative``: whether an uncertain mention counts; None for the vocabulary's own
            habit (``chest_ct`` positive, ``chest_xray`` negative as its coders did).
        historical: the same for a mention of the past.
        vocabulary: the one the reports were parsed with.
    """
    import numpy as np  # noqa: PLC0415 (slower to import than the parser takes to start)
    import pandas as pd  # noqa: PLC0415

    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    column = {name: number for number, name in enumerate(words.labels)}
    values = np.zeros((len(reports), len(column)), dtype=np.uint8)
    for row, report in enumerate(reports.values()):
        for abnormality, _ in cells(report, uncertain or words.uncertain, historical):
            values[row, column[abnormality]] = 1
    table = pd.DataFrame(values, columns=list(column))
    table.insert(0, "report_id", list(reports))
    return table


def labels_by_location_table(
    reports: Mapping[str, ParsedReport],
    uncertain: Policy | None = None,
    historical: Policy = "negative",
    vocabulary: str | Vocabulary = "chest_ct",
) -> pd.DataFrame:
    """0/1 for every ``abnormality*location``, lobes rolled up to their lung and to ``lung``; index ``report_id``.

    Args: as :func:`labels_table`.
    """
    import numpy as np  # noqa: PLC0415 (slower to import than the parser takes to start)
    import pandas as pd  # noqa: PLC0415

    words = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
    width = len(words.locations)
    row_of = {name: number * width for number, name in enumerate(words.labels)}
    column_of = {name: number for number, name in enumerate(words.locations)}
    values = np.zeros((len(reports), len(row_of) * width), dtype=np.uint8)
    for row, report in enumerate(reports.values()):
        for abnormality, location in grid_cells(report, words, uncertain or words.uncertain, historical):
            values[row, row_of[abnormality] + column_of[location]] = 1
    names = [f"{label}*{location}" for label in words.labels for location in words.locations]
    return pd.DataFrame(values, index=pd.Index(list(reports), name="report_id"), columns=names)
