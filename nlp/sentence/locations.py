"""From place words to location columns: sides, plausibility, defaults, and what is left out as less specific."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from ..language.vocabulary import Concept, Vocabulary
from .mention import Mention, Spot
from .phrases import Member

__all__ = ["LocationRules", "Placed", "Placement"]

_SHARED_RULES = frozenset(("list", "clause", "clause_after", "topic"))


Labels = tuple[tuple[str, tuple[Spot, ...]], ...]
"""Labels with the spots that each can have."""


class Placed(NamedTuple):
    """A location column, the number of the member that gave it (-1 where none did), its place and the stated side."""

    location: str
    member: int
    place: str
    side: str


class Placement(NamedTuple):
    """Where a concept lies.

    Attributes:
        spots: its location columns.
        named: whether its sentence names the place.
        rule: how the place was chosen.
        labels: its labels with the spots that each can have; None stands for all of them.
        ready: spots and labels as they stand, where no words of the sentence gave any of them.
    """

    spots: tuple[Placed, ...]
    named: bool
    rule: str
    labels: tuple[tuple[str, tuple[Placed, ...] | None], ...]
    ready: tuple[tuple[Spot, ...], Labels] | None

    def at(self, where: Sequence[tuple[int, int]]) -> tuple[tuple[Spot, ...], Labels]:
        """Spots and labels with characters, ``where`` being those of the members and at last (-1, -1)."""
        spots = _spots_at(self.spots, where)
        return spots, tuple([(label, spots if kept is None else _spots_at(kept, where)) for label, kept in self.labels])


def _alike(vocabulary: Vocabulary) -> dict[str, int]:
    """A number for each concept, shared by all that lie in the same places (nodule, mass, consolidation ...)."""
    classes: dict[tuple[object, ...], int] = {}
    return {
        name: classes.setdefault((entry.home, entry.within, bool(entry.elsewhere), tuple(entry.when)), len(classes))
        for name, entry in vocabulary.concepts.items()
    }


_spot = partial(tuple.__new__, Spot)  # the class's own call takes twice as long, and a report has dozens


def _spots_at(placed: Sequence[Placed], where: Sequence[tuple[int, int]]) -> tuple[Spot, ...]:
    return tuple([_spot((column, *where[number], place, side)) for column, number, place, side in placed])


_AnySpot = TypeVar("_AnySpot", Spot, Placed)
AnyMention = TypeVar("AnyMention", bound="Mention")
_KNOWN_PLACEMENTS = 20_000


class LocationRules:
    """Location columns of a vocabulary's concepts."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._placements: dict[tuple[object, ...], Placement] = {}
        self._spots_known: dict[tuple[object, ...], tuple[tuple[Placed, ...], bool, str, bool]] = {}
        self._alike = _alike(vocabulary)
        self._refused: dict[str, frozenset[str]] = {}
        for label, column in vocabulary.forbidden:
            self._refused[label] = self._refused.get(label, frozenset()) | {column}
        self._fits: dict[tuple[str, str], bool] = {}
        self._ancestors = {name: frozenset(vocabulary.ancestors(name)) for name in vocabulary.rollup}

    def place(
        self,
        concept: str,
        labels: tuple[str, ...],
        members: Sequence[Member],
        rule: str,
        inner: str,
        topic: Member | None,
    ) -> Placement:
        """Where a concept lies.

        It depends on the places alone, of which reports name few, so that it is worked out once for each wording.

        Args:
            concept: key of the concept.
            labels: the labels that it stands for here.
            members: places attached to it.
            rule: how they were attached.
            inner: place in the finding's own words ("hilar mass"), or empty.
            topic: place of the heading above, or None.
        """
        wording = tuple([(member.place, member.sides) for member in members])
        above = (topic.place, topic.sides) if topic is not None else None
        key = (concept, labels, wording, rule, inner, above)
        known = self._placements.get(key)
        if known is None:
            if len(self._placements) >= _KNOWN_PLACEMENTS:
                self._placements.clear()
                self._spots_known.clear()
            place = (self._alike[concept], *key[2:])
            found = self._spots_known.get(place)
            if found is None:
                outside = self._outside(concept, members, rule, inner)
                inside = self._spots(concept, members, rule, inner, topic) if not outside else (outside, True, rule)
                found = self._spots_known[place] = (*inside, bool(outside))
            spots, named, rule, elsewhere = found
            if elsewhere:  # another disease of another organ: "perihepatic effusion"
                labels = self._vocabulary.concepts[concept].elsewhere
            allowed = [(x, self.allowed(x, concept, self._spots_of_label(x, concept, spots), rule)) for x in labels]
            given = tuple([(label, None if kept == spots else kept) for label, kept in allowed])
            known = Placement(spots, named, rule, given, None)
            if all(spot.member < 0 for spot in spots):
                known = known._replace(ready=known.at(((-1, -1),)))
            self._placements[key] = known
        return known

    def _outside(self, concept: str, members: Sequence[Member], rule: str, inner: str) -> tuple[Placed, ...]:
        """The organs that the text gives a concept which cannot lie in any of them, if it is another label there."""
        places = self._vocabulary.places
        if inner and places[inner].of_context:  # "liver parenchymal disease"
            inner = ""
        if not self._vocabulary.concepts[concept].elsewhere or rule in _SHARED_RULES or inner:
            return ()
        named = [(n, m) for n, m in enumerate(members) if m.place and places[m.place].role != "position"]
        if not named or any(self.fits(concept, m.place) or places[m.place].side_too for _, m in named):
            return ()
        spots = {c: Placed(c, n, m.place, side) for n, m in named for c, side in self._columns(m.place, m.sides)}
        return self._specific(spots)

    def at_place_of(self, mention: AnyMention, before: Sequence[AnyMention]) -> AnyMention:
        """The mention at the place of what it refers to ("It contains ..."), if it can lie there."""
        for earlier in before:
            if earlier.named and self.carried(mention, earlier.spots):
                spots = tuple(spot._replace(start=-1, end=-1) for spot in earlier.spots)
                labels = tuple(
                    (name, self.allowed(name, mention.concept, spots, "carried")) for name, _ in mention.labels
                )
                return mention._replace(spots=spots, labels=labels, named=True, rule="carried")
        return mention

    def _spots_of_label(self, label: str, concept: str, spots: tuple[Placed, ...]) -> tuple[Placed, ...]:
        """The spots of a label that the concept has only beside certain places ("... of the aorta and coronaries")."""
        entry, places = self._vocabulary.concepts[concept], self._vocabulary.places
        if not entry.when:
            return spots
        beside = {key for key, extra in entry.when.items() if label in extra}
        if label in entry.labels or not beside:
            return spots
        own = tuple(s for s in spots if s.place and (s.place in beside or places[s.place].group in beside))
        return own or spots

    def _spots(
        self, concept: str, members: Sequence[Member], rule: str, inner: str, topic: Member | None
    ) -> tuple[tuple[Placed, ...], bool, str]:
        places = self._vocabulary.places
        sides: tuple[str, ...] = ()
        side_at = -1
        for number, member in enumerate(members):
            if not member.place:
                sides, side_at = member.sides, number
        fitting = [(n, m) for n, m in enumerate(members) if m.place and self.fits(concept, m.place)]
        if not sides and not fitting:  # what lies in the lung and goes out from the left hilum
            beside = [(n, m) for n, m in enumerate(members) if m.sides and m.place and places[m.place].side_too]
            side_at, sides = next(((n, m.sides) for n, m in beside), (side_at, sides))
        if rule in _SHARED_RULES:
            fitting = [(n, m) for n, m in fitting if self._shares(concept, m.place, inner)]
        if any(places[m.place].role != "position" for _, m in fitting):
            fitting = [(n, m) for n, m in fitting if places[m.place].role != "position"]
        own_side = topic.sides if topic is not None else ()
        spots: dict[str, Placed] = {}
        for number, member in fitting:
            for column, side in self._columns(member.place, member.sides or sides or own_side):
                spots.setdefault(column, Placed(column, number, member.place, side))
        if spots:
            self._add_sides(spots, sides, side_at)
            return self._specific(spots), True, rule
        found, named, rule = self._default(concept, inner, topic, sides, side_at)
        if rule == "unplaced" and fitting:  # a place without a column of its own ("vascular", "lymph node")
            number, member = fitting[0]
            own = [] if places[member.place].of_context else member.sides or sides
            columns = [side for side in own if side in self._vocabulary.locations] or [self._vocabulary.unplaced]
            return tuple(Placed(c, number, member.place, _side(member.sides)) for c in columns), True, rule
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
        if not home or any(places[home].group in family for family in self._vocabulary.families.values()):
            return True
        return places[place].group in (places[home].group, *entry.when) or place in entry.when

    def _add_sides(self, spots: dict[str, Placed], sides: Sequence[str], side_at: int) -> None:
        """The other lung, where the text says both and names a lobe of one ("bilaterally, the largest in the ...")."""
        whole = next((place for place in self._vocabulary.places.values() if place.both_sides), None)
        if whole is None or not all(spot.location in self._ancestors for spot in spots.values()):
            return
        if not any(spot.side for spot in spots.values()):
            return  # "the right aspect of the trachea"
        for side in sides:
            if not any(column.startswith(side) for column in spots):
                column = getattr(whole, side)
                spots[column] = Placed(column, side_at, whole.name, side)

    def _default(
        self, concept: str, inner: str, topic: Member | None, sides: tuple[str, ...], side_at: int
    ) -> tuple[tuple[Placed, ...], bool, str]:
        """Where it lies when no place stands beside it: its own words, the heading, its home, a bare side, unplaced."""
        places = self._vocabulary.places
        home = self._vocabulary.concepts[concept].home
        above = topic.place if topic is not None and self.fits(concept, topic.place) else ""
        if inner and home and places[inner].weak and places[inner].group == places[home].group:
            inner = ""  # "peribronchial thickening" says no more than its home
        if (
            inner
            and above
            and any(
                places[inner].group in family and places[above].group in family
                for family in self._vocabulary.families.values()
            )
        ):
            inner = ""  # "pulmonary nodule" says no more than the heading "Right lung:"
        for name, rule in ((inner, "own_words"), (above, "heading"), (home, "home")):
            if not name:
                continue
            own_side = sides or (topic.sides if topic is not None and rule != "own_words" else ())
            columns = self._columns(name, own_side)
            if columns:
                return tuple(Placed(column, side_at, name, side) for column, side in columns), bool(sides), rule
        bare = tuple(Placed(side, side_at, "", side) for side in sides if side in self._vocabulary.locations)
        if bare:
            return bare, True, "side"
        return (Placed(self._vocabulary.unplaced, -1, "", ""),), False, "unplaced"

    def allowed(self, label: str, concept: str, spots: tuple[_AnySpot, ...], rule: str) -> tuple[_AnySpot, ...]:
        """The spots that the label can have; where there is none, its home, its own organ, or the unplaced column."""
        refused = self._refused.get(label)
        if refused is None or refused.isdisjoint([spot.location for spot in spots]):
            return spots
        kept = tuple([spot for spot in spots if spot.location not in refused])
        if kept:
            return kept
        column = self._vocabulary.own_organ.get(label, self._vocabulary.unplaced)
        home = self._vocabulary.concepts[concept].home
        if rule in _SHARED_RULES and home and self._vocabulary.places[home].location not in refused:
            column = self._vocabulary.places[home].location
        return (spots[0]._replace(location=column),)

    def carried(self, mention: Mention, earlier: Sequence[Spot]) -> bool:
        """Whether a concept lies where an earlier finding does, because its own place is missing or less specific.

        A home is but assumed: what may lie in one of several organs (a sequela) lies in the one that was spoken of.
        """
        if not all(spot.place and self.fits(mention.concept, spot.place) for spot in earlier):
            return False
        if mention.rule == "home" and self._vocabulary.concepts[mention.concept].within:
            return True
        above = {
            self._vocabulary.unplaced,
            *(a for s in earlier for a in (s.location, *self._ancestors.get(s.location, ()))),
        }
        places = self._vocabulary.places
        return all(s.location in above or (s.place and places[s.place].role == "position") for s in mention.spots)

    def fits(self, concept: str, place: str) -> bool:
        """Whether a concept can lie at a place."""
        known = self._fits.get((concept, place))
        if known is None:
            entry, group = self._vocabulary.concepts[concept], self._vocabulary.places[place].group
            home = self._vocabulary.places[entry.home].group if entry.home else ""
            family = next((family for family in self._vocabulary.families.values() if home in family), None)
            known = group in entry.within if entry.within else family is None or group in family
            self._fits[concept, place] = known
        return known

    def _columns(self, name: str, sides: Sequence[str]) -> list[tuple[str, str]]:
        """The columns of a place on some sides, each with its side."""
        place = self._vocabulary.places[name]
        sides = sides or (("right", "left") if place.both else ())
        if place.right == place.left:
            return [(place.right if sides else place.location, _side(sides))] if place.location else []
        columns = [(getattr(place, side), side) for side in sides] or [(place.location, "")]
        return [(column, side) for column, side in columns if column]

    def _specific(self, spots: dict[str, Placed]) -> tuple[Placed, ...]:
        if len(spots) < 2:
            return tuple(spots.values())
        covered = {ancestor for column in spots for ancestor in self._ancestors.get(column, ())}
        places = self._vocabulary.places
        return tuple(
            spot for column, spot in spots.items() if column not in covered or (spot.place and places[spot.place].apart)
        )


def _side(sides: Sequence[str]) -> str:
    return "both" if len(sides) > 1 else "".join(sides)
