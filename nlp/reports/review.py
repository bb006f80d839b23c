"""A page on which a person checks the parser on reports of their own, and the figures that come out of it.

The page shows each report with its findings marked. A click on a finding says that it is wrong, or that only its place
is; words that were missed are selected and given a label. The page saves its verdicts as a CSV file without any report
text, from which :func:`score_review` works out precision and recall of every label.
"""

from __future__ import annotations

import csv
import hashlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from organcam.errors import DataError, did_you_mean

from ..language.vocabulary import Vocabulary
from .findings import Finding, ParsedReport
from .policy import positive_statuses

__all__ = ["REVIEW_COLUMNS", "LabelScore", "render_review", "sample_rows", "score_review"]

REVIEW_COLUMNS = ("report_id", "abnormality", "location", "status", "verdict", "start", "end")
"""Columns of the CSV file that the page saves."""

VERDICTS = ("right", "wrong", "place", "missed", "read")
"""What a row says: the finding is right, is wrong, is right but lies elsewhere, was missed; or the report was read."""


class LabelScore(NamedTuple):
    """How the parser did on one label, over the reports that were read to the end.

    A report counts once for a label, however often it names it.

    Attributes:
        label: the abnormality.
        found: reports in which the parser has it and the reader agrees.
        wrong: reports in which the parser has it and the reader does not.
        missed: reports in which the reader has it and the parser does not.
        places: findings that are right, and lie where the parser says.
        misplaced: findings that are right, and lie elsewhere.
    """

    label: str
    found: int
    wrong: int
    missed: int
    places: int
    misplaced: int

    @property
    def precision(self) -> float | None:
        """Share of what the parser found that is there; None where it found nothing."""
        return self.found / (self.found + self.wrong) if self.found + self.wrong else None

    @property
    def recall(self) -> float | None:
        """Share of what is there that the parser found; None where there is nothing."""
        return self.found / (self.found + self.missed) if self.found + self.missed else None

    @property
    def place_accuracy(self) -> float | None:
        """Share of the right findings whose place is right; None where there is none."""
        return self.places / (self.places + self.misplaced) if self.places + self.misplaced else None


def sample_rows(rows: Iterable[Mapping[str, Any]], identity: str, count: int) -> list[Mapping[str, Any]]:
    """Some rows of a table, the same ones every time, whatever its order: those whose ids have the smallest hashes.

    Args:
        rows: read once; only the chosen ones are held.
        identity: column of the ids.
        count: how many; fewer where the table has fewer.
    """
    keyed = ((hashlib.sha256(str(row.get(identity, "")).encode()).hexdigest(), n, row) for n, row in enumerate(rows))
    return [row for _, _, row in heapq.nsmallest(count, keyed, key=lambda item: item[:2])]


def render_review(
    reports: Iterable[tuple[str, ParsedReport]],
    vocabulary: Vocabulary,
    *,
    uncertain: str | None = None,
    historical: str = "negative",
    title: str = "Review of the report parser",
) -> str:
    """The page for a person to check: one file, no network, the text escaped.

    Args:
        reports: pairs of id and parsed report, a hundred or so.
        vocabulary: the one they were parsed with; its labels can be given to what was missed.
        uncertain: whether uncertain mentions count as found; None for the vocabulary's habit.
        historical: whether mentions of the past do.
        title: heading of the page.

    Raises:
        ConfigError: for an unknown policy.
    """
    from jinja2 import Environment  # noqa: PLC0415 (only this function needs it)

    statuses = positive_statuses(uncertain or vocabulary.uncertain, historical)
    template = (files("organcam.nlp") / "reports" / "review.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    shown = [_shown(name, report, statuses) for name, report in reports]
    return page.render(
        title=title, reports=shown, labels=sorted(vocabulary.labels), locations=vocabulary.locations,
        columns=",".join(REVIEW_COLUMNS),
    )  # fmt: skip


def _shown(name: str, report: ParsedReport, statuses: frozenset[str]) -> dict[str, Any]:
    """What the template needs of one report: its pieces of text, and its positive cells in the order of the text."""
    cells: dict[tuple[str, str], Finding] = {}
    for finding in report.findings:
        if finding.abnormality and finding.status in statuses:
            cells.setdefault((finding.abnormality, finding.location), finding)
    spans: dict[tuple[int, int], list[Finding]] = defaultdict(list)
    for finding in report.findings:
        spans[finding.start, finding.end].append(finding)
    pieces: list[dict[str, Any]] = []
    place = 0
    for (start, end), group in sorted(spans.items()):
        if start < place:
            continue  # it overlaps what is marked already
        pieces.append({"text": report.text[place:start], "start": place})
        kind = next((f.status for f in group if f.status in statuses), group[0].status)
        caption = "; ".join(dict.fromkeys(f"{f.abnormality or f.concept}, {f.location}, {f.status}" for f in group))
        pieces.append({"text": report.text[start:end], "start": start, "kind": kind, "caption": caption})
        place = end
    pieces.append({"text": report.text[place:], "start": place})
    return {"id": name, "pieces": pieces, "cells": list(cells.values()), "reason": report.reason}


def score_review(path: str | Path) -> list[LabelScore]:
    """Precision, recall and accuracy of the place of every label, from the CSV file that the page saved.

    Only reports that were marked as read count: of the others nobody knows what was missed.

    Args:
        path: the CSV file.

    Raises:
        DataError: if it cannot be read, lacks a column or has an unknown verdict; the message names the line.
    """
    rows = _rows(Path(path))
    read = {row["report_id"] for row in rows if row["verdict"] == "read"}
    if not read:
        msg = f"{path}: no report is marked as read, so nothing can be said of what was missed"
        raise DataError(msg)
    verdicts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        if row["report_id"] in read and row["verdict"] != "read":
            verdicts[row["abnormality"], row["report_id"]].append(row["verdict"])
    scores = []
    for label in sorted({label for label, _ in verdicts}):
        of_reports = [given for (name, _), given in verdicts.items() if name == label]
        theirs = [not {"right", "place", "wrong"}.isdisjoint(given) for given in of_reports]
        truth = [not {"right", "place", "missed"}.isdisjoint(given) for given in of_reports]
        found = sum(there and said for there, said in zip(truth, theirs, strict=True))
        wrong, missed = sum(theirs) - found, sum(truth) - found
        right, misplaced = (sum(given.count(verdict) for given in of_reports) for verdict in ("right", "place"))
        scores.append(LabelScore(label, found, wrong, missed, right, misplaced))
    return scores


def _rows(path: Path) -> Sequence[Mapping[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as table:
            reader = csv.DictReader(table)
            missing = [column for column in REVIEW_COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                msg = f"{path}: is no review: it has no column {missing[0]!r}"
                raise DataError(msg)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: cannot be read as a review ({error})"
        raise DataError(msg) from error
    for number, row in enumerate(rows, 2):
        if row["verdict"] not in VERDICTS:
            hint = did_you_mean(str(row["verdict"]), VERDICTS)
            msg = f"{path}: line {number}: unknown verdict {row['verdict']!r}; {hint}"
            raise DataError(msg)
    return rows
