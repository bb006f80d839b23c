"""From place words to location columns: sides, plausibility, defaults, and what is left out as less specific."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .text import Token
from .vocabulary import Vocabulary

if TYPE_CHECKING:
    from .phrases import Member
    from .sentence import Spot

__all__ = ["LocationRules"]

_FAMILIES = {
    "lung": frozenset(("lung", "lung_level", "pleura", "airway", "bronchial_wall", "septa", "position", "")),
    "heart": frozenset(("heart", "coronary", "pericardium", "valve", "")),
}
_FAMILY_OF_HOME = {
    **dict.fromkeys(("lung", "pleura", "airway"), "lung"),
    **dict.fromkeys(("heart", "coronary", "pericardium"), "heart"),
}


class LocationRules:
    """Location columns of a vocabulary's concepts."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ancestors = {name: vocabulary.ancestors(name) for name in vocabulary.rollup}

    def spots(
        self, concept: str, members: Sequence[Member], tokens: Sequence[Token]
    ) -> tuple[tuple[Spot, ...], tuple[str, ...], tuple[int, int]]:
        """Columns of the places that the concept can lie in, and a side stated without a place, with its characters."""
        from .sentence import Spot

        places = self._vocabulary.places
        sides: tuple[str, ...] = ()
        side_at = (-1, -1)
        for member in members:
            if not member.place:
                sides = member.sides
                side_at = (tokens[member.first].start, tokens[member.last - 1].end)
        spots: dict[str, Spot] = {}
        for member in members:
            if not member.place or not self._fits(concept, places[member.place].group):
                continue
            place = places[member.place]
            at = (tokens[member.first].start, tokens[member.last - 1].end)
            columns = [getattr(place, side) for side in (member.sides or sides)] or [place.location]
            for column in columns:
                if column:
                    spots.setdefault(column, Spot(column, *at, place.name))
        return self._specific(spots), sides, side_at

    def default(
        self, concept: str, inner: str, topic: str, sides: tuple[str, ...], side_at: tuple[int, int]
    ) -> tuple[tuple[Spot, ...], str]:
        """Where a concept lies when no place stands beside it.

        In this order: a place in its own words ("hilar mass"), the heading above, its home, a bare side, unplaced.
        """
        from .sentence import Spot

        places = self._vocabulary.places
        home = self._vocabulary.concepts[concept].home
        if inner and places[inner].group in _FAMILIES["lung"] and topic:
            inner = ""  # "pulmonary nodule" says no more than the heading "Right lung:"
        for name, rule in ((inner, "own_words"), (topic, "heading"), (home, "home")):
            if name and (name == home or self._fits(concept, places[name].group)):
                place = places[name]
                columns = [getattr(place, side) for side in sides] or [place.location]
                spots = tuple(Spot(c, *side_at, name) for c in dict.fromkeys(columns) if c)
                if spots:
                    return spots, rule
        bare = tuple(Spot(side, *side_at, "") for side in sides if side in self._vocabulary.locations)
        if bare:
            return bare, "side"
        return (Spot(self._vocabulary.unplaced, -1, -1, ""),), "unplaced"

    def allowed(self, label: str, spots: Sequence[Spot]) -> Sequence[Spot]:
        """The spots that the label can have; where there is none, its own organ, or the unplaced column."""
        from .sentence import Spot

        forbidden = self._vocabulary.forbidden
        if not forbidden:
            return spots
        kept = [spot for spot in spots if (label, spot.location) not in forbidden]
        if kept:
            return kept
        column = self._vocabulary.own_organ.get(label, self._vocabulary.unplaced)
        return [Spot(column, spots[0].start, spots[0].end, spots[0].place)] if spots else []

    def fits_locations(self, concept: str, spots: Sequence[Spot]) -> bool:
        """Whether a concept can lie where an earlier one does."""
        places = self._vocabulary.places
        return all(not spot.place or self._fits(concept, places[spot.place].group) for spot in spots)

    def _fits(self, concept: str, group: str) -> bool:
        entry = self._vocabulary.concepts[concept]
        if entry.within:
            return group in entry.within
        family = _FAMILY_OF_HOME.get(entry.home)
        return family is None or group in _FAMILIES[family]

    def _specific(self, spots: dict[str, Spot]) -> tuple[Spot, ...]:
        covered = {ancestor for column in spots for ancestor in self._ancestors.get(column, ())}
        return tuple(spot for column, spot in spots.items() if column not in covered)

