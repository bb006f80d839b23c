"""Headings that name organs ("Right lung:"), and what stands below them."""

from __future__ import annotations

from ..language.cues import CueTable
from ..language.vocabulary import Vocabulary
from .lexicon import Lexicon
from .phrases import Member, PhraseFinder

__all__ = ["Topics"]


class Topics:
    """Reads the words before a colon."""

    def __init__(self, vocabulary: Vocabulary, cues: CueTable, lexicon: Lexicon, phrases: PhraseFinder) -> None:
        self._places = vocabulary.places
        self._cues = cues
        self._lexicon = lexicon
        self._phrases = phrases

    def topic_of(self, heading: str, organ: str) -> str:
        """The organ that the words before a colon name, in words: "Lungs:", but not "Pulmonary nodules:"; else empty.

        Words that only title a part of a report ("Lines and devices:", "Soft tissues:") are no findings either.

        Args:
            heading: the words.
            organ: those of the organ heading before, which "Upper lobe:" and "Left:" below "Right lung:" and "Pleura:"
                are parts of.
        """
        if not self._is_organ(heading):
            return ""
        if not organ:
            return heading
        phrases, above = self.members(heading), self.members(organ)
        places = self._places
        sides = {side for member in above for side in member.sides}
        if phrases and all(member.sides and not member.place for member in phrases):
            return f"{heading} {organ}" if any(m.place for m in above) and not sides else heading
        levels = [places[member.place] for member in phrases if member.place]
        whole = [member for member in above if member.place and places[member.place].role == "whole"]
        sided = any(place.role != "level" or place.right == place.left for place in levels)
        if not levels or sided or any(m.sides for m in phrases) or not whole or len(sides) != 1:
            return heading
        return f"{organ} {heading}"

    def members(self, heading: str) -> list[Member]:
        """The places and sides that a heading names."""
        tokens = self._lexicon.tokens(heading)
        phrases = self._phrases.find(tokens, self._lexicon.scan(tokens.words))
        return [member for phrase in phrases for member in phrase.members]

    def is_mention(self, heading: str) -> bool:
        """Whether a heading names what is a mention by itself ("Mediastinal lymph nodes:")."""
        hits = self._lexicon.scan(self._lexicon.tokens(heading).words)
        return any(hit.kind == "place" and self._places[hit.name].mentioned for hit in hits)

    def _is_organ(self, heading: str) -> bool:
        """Whether words name organs, or title a part of a report, and find nothing."""
        words = self._lexicon.tokens(heading).words
        hits = self._lexicon.scan(words)
        places = {i for hit in hits if hit.kind not in ("finding", "cue") for i in range(hit.first, hit.last)}
        titles = self._cues.words["titles"]
        if all(i in places or word in titles for i, word in enumerate(words)):
            return True
        return any(hit.kind == "place" for hit in hits) and not any(hit.kind == "finding" for hit in hits)
