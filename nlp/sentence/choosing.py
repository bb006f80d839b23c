"""The findings among the terms of a sentence: those named, and the places that are a mention by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..language.trie import Hit
from ..language.vocabulary import Vocabulary

__all__ = ["FindingChooser"]


class FindingChooser:
    """Chooses the findings of a sentence with a vocabulary and the word lists of a language."""

    def __init__(self, vocabulary: Vocabulary, lists: Mapping[str, frozenset[str]]) -> None:
        self._vocabulary = vocabulary
        self._lists = lists
        self._mentioned = {name: place.mentioned for name, place in vocabulary.places.items() if place.mentioned}
        self._adjectives = frozenset(name for name, concept in vocabulary.concepts.items() if concept.yields_to)

    def choose(self, words: Sequence[str], hits: Sequence[Hit]) -> list[Hit]:
        """The findings among the hits."""
        findings = [hit for hit in hits if hit.kind == "finding"]
        if self._mentioned:
            findings = self._with_mentioned(findings, hits)
        if len(findings) > 1 and not self._adjectives.isdisjoint([hit.name for hit in findings]):
            findings = self._without_adjectives(words, findings)
        return findings

    def _with_mentioned(self, findings: list[Hit], hits: Sequence[Hit]) -> list[Hit]:
        """Findings and the places that are a mention by themselves (lymph nodes)."""
        extra = [
            Hit("finding", self._mentioned[hit.name], hit.first, hit.last)
            for hit in hits
            if hit.kind == "place" and hit.name in self._mentioned
        ]
        return sorted(findings + extra, key=lambda hit: hit.first) if extra else findings

    def _without_adjectives(self, words: Sequence[str], findings: list[Hit]) -> list[Hit]:
        """Findings less those that only describe the finding after them (``yields_to``)."""
        blocked = self._lists["between_place_and_finding"]
        return [
            hit
            for hit, after in zip(findings, [*findings[1:], None], strict=True)
            if after is None
            or after.name not in self._vocabulary.concepts[hit.name].yields_to
            or not blocked.isdisjoint(words[hit.last : after.first])
        ]
