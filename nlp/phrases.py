"""Place phrases: sides, levels and organ words of a sentence put together into locations.

"right upper and left lower lobes" is one phrase with two members, "both bases, left greater than right" one with two
sides. A phrase is what a finding is attached to (``attachment.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .text import Tokens
from .trie import Hit
from .vocabulary import Place

__all__ = ["AMOUNTS", "Member", "Phrase", "PhraseFinder", "complete_phrases"]

_JOINS = frozenset((",", "and", "or", "/", "&", "+", "well", "as"))
_LINKS = frozenset(["of", "the", "in", "at", "on", "within", "its", "'s", "-", "(", ")"])
_NOUNS = frozenset(
    [
        "segment",
        "lobe",
        "branch",
        "zone",
        "field",
        "level",
        "region",
        "part",
        "portion",
        "area",
        "aspect",
        "side",
        "half",
        "third",
        "division",
        "posterior",
        "anterior",
        "superior",
        "inferior",
        "medial",
        "lateral",
    ]
)
AMOUNTS = frozenset(("small", "large", "moderate", "mild", "trace", "minimal", "tiny", "severe", "larger", "smaller"))
"""Words of amount, which may stand between two sides ("moderate right and small left")."""
_BETWEEN = _JOINS | _LINKS | _NOUNS
_KNOWN_PHRASES = 20_000
_SIDES = {"right": ("right",), "left": ("left",), "both": ("right", "left")}


class Member(NamedTuple):
    """One place of a phrase; ``place`` is empty for a side alone, ``sides`` empty where the text gives none."""

    place: str
    sides: tuple[str, ...]
    first: int
    last: int


class Phrase(NamedTuple):
    """A run of places in tokens ``first <= i < last``."""

    first: int
    last: int
    members: tuple[Member, ...]
    firm: bool
    """Whether it names more than a position (subpleural, anterior)."""


class PhraseFinder:
    """Finds the place phrases of sentences; what the same words compose to is worked out once."""

    def __init__(self, places: Mapping[str, Place], levels: Mapping[str, str]) -> None:
        self._places = places
        self._levels = levels
        self._known: dict[tuple[object, ...], Phrase] = {}

    def find(self, tokens: Tokens, hits: Sequence[Hit]) -> list[Phrase]:
        """The place phrases of a sentence, in order."""
        phrases: list[Phrase] = []
        run: list[Hit] = []
        for hit in hits:
            if run and (hit.kind == "finding" or not _joined(tokens, run[-1], hit)):
                phrases.append(self._phrase(tokens, run))
                run = []
            if hit.kind != "finding":
                run.append(hit)
        if run:
            phrases.append(self._phrase(tokens, run))
        return [phrase for phrase in phrases if phrase.members]

    def _phrase(self, tokens: Tokens, run: Sequence[Hit]) -> Phrase:
        """The phrase of a run of hits, by its words, which are the same for every sentence that names the place so."""
        base = run[0].first
        key = (*tokens.raw[base : run[-1].last], *[hit.name for hit in run])
        phrase = self._known.get(key)
        if phrase is None:
            if len(self._known) >= _KNOWN_PHRASES:
                self._known.clear()
            phrase = self._known[key] = _moved(_compose(tokens, run, self._places, self._levels), -base)
        return _moved(phrase, base)


def _moved(phrase: Phrase, by: int) -> Phrase:
    if not by:
        return phrase
    members = tuple([Member(place, sides, first + by, last + by) for place, sides, first, last in phrase.members])
    return Phrase(phrase.first + by, phrase.last + by, members, phrase.firm)


def _joined(tokens: Tokens, before: Hit, after: Hit) -> bool:
    """Whether two hits belong to one phrase: only joins, links and nouns of position between them."""
    between = tokens.words[before.last : after.first]
    if not between:
        return True
    if before.kind == after.kind == "side":  # "moderate right and small left"
        between = [word for word in between if word not in AMOUNTS]
    if between in (["but", "also"], ["but", "also", "the"]):
        return True
    if len(between) > 4 or not _BETWEEN.issuperset(between):
        return False
    if between == ["the"]:  # "cyst in the liver | the upper abdomen is ..."
        return False
    # "on the right and pleural ..." begins something new; "right and left lower lobes" does not
    return not (before.kind == "side" and after.kind == "place" and not _JOINS.isdisjoint(between))


def _compose(tokens: Tokens, run: Sequence[Hit], places: Mapping[str, Place], levels: Mapping[str, str]) -> Phrase:
    members: list[Member] = []
    sides: tuple[str, ...] = ()
    side_at = (-1, -1)
    pending: list[Member] = []
    for number, hit in enumerate(run):
        if hit.kind == "side":
            again = number > 0 and run[number - 1].kind == "side" and side_at[1] != -1
            sides = tuple(dict.fromkeys((*sides, *_SIDES[hit.name]))) if again else _SIDES[hit.name]
            side_at = (hit.first, hit.last)
        elif hit.kind == "level":
            pending.append(Member(levels[hit.name], sides, _start(side_at, hit), hit.last))
            side_at = (-1, -1)
        else:
            place = places[hit.name]
            if place.group.startswith("lung") or place.group == "pleura":
                members += pending
            pending = []
            own = sides or (("right", "left") if place.both else ())
            if not own and place.right != place.left and place.group == "lung_level" and tokens.plural(hit.last - 1):
                own = ("right", "left")
            members.append(Member(hit.name, own, _start(side_at, hit), hit.last))
            side_at = (-1, -1)
    members += [m for m in pending if m.sides or m.place in ("apex", "base")]
    if side_at[0] != -1:  # a side after its place, or with no place at all
        if members:
            members = [m if m.sides and not _plural_only(m, tokens) else m._replace(sides=sides) for m in members]
        else:
            members = [Member("", sides, *side_at)]
    firm = any(not m.place or places[m.place].group != "position" for m in members)
    return Phrase(run[0].first, run[-1].last, tuple(_definite(members, places)), firm)


def _start(side_at: tuple[int, int], hit: Hit) -> int:
    return side_at[0] if side_at[0] != -1 else hit.first


def _plural_only(member: Member, tokens: Tokens) -> bool:
    """Both sides were assumed from a plural, and a stated side may overrule them."""
    return tokens.plural(member.last - 1) and member.last - member.first <= 2


def _definite(members: list[Member], places: Mapping[str, Place]) -> list[Member]:
    """Without what a more definite member of the same phrase says better; a side known of the lung goes to its lobe."""
    if len(members) < 2:
        return members
    groups = [places[m.place].group if m.place else "" for m in members]
    if "lung_level" in groups:
        firm = any(g == "lung_level" and not places[m.place].weak for m, g in zip(members, groups, strict=True))
        of_lung = next((m.sides for m, g in zip(members, groups, strict=True) if g == "lung" and m.sides), ())
        kept = []
        for member, group in zip(members, groups, strict=True):
            if group in ("lung", "position") or (group == "lung_level" and firm and places[member.place].weak):
                continue
            kept.append(member if member.sides or group != "lung_level" else member._replace(sides=of_lung))
        return kept
    if any(m.place and places[m.place].of_context for m in members):  # "the left lobe of the thyroid"
        organs = [m for m in members if m.place and not places[m.place].of_context]
        return organs or members
    if any(g and g != "position" for g in groups):
        return [m for m, g in zip(members, groups, strict=True) if g != "position"]
    return members


def complete_phrases(
    tokens: Tokens, phrases: Sequence[Phrase], clauses: Sequence[tuple[int, int]], places: Mapping[str, Place]
) -> list[Phrase]:
    """Phrases completed from those before them: the lung's side ("In the left lung, ... in the upper lobe"), or the
    organ that "its parenchyma" belongs to."""
    if len(phrases) < 2:
        return list(phrases)
    result: list[Phrase] = []
    known: tuple[str, ...] = ()
    known_at = -1
    for number, phrase in enumerate(phrases):
        clause = next(c for c in clauses if c[0] <= phrase.first < c[1])
        members = list(phrase.members)
        for position, member in enumerate(members):
            place = places.get(member.place)
            if place is not None and place.of_context:
                organ = next((m for p in reversed(result) for m in p.members if m.place), None)
                if organ is not None and not places[organ.place].group.startswith("lung"):
                    members[position] = member._replace(place=organ.place)
                    continue
            if (
                place is None
                or place.right == place.left
                or place.group not in ("lung", "lung_level", "pleura", "fissure")
            ):
                continue
            if member.sides:
                known, known_at = member.sides, phrase.first
            elif known and (known_at >= clause[0] or known_at <= 3) and number and not tokens.plural(member.last - 1):
                members[position] = member._replace(sides=known)
        result.append(phrase._replace(members=tuple(members)))
    return result
