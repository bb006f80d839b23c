"""From place words to location columns: sides, plausibility, defaults, and what is left out as less specific."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .phrases import Member
from .text import Tokens
from .vocabulary import Concept, Vocabulary

__all__ = ["LocationRules", "Spot"]

_FAMILIES = {
    "lung": frozenset(("lung", "lung_level", "pleura", "airway", "bronchial_wall", "septa", "fissure", "position")),
    "heart": frozenset(("heart", "heart_size", "coronary", "pericardium", "valve")),
}
_FAMILY_OF_HOME = {
    **dict.fromkeys(("lung", "pleura", "airway", "base"), "lung"),
    **dict.fromkeys(("heart", "coronary", "pericardium"), "heart"),
}
_SHARED_RULES = frozenset(("list", "clause", "clause_after", "topic"))


class Spot(NamedTuple):
    """A location column with the characters of the sentence that gave it (-1 where none did), and its place."""

    location: str
    start: int
    end: int
    place: str


class LocationRules:
    """Location columns of a vocabulary's concepts."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._fits: dict[tuple[str, str], bool] = {}
        self._ancestors = {name: frozenset(vocabulary.ancestors(name)) for name in vocabulary.rollup}

    def spots(
        self, concept: str, members: Sequence[Member], tokens: Tokens, rule: str, inner: str, topic: Member | None
    ) -> tuple[tuple[Spot, ...], bool, str]:
        """Where a concept lies, whether its sentence names the place, and the rule.

        Args:
            concept: key of the concept.
            members: places attached to it.
            tokens: the sentence.
            rule: how they were attached.
            inner: place in the finding's own words ("hilar mass"), or empty.
            topic: place of the heading above, or None.
        """
        places = self._vocabulary.places
        sides: tuple[str, ...] = ()
        side_at = (-1, -1)
        for member in members:
            if not member.place:
                sides = member.sides
                side_at = tokens.span(member.first, member.last)
        fitting = [m for m in members if m.place and self.fits(concept, m.place)]
        if rule in _SHARED_RULES:
            fitting = [m for m in fitting if self._shares(concept, m.place, inner)]
        if any(places[m.place].group != "position" for m in fitting):
            fitting = [m for m in fitting if places[m.place].group != "position"]
        own_side = topic.sides if topic is not None else ()
        spots: dict[str, Spot] = {}
        for member in fitting:
            at = tokens.span(member.first, member.last)
            for column in self._columns(member.place, member.sides or sides or own_side):
                spots.setdefault(column, Spot(column, *at, member.place))
        if spots:
            self._add_sides(spots, sides, side_at)
            return self._specific(spots), True, rule
        found, named, rule = self._default(concept, inner, topic, sides, side_at)
        if rule == "unplaced" and fitting:  # a place without a column of its own ("vascular", "lymph node")
            at = tokens.span(fitting[0].first, fitting[0].last)
            return (Spot(self._vocabulary.unplaced, *at, fitting[0].place),), True, rule
        return found, named, rule

    def topic(self, concept: Concept, topics: Sequence[Member]) -> Member | None:
        """The one of a heading's places that a concept belongs to ("Heart and mediastinum: lymphadenopathy")."""
        places, forbidden = self._vocabulary.places, self._vocabulary.forbidden
        fitting = [topic for topic in topics if self.fits(concept.name, topic.place)]
        labels = concept.labels or concept.otherwise
        likely = [t for t in fitting if any((label, places[t.place].location) not in forbidden for label in labels)]
        return next(iter(likely or fitting), None)

    def _shares(self, concept: str, place: str, inner: str) -> bool:
        """Whether a concept with a home of its own takes a place that was named for something else in the clause."""
        entry, places = self._vocabulary.concepts[concept], self._vocabulary.places
        home = inner or entry.home
        if not home or any(places[home].group in family for family in _FAMILIES.values()):
            return True
        return places[place].group in (places[home].group, *entry.when) or place in entry.when

    def _add_sides(self, spots: dict[str, Spot], sides: Sequence[str], side_at: tuple[int, int]) -> None:
        """The other lung, where the text says both and names a lobe of one ("bilaterally, the largest in the ...")."""
        lungs = self._vocabulary.places.get("lung")
        if lungs is None or not all(spot.location in self._ancestors for spot in spots.values()):
            return
        for side in sides:
            if not any(column.startswith(side) for column in spots):
                column = getattr(lungs, side)
                spots[column] = Spot(column, *side_at, "lung")

    def _default(
        self, concept: str, inner: str, topic: Member | None, sides: tuple[str, ...], side_at: tuple[int, int]
    ) -> tuple[tuple[Spot, ...], bool, str]:
        """Where it lies when no place stands beside it: its own words, the heading, its home, a bare side, unplaced."""
        places = self._vocabulary.places
        home = self._vocabulary.concepts[concept].home
        above = topic.place if topic is not None and self.fits(concept, topic.place) else ""
        if inner and above and places[inner].group in _FAMILIES["lung"]:
            inner = ""  # "pulmonary nodule" says no more than the heading "Right lung:"
        for name, rule in ((inner, "own_words"), (above, "heading"), (home, "home")):
            if not name:
                continue
            own_side = sides or (topic.sides if topic is not None and rule != "own_words" else ())
            columns = self._columns(name, own_side)
            if columns:
                return tuple(Spot(column, *side_at, name) for column in columns), bool(sides), rule
        bare = tuple(Spot(side, *side_at, "") for side in sides if side in self._vocabulary.locations)
        if bare:
            return bare, True, "side"
        return (Spot(self._vocabulary.unplaced, -1, -1, ""),), False, "unplaced"

    def allowed(self, label: str, concept: str, spots: Sequence[Spot], rule: str) -> tuple[Spot, ...]:
        """The spots that the label can have; where there is none, its home, its own organ, or the unplaced column."""
        forbidden = self._vocabulary.forbidden
        kept = tuple(spot for spot in spots if (label, spot.location) not in forbidden)
        if kept or not spots:
            return kept
        column = self._vocabulary.own_organ.get(label, self._vocabulary.unplaced)
        home = self._vocabulary.concepts[concept].home
        if rule in _SHARED_RULES and home and (label, self._vocabulary.places[home].location) not in forbidden:
            column = self._vocabulary.places[home].location
        return (Spot(column, spots[0].start, spots[0].end, spots[0].place),)

    def carried(self, concept: str, spots: Sequence[Spot], earlier: Sequence[Spot]) -> bool:
        """Whether a concept lies where an earlier finding does, because its own place is missing or less specific."""
        if not all(spot.place and self.fits(concept, spot.place) for spot in earlier):
            return False
        above = {
            self._vocabulary.unplaced,
            *(a for s in earlier for a in (s.location, *self._ancestors.get(s.location, ()))),
        }
        return all(spot.location in above for spot in spots)

    def fits(self, concept: str, place: str) -> bool:
        """Whether a concept can lie at a place."""
        known = self._fits.get((concept, place))
        if known is None:
            entry, group = self._vocabulary.concepts[concept], self._vocabulary.places[place].group
            family = _FAMILY_OF_HOME.get(entry.home)
            known = group in entry.within if entry.within else family is None or group in _FAMILIES[family]
            self._fits[concept, place] = known
        return known

    def _columns(self, name: str, sides: Sequence[str]) -> list[str]:
        place = self._vocabulary.places[name]
        both = ("right", "left") if place.both else ()
        columns = [getattr(place, side) for side in (sides or both)] or [place.location]
        return [column for column in dict.fromkeys(columns) if column]

    def _specific(self, spots: dict[str, Spot]) -> tuple[Spot, ...]:
        if len(spots) < 2:
            return tuple(spots.values())
        covered = {ancestor for column in spots for ancestor in self._ancestors.get(column, ())}
        return tuple(spot for column, spot in spots.items() if column not in covered)
