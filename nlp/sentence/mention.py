"""What a sentence says: a finding, and the places that it may have."""

from __future__ import annotations

from typing import NamedTuple

from .status import Verdict

__all__ = ["Mention", "Spot"]


class Spot(NamedTuple):
    """A location column with the characters of the sentence that gave it (-1 where none did), and its place."""

    location: str
    start: int
    end: int
    place: str
    side: str


class Mention(NamedTuple):
    """A finding of a sentence; characters are counted from the sentence's start.

    Attributes:
        concept: its concept.
        labels: the labels it stands for here, with the spots that each can have.
        start: first character.
        end: one past the last.
        verdict: status and change.
        cue: characters of the deciding cue, or (-1, -1).
        spots: its locations.
        named: whether the sentence itself names the place.
        size_mm: its current size.
        rule: how the place was chosen.
    """

    concept: str
    labels: tuple[tuple[str, tuple[Spot, ...]], ...]
    start: int
    end: int
    verdict: Verdict
    cue: tuple[int, int]
    spots: tuple[Spot, ...]
    named: bool
    size_mm: float | None
    rule: str

    def moved(self, by: int) -> Mention:
        """The same in a text in which the sentence begins so many characters later.

        Where it begins earlier, what was said before that has no characters; so have place and cue, if not the finding.
        """

        def move(span: tuple[int, int]) -> tuple[int, int]:
            return (span[0] + by, span[1] + by) if span[0] >= 0 and span[0] + by >= 0 else (-1, -1)

        def moved(spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
            return tuple(spot._replace(start=at[0], end=at[1]) for spot in spots for at in (move(spot[1:3]),))

        return self._replace(
            labels=tuple((label, moved(spots)) for label, spots in self.labels),
            start=self.start + by,
            end=self.end + by,
            cue=move(self.cue),
            spots=moved(self.spots),
        )
