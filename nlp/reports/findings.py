"""What the parser gives back: findings with their provenance, and the report they come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

__all__ = ["FINDING_COLUMNS", "Conflict", "Finding", "ParsedReport"]


class Finding(NamedTuple):
    """One mention of an abnormality at one location.

    Attributes:
        abnormality: label of the vocabulary; empty for a mention that is none of its labels (a lymph node that nothing
            calls enlarged), which ``concept`` names.
        location: location column, the most specific one; ``labels_by_location_table`` rolls it up.
        status: ``present``, ``absent``, ``uncertain``, ``historical`` or ``resolved``.
        change: ``new``, ``stable``, ``larger``, ``smaller``, or empty.
        section: ``findings``, ``impression``, ``indication`` ..., or empty.
        sentence: number of its sentence in the report, from 0.
        start: first character of the finding in the report's text.
        end: one past its last character.
        location_start: first character of the words that gave the location; -1 where none did.
        location_end: one past the last; -1 where there are none.
        cue: the words that decided the status, or empty.
        rule: how status and location were decided: cue category, then place rule.
        size_mm: largest current dimension in millimetres (short axis of a lymph node), or None.
        concept: key of the vocabulary's concept, finer than the label.
        place: key of the vocabulary's place, finer than the location; empty where none was named.
        side: ``right``, ``left``, ``both`` or empty: the side that the text gives, also where the column has none.
        series: series number of the image that the text refers to, as it stands; empty where none.
        image: image number; empty where none.
        cue_start: first character of the cue; -1 where there is none.
        cue_end: one past its last character; -1 where there is none.
    """

    abnormality: str
    location: str
    status: str
    change: str
    section: str
    sentence: int
    start: int
    end: int
    location_start: int
    location_end: int
    cue: str
    rule: str
    size_mm: float | None
    concept: str
    place: str
    side: str
    series: str
    image: str
    cue_start: int
    cue_end: int


FINDING_COLUMNS = Finding._fields[:-2]
"""Columns of ``findings.csv`` after ``report_id``."""


class Conflict(NamedTuple):
    """Findings and impression disagree about an abnormality.

    Attributes:
        abnormality: the label.
        kind: ``status`` (present here, absent there at the same place) or ``side``.
        findings: what the findings section says, as locations or a status.
        impression: what the impression says.
    """

    abnormality: str
    kind: str
    findings: str
    impression: str


@dataclass(frozen=True)
class ParsedReport:
    """A parsed report.

    Attributes:
        text: the text as given, which all offsets refer to.
        findings: every mention, in the order of the text.
        reason: why nothing could be read (empty text, not a string), or empty.
        conflicts: disagreements between findings and impression.
    """

    text: str
    findings: tuple[Finding, ...]
    reason: str = ""
    conflicts: tuple[Conflict, ...] = ()

    def with_reason(self, reason: str) -> ParsedReport:
        """The same report with a further reason."""
        return replace(self, reason="; ".join(filter(None, (reason, self.reason))))
