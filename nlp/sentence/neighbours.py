"""Place phrases beside each other: what one takes from those before it, and where one is two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..language.text import Tokens
from ..language.trie import Hit
from ..language.vocabulary import Place
from .phrases import Member, Phrase

__all__ = ["complete_phrases", "parted"]


def parted(
    words: Sequence[str], phrases: Sequence[Phrase], findings: Sequence[Hit], lists: Mapping[str, frozenset[str]]
) -> list[Phrase]:
    """Phrases whose last place belongs to the finding after it, as two: "nodules in the right lung and mediastinal |
    mass"."""
    if len(findings) < 2 or all(len(phrase.members) < 2 for phrase in phrases):
        return list(phrases)
    result: list[Phrase] = []
    for phrase in phrases:
        if len(phrase.members) < 2:
            result.append(phrase)
            continue
        last = max(phrase.members, key=lambda member: member.first)
        kept = tuple(member for member in phrase.members if member.last <= last.first)
        follows = any(hit.first == phrase.last for hit in findings)
        led = not lists["prepositions"].isdisjoint(words[max(0, phrase.first - 2) : phrase.first])
        before = any(hit.last <= phrase.first for hit in findings)
        if (
            kept
            and follows
            and led
            and before
            and not lists["place_joins"].isdisjoint(words[kept[-1].last : last.first])
        ):
            result.append(Phrase(phrase.first, kept[-1].last, kept, phrase.firm))
            result.append(Phrase(last.first, phrase.last, (last,), phrase.firm))
        else:
            result.append(phrase)
    return result


def complete_phrases(
    tokens: Tokens,
    phrases: Sequence[Phrase],
    clauses: Sequence[tuple[int, int]],
    places: Mapping[str, Place],
    topics: Sequence[Member],
) -> list[Phrase]:
    """Phrases completed from those before them: the lung's side ("In the left lung, ... in the upper lobe"), or the
    organ that "its parenchyma" and "segment 4" belong to, which may be that of the heading."""
    if len(phrases) < 2 and not topics:
        return list(phrases)
    above = next((topic for topic in topics if not places[topic.place].of_context), None)
    result: list[Phrase] = []
    known: tuple[str, ...] = ()
    known_at = -1
    for number, phrase in enumerate(phrases):
        clause = next(c for c in clauses if c[0] <= phrase.first < c[1])
        members = list(phrase.members)
        for position, member in enumerate(members):
            place = places.get(member.place)
            if place is not None and place.of_context:
                organ = next((m for p in reversed(result) for m in p.members if m.place), above)
                if organ is not None and not _in_levels(places[organ.place]):
                    members[position] = member._replace(place=organ.place)
                    continue
            if place is None or place.right == place.left or place.role not in ("whole", "level", "near"):
                continue
            if member.sides:
                known, known_at = member.sides, phrase.first
            elif place.location in (place.right, place.left):  # the middle lobe
                continue
            elif known and (known_at >= clause[0] or known_at <= 3) and number and not tokens.plural(member.last - 1):
                members[position] = member._replace(sides=known)
        result.append(phrase._replace(members=tuple(members)))
    return result


def _in_levels(place: Place) -> bool:
    """Whether a place is an organ with levels (the lung), or a level of one."""
    return place.role in ("whole", "level")
