"""Status and change of each finding of a clause, from the cues that govern it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..language.cues import Cue, CueTable
from ..language.trie import Hit

__all__ = ["PLAIN", "Verdict", "is_called_normal", "is_degree", "judge"]


class Verdict(NamedTuple):
    """What the cues say of a finding: its status, change, the deciding cue's tokens (or -1) and category."""

    status: str
    change: str
    first: int
    last: int
    rule: str


_AFFIRMED = 4.0
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
    mention: bool = False,
    lasting: bool = False,
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
        mention: it is a place that is told by itself; what is denied of it ("not enlarged lymph nodes") denies not it.
        lasting: what was there before is there still ("prior granulomatous disease").
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
        leads = stop <= hit.first < begin and not (mention and _of_adjective(hit, finding, findings, table, words))
        follows = hit.first >= after
        if not leads and not follows:
            continue
        for cue in joined[hit.name]:
            if not _governs(cue, hit, finding, findings, cue_hits, table, words, leads=leads):
                continue
            if cue.change and (leads or not change):  # "progression: new metastases": the nearest before it
                change = cue.change
            if (
                not cue.status
                or cue.status == "stop"
                or (cue.status == "historical" and (persistent or (lasting and cue.next)))
            ):
                continue
            if cue.stopped_by and not table.words[cue.stopped_by].isdisjoint(words[hit.last : begin]):
                continue
            if cue.denied_by and any(h.last == hit.first and cue.denied_by in h.name.split("|") for h in cue_hits):
                status, rank, rule, first, last = "present", _AFFIRMED, "double_negation", hit.first, hit.last
                continue
            if cue.rank > rank:
                status, rank, rule, first, last = cue.status, cue.rank, cue.name, hit.first, hit.last
    return Verdict(status, change, first, last, rule)


def _of_adjective(cue: Hit, finding: Hit, findings: Sequence[Hit], table: CueTable, words: Sequence[str]) -> bool:
    """Whether a cue denies an adjective before a noun and not the noun ("not enlarged lymph nodes")."""
    between = any(cue.first < other.first and other.last <= finding.first for other in findings)
    return between and words[cue.first] in table.words["of_adjectives"]


def _governs(
    cue: Cue,
    hit: Hit,
    finding: Hit,
    findings: Sequence[Hit],
    cue_hits: Sequence[Hit],
    table: CueTable,
    words: Sequence[str],
    *,
    leads: bool,
) -> bool:
    """Whether a cue of the clause says something of a finding."""
    if hit.first >= finding.last:
        between = any(finding.last <= other.first < hit.first for other in findings)
        if not cue.backward or (cue.last and between):
            return False
        if not cue.status and not between:
            # "and there was" does not end what a change is about
            return not _leads_next(hit, finding, findings, table, words)
        return not _stopped(hit, finding, cue_hits, table, words)
    if (
        not cue.next
        and words[hit.last] == ","
        and any(other.last == hit.first for other in findings)
        and any(c.backward for c in table.joined[hit.name])
    ):
        return False  # "effusion resolved, consolidation unchanged"
    blocked = table.words["between_place_and_finding"] if cue.next else ()
    return leads and cue.forward and not (cue.next and any(w in blocked for w in words[hit.last : finding.first]))


def _leads_next(cue: Hit, finding: Hit, findings: Sequence[Hit], table: CueTable, words: Sequence[str]) -> bool:
    """Whether a change is an adjective of the next finding ("a mass, with a new | satellite nodule")."""
    after = next((other for other in findings if other.first >= cue.last), None)
    if after is None or not any(c.forward for c in table.joined[cue.name]):
        return False
    led = any(
        word in table.words["with"] or word in table.words["indefinite"] for word in words[finding.last : cue.first]
    )
    return led and table.words["between_place_and_finding"].isdisjoint(words[cue.last : after.first])


def _stopped(cue: Hit, finding: Hit, cue_hits: Sequence[Hit], table: CueTable, words: Sequence[str]) -> bool:
    """Whether something ends the reach of a cue back to a finding; a relative clause between two commas does not."""
    relatives = table.words["relatives"]
    return any(
        hit.name in table.stops
        and finding.last <= hit.first
        and hit.last <= cue.first
        and not (words[hit.first] in relatives and "," in words[hit.last : cue.first])
        for hit in cue_hits
    )


_NEAR = 8


def is_called_normal(words: Sequence[str], hit: Hit, lists: Mapping[str, frozenset[str]]) -> bool:
    """Whether what follows in the same statement calls a property normal ("the density of the spleen is normal")."""
    for word in words[hit.last : hit.last + _NEAR]:
        if word in lists["clause_joins"] or word in lists["hard_breaks"]:
            return False
        if word in lists["normal"]:
            return True
    return False


def is_degree(cue: Hit, hit: Hit, table: CueTable) -> bool:
    """Whether a cue of change only says that a property is increased or decreased ("increased density")."""
    return (cue.last == hit.first or cue.first == hit.last) and any(
        c.change in ("larger", "smaller") for c in table.of(cue.name)
    )
