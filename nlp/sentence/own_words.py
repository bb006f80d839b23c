"""What stands inside the words of a finding: the place of a "hilar mass", the two halves of a "pleural effusion"."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from ..language.trie import Trie
from ..language.vocabulary import Vocabulary

__all__ = ["OwnWords"]


class OwnWords:
    """Looks into the terms of a vocabulary; what is found is kept, and nothing is looked for before it is asked for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[tuple[str, ...], str] = {}

    def place(self, term: Sequence[str]) -> str:
        """The first place named inside a finding's term ("hilar mass", "rib fracture"), or empty."""
        words = tuple(term)
        place = self._known.get(words)
        if place is None:
            hits = self._places.scan(words)
            place = hits[0].name if hits and self._vocabulary.places[hits[0].name].location else ""
            self._known[words] = place
        return place

    @cached_property
    def parts(self) -> dict[tuple[str, ...], tuple[str, int, str]]:
        """Terms that are a place and another finding ("pleural effusion"): place, its number of words, finding."""
        owners = {words: (kind, name) for words, kind, name in self._vocabulary.terms}
        parts = {}
        for words, (kind, _) in owners.items():
            for cut in range(len(words) - 1, 0, -1):
                place, rest = owners.get(words[:cut], ("", "")), owners.get(words[cut:], ("", ""))
                if kind == "finding" and place[0] == "place" and rest[0] == "finding":
                    parts[words] = (place[1], cut, rest[1])
                    break
        return parts

    @cached_property
    def _places(self) -> Trie:
        """The places alone."""
        trie = Trie()
        trie.update((words, kind, name) for words, kind, name in self._vocabulary.terms if kind == "place")
        return trie
