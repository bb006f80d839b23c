"""Which place belongs to which finding: per finding, by nearness within the clause, never per sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .phrases import Phrase
from .trie import Hit

__all__ = ["attach_phrases"]

_RELATIONAL = frozenset(
    (
        *("adjacent", "abutting", "abut", "near", "contiguous", "toward", "towards", "beside", "causing", "displacing"),
        *("compressing", "invading", "extending", "extend", "encasing", "touching", "reaching"),
    )
)
_NOT_THERE = frozenset(("not", "no", "without"))
_UNITS = frozenset(("cm", "mm"))
_DISTANCE = frozenset(("from", "above", "below"))


def attach_phrases(
    words: Sequence[str],
    findings: Sequence[Hit],
    phrases: Sequence[Phrase],
    clauses: Sequence[tuple[int, int]],
    lists: Mapping[str, frozenset[str]],
) -> list[tuple[list[Phrase], str]]:
    """For each finding its phrases, best first choice only, and the name of the rule that chose them.

    Rules, in this order: ``after`` ("nodule in the right lung"), ``before`` ("right lower lobe nodule"), ``list``
    (shared by the findings of a list), ``clause`` (the nearest before in the clause), ``clause_after``, ``topic``
    ("In the right lung, ... ; ...").
    """
    result: list[tuple[list[Phrase], str]] = []
    topic = _topic(words, phrases, lists)
    if len(clauses) == 1:
        return _attach_clause(words, clauses[0], findings, phrases, topic, lists)
    for clause in clauses:
        inside = [f for f in findings if clause[0] <= f.first < clause[1]]
        near = [p for p in phrases if clause[0] <= p.first < clause[1]]
        result += _attach_clause(words, clause, inside, near, topic, lists)
    return result


def _topic(words: Sequence[str], phrases: Sequence[Phrase], lists: Mapping[str, frozenset[str]]) -> Phrase | None:
    """The place that opens the sentence ("In the left lung, ...")."""
    if not phrases:
        return None
    first = phrases[0]
    opening = words[: first.first]
    if len(opening) <= 3 and (not opening or opening[0] in lists["prepositions"] or opening[0] in ("the", "both")):
        return first
    return None


def _attach_clause(
    words: Sequence[str],
    clause: tuple[int, int],
    findings: Sequence[Hit],
    phrases: Sequence[Phrase],
    topic: Phrase | None,
    lists: Mapping[str, frozenset[str]],
) -> list[tuple[list[Phrase], str]]:
    if not phrases:
        return [_opened(topic, clause[0])] * len(findings)
    loose = [p for p in phrases if not p.firm]
    phrases = [p for p in phrases if p.firm] or phrases
    before: list[list[Phrase]] = []
    after: list[list[Phrase]] = []
    for number, finding in enumerate(findings):
        previous = findings[number - 1].last if number else clause[0]
        following = findings[number + 1].first if number + 1 < len(findings) else clause[1]
        before.append(
            [
                p
                for p in phrases
                if previous <= p.first and p.last <= finding.first and _adjacent(words, p.last, finding.first, lists)
            ]
        )
        candidates = [p for p in phrases if finding.last <= p.first and p.last <= following]
        after.append(
            _after(words, finding, candidates, findings[number + 1] if number + 1 < len(findings) else None, lists)
        )
    joined = [False] + [_listed(words, findings[i - 1].last, findings[i].first, lists) for i in range(1, len(findings))]
    result = [
        _choose(number, finding, phrases, before, after, joined, topic) for number, finding in enumerate(findings)
    ]
    if loose and loose[0] not in phrases:
        for number, finding in enumerate(findings):
            beside = [p for p in loose if p.last <= finding.first and _adjacent(words, p.last, finding.first, lists)]
            result[number] = (result[number][0] + beside, result[number][1])
    return result


def _opened(topic: Phrase | None, position: int) -> tuple[list[Phrase], str]:
    """The place that opened the sentence, where it stands before."""
    return ([topic], "topic") if topic is not None and topic.last <= position else ([], "")


def _choose(
    number: int,
    finding: Hit,
    phrases: Sequence[Phrase],
    before: Sequence[list[Phrase]],
    after: Sequence[list[Phrase]],
    joined: Sequence[bool],
    topic: Phrase | None,
) -> tuple[list[Phrase], str]:
    """The phrases of one finding of a clause, by the first rule that gives any."""
    if after[number]:
        return after[number] + [p for p in before[number] if p not in after[number]], "after"
    if before[number]:
        return before[number], "before"
    shared = _from_list(number, before, after, joined)
    earlier = [p for p in phrases if p.last <= finding.first]
    later = [p for p in phrases if p.first >= finding.last]
    if shared:
        if not any(member.place for phrase in shared for member in phrase.members):
            shared = [*[p for p in earlier if p not in shared][-1:], *shared]
        return shared, "list"
    if earlier:
        named = any(member.place for member in earlier[-1].members)
        return earlier[-1:] if named else earlier[-2:], "clause"
    if later:
        return later[:1], "clause_after"
    return _opened(topic, finding.first)


def _adjacent(words: Sequence[str], first: int, last: int, lists: Mapping[str, frozenset[str]]) -> bool:
    """Only adjectives and sizes between a place and the finding after it."""
    return first == last or lists["between_place_and_finding"].isdisjoint(words[first:last])


def _after(
    words: Sequence[str],
    finding: Hit,
    candidates: Sequence[Phrase],
    following: Hit | None,
    lists: Mapping[str, frozenset[str]],
) -> list[Phrase]:
    chosen: list[Phrase] = []
    for phrase in candidates:
        lead = words[max(finding.last, phrase.first - 3) : phrase.first]
        led = not lists["prepositions"].isdisjoint(lead)
        if (
            following is not None
            and not led
            and _adjacent(words, phrase.last, following.first, lists)
            and (phrase.first > finding.last)
        ):
            continue  # it stands before the next finding
        if not led and not chosen and "," in words[finding.last : phrase.first]:
            continue  # "enlarged, normal hilar contours"
        if chosen and ("(" in lead or not (led or phrase.first - chosen[-1].last <= 3)):
            continue
        if not _NOT_THERE.isdisjoint(lead) or (not _UNITS.isdisjoint(lead) and not _DISTANCE.isdisjoint(lead)):
            continue  # "not in the left", "3 cm from the carina"
        if not _RELATIONAL.isdisjoint(lead):
            continue  # what it touches is not where it lies; rule "clause_after" takes it for want of better
        chosen.append(phrase)
    return chosen


def _listed(words: Sequence[str], first: int, last: int, lists: Mapping[str, frozenset[str]]) -> bool:
    """Two findings are members of one list: a comma, and, or, with between them, and no verb."""
    between = words[first:last]
    if not between:
        return True
    return len(between) <= 6 and lists["finite"].isdisjoint(between)


def _from_list(
    number: int, before: Sequence[Sequence[Phrase]], after: Sequence[Sequence[Phrase]], joined: Sequence[bool]
) -> list[Phrase]:
    position = number
    while position + 1 < len(joined) and joined[position + 1]:
        position += 1
        if before[position]:
            break
        if after[position]:
            return list(after[position])
    position = number
    while joined[position]:
        position -= 1
        if after[position]:
            return list(after[position])
        if before[position]:
            return list(before[position])
    return []
