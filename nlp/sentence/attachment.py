"""Which place belongs to which finding: per finding, by nearness within the clause, never per sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..language.trie import Hit
from .phrases import Phrase

__all__ = ["attach_phrases"]

_LIST, _RELATIVE = 6, 10
"""The most words between two findings of a list, and between one and what a relative clause says of it."""


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

    Args:
        words: the sentence.
        findings: its findings.
        phrases: its places.
        clauses: its clauses.
        lists: word lists of the language, and ``devices``: findings that lie where they extend to ("catheter reaching
            the right atrium"); what any other finding reaches or abuts is not where it lies.
    """
    result: list[tuple[list[Phrase], str]] = []
    topic = _topic(words, phrases, lists)
    if len(clauses) == 1:
        return _attach_clause(words, clauses[0], findings, phrases, topic, lists)
    for clause in clauses:
        inside = [f for f in findings if clause[0] <= f.first < clause[1]]
        near = [p for p in phrases if clause[0] <= p.first < clause[1]]
        if not near and not lists["subjects"].isdisjoint(words[clause[0] : clause[0] + 2]):
            spoken_of = [p for p in phrases if p.last <= clause[0]][-1:]  # "the aorta is 42 mm and it is dilated"
            result += [(spoken_of, "clause" if spoken_of else "")] * len(inside)
            continue
        result += _attach_clause(words, clause, inside, near, topic, lists)
    return result


def _topic(words: Sequence[str], phrases: Sequence[Phrase], lists: Mapping[str, frozenset[str]]) -> Phrase | None:
    """The place that opens the sentence ("In the left lung, ...")."""
    if not phrases:
        return None
    first = phrases[0]
    opening = words[: first.first]
    if len(opening) <= 3 and (not opening or opening[0] in lists["prepositions"] or opening[0] in lists["articles"]):
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
    if not phrases or (topic is not None and topic.last <= clause[0] and not any(p.firm for p in phrases)):
        return [_opened(topic, clause[0])] * len(findings)
    if len(phrases) == len(findings) == 1 and topic in (None, phrases[0]):
        return [_only(words, findings[0], phrases[0], clause[1], lists)]
    firm = [p for p in phrases if p.firm] or phrases
    loose = [p for p in phrases if not p.firm] if firm is not phrases else []
    before: list[list[Phrase]] = []
    after: list[list[Phrase]] = []
    previous, count = clause[0], len(findings)
    for number, finding in enumerate(findings):
        following = findings[number + 1] if number + 1 < count else None
        limit = following.first if following is not None else clause[1]
        leading, trailing = [], []
        for phrase in firm:
            if phrase.last <= finding.first:
                if previous <= phrase.first and _adjacent(words, phrase.last, finding.first, lists):
                    leading.append(phrase)
            elif finding.last <= phrase.first and phrase.last <= limit:
                trailing.append(phrase)
        before.append(leading)
        if trailing and following is not None and topic is not None and words[0] in lists["prepositions"]:
            trailing = [p for p in trailing if not _opens_next(words, finding, p, following, lists)]
        after.append(_after(words, finding, trailing, following, lists) if trailing else trailing)
        previous = finding.last
    result = [_choose(n, words, findings, firm, before, after, topic, lists) for n in range(count)]
    if topic is not None:  # "both lungs have consolidations, more prominent in the right lower lobe"
        for number, (own, rule) in enumerate(result):
            if own and topic not in own and topic.last <= own[0].first and _emphasised(words, own[0], lists):
                result[number] = ([topic, *own], rule)
    for number, finding in enumerate(findings if loose else ()):
        beside = [p for p in loose if p.last <= finding.first and _adjacent(words, p.last, finding.first, lists)]
        result[number] = (result[number][0] + beside, result[number][1])
    return result


def _opens_next(
    words: Sequence[str], finding: Hit, phrase: Phrase, following: Hit, lists: Mapping[str, frozenset[str]]
) -> bool:
    """Whether a place begins what is said of the next finding: "on the right an effusion, on the left | a nodule"."""
    between = words[finding.last : phrase.first]
    led = any(w == "," and after in lists["prepositions"] for w, after in pairwise(between))
    return led and "," not in words[phrase.last : following.first]


def _only(
    words: Sequence[str], finding: Hit, phrase: Phrase, end: int, lists: Mapping[str, frozenset[str]]
) -> tuple[list[Phrase], str]:
    """The place of the only finding of a clause with one place: it can only be named more or less directly."""
    if phrase.last <= finding.first:
        return [phrase], "before" if _adjacent(words, phrase.last, finding.first, lists) else "clause"
    if finding.last <= phrase.first:
        inside = phrase.last <= end and _after(words, finding, [phrase], None, lists)
        return [phrase], "after" if inside else "clause_after"
    return [], ""


def _placed_before(
    words: Sequence[str],
    finding: Hit,
    own: list[Phrase],
    phrases: Sequence[Phrase],
    taken: Sequence[Phrase],
    lists: Mapping[str, frozenset[str]],
) -> list[Phrase]:
    """A bare side with the place named before the finding, if that is on this side too ("in the upper lobes of both
    lungs emphysema is seen, more on the right").

    Of a place that is taken by a finding before, one side ("scars in both apices and calcifications on the left").
    """
    sides = {side for phrase in own for member in phrase.members for side in member.sides}
    for phrase in reversed([p for p in phrases if p.last <= finding.first]):
        known = {side for member in phrase.members if member.place for side in member.sides}
        if phrase in taken:
            members = [m._replace(sides=tuple(sides)) for m in phrase.members if sides.issubset(m.sides)]
            return [phrase._replace(members=tuple(members))] if members and len(sides) == 1 else own
        subject = not known and any(m.place for m in phrase.members)
        if subject and words[phrase.last : phrase.last + 1] and words[phrase.last] in lists["finite"]:
            return [phrase, *own]  # "the apical pleura is thickened on both sides"
        return [phrase, *own] if known and sides <= known else own
    return own


def _emphasised(words: Sequence[str], phrase: Phrase, lists: Mapping[str, frozenset[str]]) -> bool:
    """Whether a place is only where there is most of what the sentence has placed already."""
    return not lists["emphasis"].isdisjoint(words[max(0, phrase.first - 4) : phrase.first])


def _opened(topic: Phrase | None, position: int) -> tuple[list[Phrase], str]:
    """The place that opened the sentence, where it stands before."""
    return ([topic], "topic") if topic is not None and topic.last <= position else ([], "")


def _choose(
    number: int,
    words: Sequence[str],
    findings: Sequence[Hit],
    phrases: Sequence[Phrase],
    before: Sequence[list[Phrase]],
    after: Sequence[list[Phrase]],
    topic: Phrase | None,
    lists: Mapping[str, frozenset[str]],
) -> tuple[list[Phrase], str]:
    """The phrases of one finding of a clause, by the first rule that gives any."""
    finding, own = findings[number], after[number]
    if own and not any(member.place for phrase in own for member in phrase.members):
        taken = [phrase for earlier in after[:number] for phrase in earlier]
        own = _placed_before(words, finding, own, phrases, taken, lists)
    if own:
        return own + [p for p in before[number] if p not in own] if before[number] else own, "after"
    earlier = [p for p in phrases if p.last <= finding.first]
    if before[number]:
        opened = _opening(earlier, before[number]) if number == 0 else []
        return opened + before[number], "clause" if opened else "before"
    later = [p for p in phrases if p.first >= finding.last and not any(p in b for b in before[number + 1 :])]
    shared = _from_list(number, words, findings, before, after, lists) if len(findings) > 1 else []
    if shared:
        if not any(member.place for phrase in shared for member in phrase.members):
            shared = [*[p for p in earlier if p not in shared][-1:], *shared]
        return shared, "list"
    if earlier:
        bare = not any(member.place for member in earlier[-1].members)
        named = any(member.place for phrase in earlier[-2:-1] for member in phrase.members)
        return earlier[-2:] if bare and named else earlier[-1:], "clause"
    if later:
        return later[:1], "clause_after"
    return _opened(topic, finding.first)


def _opening(earlier: Sequence[Phrase], before: Sequence[Phrase]) -> list[Phrase]:
    """The place that opened a clause, where the one before the finding says no more than the whole organ.

    "In the left lower lobe a pulmonary nodule is seen".
    """
    if not all(phrase.vague for phrase in before):
        return []
    opened = [phrase for phrase in earlier if phrase not in before][-1:]
    return opened if all(member.sides for phrase in opened for member in phrase.members) else []


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
        led = not lists["prepositions"].isdisjoint(lead) and lead[-1] not in lists["indefinite"]
        led = led or (not chosen and not lists["examples"].isdisjoint(words[finding.last : phrase.first]))
        if (
            following is not None
            and not led
            and _adjacent(words, phrase.last, following.first, lists)
            and (phrase.first > finding.last)
        ):
            continue  # it stands before the next finding
        between = words[finding.last : phrase.first]
        further_side = (lists["amounts"] | {","}).issuperset(between) and not any(
            member.place for member in phrase.members
        )
        if not led and not chosen and "," in between and not further_side:
            continue  # "enlarged, normal hilar contours", but not "effusion, small left"
        if chosen and ("(" in lead or not (led or phrase.first - chosen[-1].last <= 3)):
            continue
        if chosen and _is_article(words[chosen[-1].last : phrase.first], lists):
            continue  # the subject of what follows: "except for a cyst in the liver the abdomen is unremarkable"
        if not lists["not_there"].isdisjoint(lead) or (
            not lists["units"].isdisjoint(lead) and not lists["distances"].isdisjoint(lead)
        ):
            continue  # "not in the left", "3 cm from the carina"
        nearing = not lists["touching"].isdisjoint(words[max(finding.last, phrase.first - 4) : phrase.first])
        nearing = nearing or not lists["touched"].isdisjoint(words[phrase.last : phrase.last + 1])
        if finding.name not in lists["devices"] and nearing:
            continue  # what it touches is not where it lies; rule "clause_after" takes it for want of better
        chosen.append(phrase)
    return chosen


def _is_article(words: Sequence[str], lists: Mapping[str, frozenset[str]]) -> bool:
    return len(words) == 1 and words[0] in lists["articles"]


def _listed(words: Sequence[str], first: int, last: int, lists: Mapping[str, frozenset[str]]) -> bool:
    """Two findings are members of one list: a comma, and, or, with between them, and no verb."""
    between = words[first:last]
    if not between:
        return True
    # "nodules, some of which are calcified", "a lesion, which is thought to be a cyst"
    relative = between[0] == "," and not lists["relatives"].isdisjoint(between[:4])
    if len(between) > (_RELATIVE if relative else _LIST):
        return False
    return relative or lists["finite"].isdisjoint(between)


def _from_list(
    number: int,
    words: Sequence[str],
    findings: Sequence[Hit],
    before: Sequence[Sequence[Phrase]],
    after: Sequence[Sequence[Phrase]],
    lists: Mapping[str, frozenset[str]],
) -> list[Phrase]:
    """The phrases of the next member of the same list that has any, else of the one before."""

    def joined(position: int) -> bool:
        return _listed(words, findings[position - 1].last, findings[position].first, lists)

    position = number
    while position + 1 < len(findings) and joined(position + 1):
        position += 1
        if before[position]:
            break
        if after[position]:
            return list(after[position])
    position = number
    while position > 0 and joined(position):
        position -= 1
        if after[position]:
            return list(after[position])
        if before[position]:
            return list(before[position])
    return []
