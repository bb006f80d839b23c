"""Status and change of each finding of a clause, from the cues that govern it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cues import CueTable
from .trie import Hit

__all__ = ["Verdict", "judge"]

# Which status wins where several cues govern one finding.
_ORDER = {"resolved": 5, "present": 4, "absent": 3, "historical": 2, "uncertain": 1}


class Verdict(NamedTuple):
    """What the cues say of a finding: its status, change, the deciding cue's tokens (or -1) and category."""

    status: str
    change: str
    first: int
    last: int
    rule: str


_STOPPED_BY_WITH = frozenset(("history", "resolved"))
_PLAIN = Verdict("present", "", -1, -1, "")


def judge(
    finding: Hit,
    findings: Sequence[Hit],
    clause: tuple[int, int],
    cue_hits: Sequence[Hit],
    table: CueTable,
    *,
    words: Sequence[str],
    persistent: bool,
) -> Verdict:
    """Status and change of one finding.

    Args:
        finding: the mention.
        findings: all mentions of the sentence.
        clause: token range of its clause.
        cue_hits: all cues of the sentence, in order.
        table: what the cues mean.
        words: the sentence's tokens.
        persistent: a past procedure or device still counts, so history says nothing.
    """
    if not cue_hits:
        return _PLAIN
    status, change, rule, first, last, rank = "present", "", "", -1, -1, 0
    stop = clause[0]
    for hit in cue_hits:
        if hit.first >= stop and hit.last <= finding.first and _stops(hit, table):
            stop = hit.last
    for hit in cue_hits:
        if hit.first < clause[0] or hit.last > clause[1]:
            continue
        for cue in table.of(hit.name):
            governs = (cue.forward and stop <= hit.first and hit.last <= finding.first) or (
                cue.backward and hit.first >= finding.last and not _stopped(hit, finding, cue_hits, table)
            )
            if not governs or (cue.last and any(finding.last <= f.first < hit.first for f in findings)):
                continue
            if cue.change and not change:
                change = cue.change
            if not cue.status or cue.status == "stop" or (persistent and cue.status == "historical"):
                continue
            if cue.name in _STOPPED_BY_WITH and any(
                w in table.words["history_stops"] for w in words[hit.last : finding.first]
            ):
                continue
            if (
                cue.name == "deprivation"
                and cue.forward
                and any(h.last == hit.first and "negation" in h.name.split("|") for h in cue_hits)
            ):
                status, rank, rule, first, last = "present", _ORDER["present"], "double_negation", hit.first, hit.last
                continue
            if _ORDER[cue.status] > rank:
                status, rank, rule, first, last = cue.status, _ORDER[cue.status], cue.name, hit.first, hit.last
    return Verdict(status, change, first, last, rule)


def _stops(hit: Hit, table: CueTable) -> bool:
    return hit.name in table.stops


def _stopped(cue: Hit, finding: Hit, cue_hits: Sequence[Hit], table: CueTable) -> bool:
    return any(finding.last <= h.first and h.last <= cue.first and _stops(h, table) for h in cue_hits)
