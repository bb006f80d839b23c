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
        """The same in a text in which the sentence begins so many characters later."""

        def move(spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
            return tuple(s if s.start < 0 else s._replace(start=s.start + by, end=s.end + by) for s in spots)

        return self._replace(
            labels=tuple((label, move(spots)) for label, spots in self.labels),
            start=self.start + by,
            end=self.end + by,
            cue=self.cue if self.cue[0] < 0 else (self.cue[0] + by, self.cue[1] + by),
            spots=move(self.spots),
        )
