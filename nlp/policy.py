"""Which mentions count as positive: uncertainty and history are the reader's decision, not the parser's."""

from __future__ import annotations

from typing import Literal

from organcam.errors import ConfigError, did_you_mean

from .findings import ParsedReport

__all__ = ["Policy", "cells", "positive_statuses"]

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
    return frozenset((f.abnormality, f.location) for f in report.findings if f.status in statuses)
