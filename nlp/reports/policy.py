"""Which mentions count as positive: uncertainty and history are the reader's decision, not the parser's."""

from __future__ import annotations

from typing import Literal

from organcam.errors import ConfigError, did_you_mean

from ..language.vocabulary import Vocabulary
from .findings import ParsedReport

__all__ = ["Policy", "cells", "grid_cells", "positive_statuses"]

Policy = Literal["positive", "negative"]


def positive_statuses(uncertain: str = "positive", historical: str = "negative") -> frozenset[str]:
    """Statuses that count as positive.

    Raises:
        ConfigError: if a policy is neither ``positive`` nor ``negative``.
    """
    statuses = {"present"}
    for key, value in (("uncertain", uncertain), ("historical", historical)):
        if value not in ("positive", "negative"):
            hint = did_you_mean(str(value), ("positive", "negative"))
            msg = f"{key} must be positive or negative, got {value!r}; {hint}"
            raise ConfigError(msg)
        if value == "positive":
            statuses.add(key)
    return frozenset(statuses)


def cells(
    report: ParsedReport, uncertain: str = "positive", historical: str = "negative"
) -> frozenset[tuple[str, str]]:
    """(abnormality, location) pairs of a report that count as positive, the most specific locations only.

    Args:
        report: a parsed report.
        uncertain: ``positive`` or ``negative``: whether an uncertain mention counts.
        historical: the same for a mention of the past, or in history and indication.
    """
    statuses = positive_statuses(uncertain, historical)
    return frozenset((f.abnormality, f.location) for f in report.findings if f.abnormality and f.status in statuses)


def grid_cells(
    report: ParsedReport, vocabulary: Vocabulary, uncertain: str = "positive", historical: str = "negative"
) -> frozenset[tuple[str, str]]:
    """The same with the wider locations of each, as ``labels_by_location`` has them.

    A side that the column itself does not tell stands beside it where the vocabulary asks for it (``side_too``): a mass
    of the right hilum is at ``hilum`` and at ``right``.

    Args:
        report: a parsed report.
        vocabulary: the one it was parsed with.
        uncertain: as in :func:`cells`.
        historical: as in :func:`cells`.
    """
    statuses = positive_statuses(uncertain, historical)
    found: set[tuple[str, str]] = set()
    for finding in report.findings:
        if not finding.abnormality or finding.status not in statuses:
            continue
        wider = [finding.location, *vocabulary.ancestors(finding.location)]
        if finding.side and finding.place and vocabulary.places[finding.place].side_too:
            wider += ["right", "left"] if finding.side == "both" else [finding.side]
        found.update((finding.abnormality, location) for location in wider)
    return frozenset(cell for cell in found if cell not in vocabulary.forbidden)
