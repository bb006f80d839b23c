"""Place phrases: sides, levels and organ words of a sentence put together into locations.

"right upper and left lower lobes" is one phrase with two members, "both bases, left greater than right" one with two
sides. A phrase is what a finding is attached to (``attachment.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from ..language.text import Tokens
from ..language.trie import Hit
from ..language.vocabulary import Place, Vocabulary

__all__ = ["Member", "Phrase", "PhraseFinder"]

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
    vague: bool = False
    """Whether it names but the whole of an organ with levels, and no side ("pulmonary nodule")."""
    of: tuple[Member, ...] = ()
    """What a place is of where its members tell it better: the bronchi of "the bronchi of the right lower lobe"."""


# a report has dozens; the classes' own calls take twice as long
_member_of, _phrase = partial(tuple.__new__, Member), partial(tuple.__new__, Phrase)


class PhraseFinder:
    """Finds the place phrases of sentences; what the same words compose to is worked out once."""

    def __init__(self, vocabulary: Vocabulary, lists: Mapping[str, frozenset[str]]) -> None:
        self._vocabulary = vocabulary
        self._lists = lists
        self._known: dict[tuple[object, ...], Phrase] = {}
        self._alone: dict[tuple[str, str, bool], tuple[str, tuple[str, ...], bool, bool] | None] = {}

    def find(self, tokens: Tokens, hits: Sequence[Hit]) -> list[Phrase]:
        """The place phrases of a sentence, in order."""
        phrases: list[Phrase] = []
        run: list[Hit] = []
        measured = not self._lists["distances"].isdisjoint(tokens.words)
        for hit, following in pairwise((*hits, None)):
            assert hit is not None
            if run and (
                hit.kind == "finding"
                or (hit.kind == "side" and following is not None and self._is_of_next(tokens, run[-1], hit, following))
                or not _joined(tokens, run[-1], hit, self._lists)
                or (measured and self._is_measured_from(tokens, run, hit))
            ):
                phrases.append(self._phrase(tokens, run))
                run = []
            if hit.kind != "finding":
                run.append(hit)
        if run:
            phrases.append(self._phrase(tokens, run))
        return [phrase for phrase in phrases if phrase.members]

    def _is_of_next(self, tokens: Tokens, before: Hit, side: Hit, following: Hit) -> bool:
        """Whether a side belongs to the finding right after it: "a tube in the stomach, left | chest drain"."""
        if side.name == "both" or before.kind != "place" or following.kind != "finding" or following.first != side.last:
            return False
        return "," in tokens.words[before.last : side.first]

    def _is_measured_from(self, tokens: Tokens, run: Sequence[Hit], hit: Hit) -> bool:
        """Whether a phrase is but what a distance is measured from, so that the next place is one of its own.

        "2 cm above the diaphragm | in the left lower lobe".
        """
        lead = tokens.words[max(0, run[0].first - 4) : run[0].first]
        measured = not self._lists["distances"].isdisjoint(lead) and any(word[0].isdigit() for word in lead)
        return measured and self._lists["place_joins"].isdisjoint(tokens.words[run[-1].last : hit.first])

    def _phrase(self, tokens: Tokens, run: Sequence[Hit]) -> Phrase:
        """The phrase of a run of hits, by its words, which are the same for every sentence that names the place so."""
        if len(run) == 1:
            return self._of_one(tokens, run)
        base = run[0].first
        key = (*tokens.raw[base : run[-1].last], *[hit.name for hit in run])
        phrase = self._known.get(key)
        if phrase is None:
            if len(self._known) >= _KNOWN_PHRASES:
                self._known.clear()
            phrase = self._known[key] = _moved(_compose(tokens, run, self._vocabulary, self._lists), -base)
        return _moved(phrase, base)

    def _of_one(self, tokens: Tokens, run: Sequence[Hit]) -> Phrase:
        """The phrase of one hit, by its name and number alone."""
        kind, name, first, last = run[0]
        key = (kind, name, kind != "side" and tokens.plural(last - 1))
        if key not in self._alone:
            phrase = _compose(tokens, run, self._vocabulary, self._lists)
            self._alone[key] = (*phrase.members[0][:2], phrase.firm, phrase.vague) if phrase.members else None
        known = self._alone[key]
        if known is None:
            return _phrase((first, last, (), False, False, ()))
        place, sides, firm, vague = known
        return _phrase((first, last, (_member_of((place, sides, first, last)),), firm, vague, ()))


def _moved(phrase: Phrase, by: int) -> Phrase:
    if not by:
        return phrase
    first, last, given, firm, vague, of = phrase
    members = tuple([_member_of((place, sides, start + by, end + by)) for place, sides, start, end in given])
    return _phrase((first + by, last + by, members, firm, vague, of))


def _joined(tokens: Tokens, before: Hit, after: Hit, lists: Mapping[str, frozenset[str]]) -> bool:
    """Whether two hits belong to one phrase: only joins, links and nouns of position between them."""
    between = tokens.words[before.last : after.first]
    if not between:
        return True
    if before.kind == after.kind == "side":  # "moderate right and small left"
        between = [word for word in between if word not in lists["amounts"]]
    if lists["also"].intersection(between) and (lists["also"] | lists["articles"]).issuperset(between):
        return True  # "but also the"
    if "," in between and not lists["asides"].isdisjoint(between):
        between = _without_aside(between, lists["asides"])
    if len([w for w in between if w not in lists["nouns_of_part"]]) > 4 or not lists["between_places"].issuperset(
        between
    ):
        return False
    if len(between) == 1 and between[0] in lists["articles"]:  # "cyst in the liver | the upper abdomen is ..."
        return False
    # "on the right and pleural ..." begins something new; "right and left lower lobes" does not
    return not (before.kind == "side" and after.kind == "place" and not lists["place_joins"].isdisjoint(between))


def _without_aside(words: list[str], asides: frozenset[str]) -> list[str]:
    """The words without what stands between two commas and only weighs the place after it."""
    first = words.index(",")
    last = next((at for at in range(first + 1, len(words)) if words[at] == ","), first)
    return words[:first] + words[last + 1 :] if asides.issuperset(words[first + 1 : last]) else words


def _compose(tokens: Tokens, run: Sequence[Hit], vocabulary: Vocabulary, lists: Mapping[str, frozenset[str]]) -> Phrase:
    places = vocabulary.places
    members: list[Member] = []
    waiting: list[Member] = []  # levels, and members before them, that have yet to find their side or lobe
    sides: tuple[str, ...] = ()  # said before the places, which later ones share ("right upper and lower lobes")
    of: list[Member] = []
    lone = (-1, -1)  # tokens of a side that no place has followed so far
    for group in _groups(tokens, run, lists["place_joins"]):
        own, at, postposed = _sides_of(group, places)
        named = [hit for hit in group if hit.kind != "side"]
        if not named:
            if members and not waiting:
                members = _also_on(members, own, at, places, tokens)
            else:
                sides = tuple(dict.fromkeys((*sides, *own))) if lone[0] != -1 else own
                lone = at if lone[0] == -1 else lone
            continue
        if own:
            sides = tuple(dict.fromkeys((*sides, *own))) if lone[0] != -1 and not postposed else own
        found = [_member(hit, sides, tokens, vocabulary) for hit in named]
        first = lone[0] if lone[0] != -1 else at[0]
        if first != -1 and first < found[0].first:
            found[0] = found[0]._replace(first=first)
        lone = (-1, -1)
        if postposed:  # "upper and lower lobes of the left lung"
            waiting = [member._replace(sides=own) for member in waiting]
            members = [_sided(member, own, places) for member in members]
        organs = [places[hit.name] for hit in named if hit.kind == "place"]
        if not organs:
            waiting += found
            continue
        if any(organ.role in ("whole", "level", "near") for organ in organs):
            members += waiting
        else:
            found = [m for m, hit in zip(found, named, strict=True) if hit.kind == "place"]  # "upper thoracic spine"
        waiting = []
        kept = _of_lobes(found, places)
        of += [member for member in found if member not in kept]
        members += _definite(kept, vocabulary)
    members += [m for m in waiting if m.sides or places[m.place].alone]
    if lone[0] != -1 and not members:
        members = [Member("", sides, *lone)]
    firm = any(not m.place or (places[m.place].role != "position" and not places[m.place].of_context) for m in members)
    vague = all(m.place and not m.sides and places[m.place].role == "whole" for m in members)
    return Phrase(run[0].first, run[-1].last, tuple(_across(members, vocabulary)), firm, vague, tuple(of))


def _sided(member: Member, sides: tuple[str, ...], places: Mapping[str, Place]) -> Member:
    """The member with sides where it has none and its place can have them."""
    place = places[member.place]
    free = not member.sides and place.right != place.left and place.location not in (place.right, place.left)
    return member._replace(sides=sides) if free else member


def _groups(tokens: Tokens, run: Sequence[Hit], joins: frozenset[str]) -> list[list[Hit]]:
    """The hits of a run between its commas and its words of joining."""
    groups = [[run[0]]]
    for before, hit in pairwise(run):
        if joins.isdisjoint(tokens.words[before.last : hit.first]):
            groups[-1].append(hit)
        else:
            groups.append([hit])
    return groups


def _sides_of(group: Sequence[Hit], places: Mapping[str, Place]) -> tuple[tuple[str, ...], tuple[int, int], bool]:
    """The sides of a group, their tokens, and whether they stand after its first place ("lobe of the left lung")."""
    sides: tuple[str, ...] = ()
    at = (-1, -1)
    postposed = False
    for number, hit in enumerate(group):
        both = hit.kind == "place" and places[hit.name].both and places[hit.name].role == "whole" and len(group) > 1
        if hit.kind == "side" or both:  # "of the left lung", "of both lungs", "both lung lower lobes"
            sides = tuple(dict.fromkeys((*sides, *_SIDES["both" if both else hit.name])))
            if at[0] == -1:
                at, postposed = (hit.first, hit.last), number > 0
    return sides, at, postposed


def _member(hit: Hit, sides: tuple[str, ...], tokens: Tokens, vocabulary: Vocabulary) -> Member:
    """A place with the sides said of it, unless its own words tell them ("RUL", "bibasilar", "lower lobes")."""
    place = vocabulary.levels[hit.name] if hit.kind == "level" else hit.name
    entry = vocabulary.places[place]
    plural = entry.right != entry.left and entry.role == "level" and tokens.plural(hit.last - 1)
    own = (entry.fixed_side,) if entry.fixed_side else sides or (("right", "left") if entry.both or plural else ())
    return Member(place, own, hit.first, hit.last)


def _also_on(
    members: list[Member], sides: tuple[str, ...], at: tuple[int, int], places: Mapping[str, Place], tokens: Tokens
) -> list[Member]:
    """Members with a side named after them: theirs where they had none, else the last place on that side too."""
    free = [not m.sides or _plural_only(m, tokens) for m in members]
    if any(free):
        return [m._replace(sides=sides) if is_free else m for m, is_free in zip(members, free, strict=True)]
    last = members[-1]
    if set(sides) <= set(last.sides) or places[last.place].right == places[last.place].left:
        return members
    return [*members, Member(last.place, sides, *at)]


def _plural_only(member: Member, tokens: Tokens) -> bool:
    """Both sides were assumed from a plural, and a stated side may overrule them."""
    return tokens.plural(member.last - 1) and member.last - member.first <= 2


def _of_lobes(members: list[Member], places: Mapping[str, Place]) -> list[Member]:
    """Members of one group without what is all over an organ of which a part is named ("bronchi of the left lung")."""
    organs = [m for m in members if not places[m.place].weak]
    if any(places[m.place].role == "level" or (places[m.place].role == "whole" and m.sides) for m in organs):
        return [m for m in members if places[m.place].role or not places[m.place].weak]
    return members


def _definite(members: list[Member], vocabulary: Vocabulary) -> list[Member]:
    """Members of one group without what a more definite one says better; a side known of the lung goes to its lobe."""
    if len(members) < 2:
        return members
    places = vocabulary.places
    if any(places[m.place].location and not places[m.place].role for m in members):
        # "lateral segment of the left lobe of the liver"
        members = [m for m in members if not (places[m.place].weak and places[m.place].role == "level")]
    if any(places[m.place].of_context for m in members):  # "the left lobe of the thyroid", "segment 7 of the liver"
        organs = [m for m in members if not places[m.place].of_context and not places[m.place].role]
        if organs:
            return organs
        lobe = any(not places[m.place].location for m in members)  # the lung's lobes are named by level
        if lobe and all(places[m.place].weak or places[m.place].role != "level" for m in members):
            members = [m for m in members if places[m.place].role != "level"]
        members = [m for m in members if not places[m.place].of_context or places[m.place].role] or members
    whole = {name for m in members for name in places[m.place].part_of}
    members = [m for m in members if m.place not in whole]
    roles = [places[m.place].role for m in members]
    if "level" in roles:
        firm = any(r == "level" and not places[m.place].weak for m, r in zip(members, roles, strict=True))
        of_whole = next((m.sides for m, r in zip(members, roles, strict=True) if r == "whole" and m.sides), ())
        kept = []
        for member, role in zip(members, roles, strict=True):
            if role in ("whole", "position") or (role == "level" and firm and places[member.place].weak):
                continue
            kept.append(member if member.sides or role != "level" else member._replace(sides=of_whole))
        return kept
    if any(role != "position" for role in roles):
        return [m for m, role in zip(members, roles, strict=True) if role != "position"]
    return members


def _across(members: list[Member], vocabulary: Vocabulary) -> list[Member]:
    """Members of all groups of a phrase: a lung without a side, or a position, says nothing beside a lobe."""
    if len(members) < 2:
        return members
    places = vocabulary.places
    roles = [places[m.place].role if m.place else "" for m in members]
    levels = [m for m, r in zip(members, roles, strict=True) if r == "level"]
    known = {side for m in levels for side in m.sides}
    firm = any(not places[m.place].weak for m in levels)
    kept = []
    for member, role in zip(members, roles, strict=True):
        if role == "position" and any(r != "position" for r in roles):
            continue
        after = bool(levels) and levels[0].first < member.first
        if levels and role == "whole" and (known.issuperset(member.sides) or (after and len(member.sides) > 1)):
            continue  # "atelectasis in the lingula, both lungs are clear"
        if firm and role == "level" and places[member.place].weak and known.issuperset(member.sides):
            continue
        kept.append(member)
    of_whole = next((m.sides for m, r in zip(members, roles, strict=True) if r == "whole" and m.sides), ())
    if of_whole:
        kept = [m if m.sides or places[m.place].role != "level" else m._replace(sides=of_whole) for m in kept]
    return kept
