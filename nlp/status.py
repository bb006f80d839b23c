"""Status and change of each finding of a clause, from the cues that govern it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cues import CueTable
from .trie import Hit

__all__ = ["PLAIN", "Verdict", "judge"]


class Verdict(NamedTuple):
    """What the cues say of a finding: its status, change, the deciding cue's tokens (or -1) and category."""

    status: str
    change: str
    first: int
    last: int
    rule: str


_STOPPED_BY_WITH = frozenset(("history", "resolved"))
PLAIN = Verdict("present", "", -1, -1, "")
"""The verdict where no cue says anything."""


def judge(
    finding: Hit,
    findings: Sequence[Hit],
    clause: tuple[int, int],
    cue_hits: Sequence[Hit],
    table: CueTable,
    words: Sequence[str],
    *,
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
    status, change, rule, first, last, rank = "present", "", "", -1, -1, 0.0
    start, end = clause
    begin, after = finding.first, finding.last
    stops, joined = table.stops, table.joined
    stop = start
    for hit in cue_hits:
        if hit.first >= stop and hit.last <= begin and hit.name in stops:
            stop = hit.last
    for hit in cue_hits:
        if hit.first < start or hit.last > end:
            continue
        leads = stop <= hit.first and hit.last <= begin
        follows = hit.first >= after
        if not leads and not follows:
            continue
        for cue in joined[hit.name]:
            governs = (cue.forward and leads) or (
                cue.backward and follows and not _stopped(hit, finding, cue_hits, stops)
            )
            if not governs or (cue.last and any(after <= f.first < hit.first for f in findings)):
                continue
            if cue.change and not change:
                change = cue.change
            if not cue.status or cue.status == "stop" or (persistent and cue.status == "historical"):
                continue
            if cue.name in _STOPPED_BY_WITH and not table.words["history_stops"].isdisjoint(words[hit.last : begin]):
                continue
            if (
                cue.name == "deprivation"
                and cue.forward
                and any(h.last == hit.first and "negation" in h.name.split("|") for h in cue_hits)
            ):
                status, rank, rule, first, last = "present", 4.0, "double_negation", hit.first, hit.last
                continue
            if cue.rank > rank:
                status, rank, rule, first, last = cue.status, cue.rank, cue.name, hit.first, hit.last
    return Verdict(status, change, first, last, rule)


def _stopped(cue: Hit, finding: Hit, cue_hits: Sequence[Hit], stops: frozenset[str]) -> bool:
    return any(finding.last <= h.first and h.last <= cue.first and h.name in stops for h in cue_hits)
