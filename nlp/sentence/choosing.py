"""The findings among the hits of a sentence: those named, and those that a size or a pronoun stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress, count, pairwise

from ..language.trie import Hit
from ..language.vocabulary import Vocabulary
from .measurements import Size

__all__ = ["FindingChooser"]


class FindingChooser:
    """Chooses the findings of a sentence with a vocabulary and the word lists of a language."""

    def __init__(self, vocabulary: Vocabulary, lists: Mapping[str, frozenset[str]]) -> None:
        self._vocabulary = vocabulary
        self._lists = lists
        self._stand_ins = lists["articles"] | lists["pronouns"]
        self._mentioned = {name: place.mentioned for name, place in vocabulary.places.items() if place.mentioned}
        self._adjectives = frozenset(name for name, concept in vocabulary.concepts.items() if concept.yields_to)

    def choose(self, words: Sequence[str], hits: Sequence[Hit], sizes: Sequence[Size]) -> list[Hit]:
        """The findings among the hits, with those that only a size or a pronoun stands for."""
        lists = self._lists
        findings = [hit for hit in hits if hit.kind == "finding"]
        if self._mentioned:
            findings = self._with_mentioned(findings, hits)
        if len(sizes) > 1 and findings:
            findings = self._with_repeats(words, findings, hits, sizes)
        pronoun = not lists["pronouns"].isdisjoint(words) or (
            not lists["articles"].isdisjoint(words) and any(hit.kind == "side" for hit in hits)
        )
        if pronoun and findings:
            findings = self._with_pronouns(words, findings, hits)
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

    def _with_repeats(
        self, words: Sequence[str], findings: list[Hit], hits: Sequence[Hit], sizes: Sequence[Size]
    ) -> list[Hit]:
        """Findings and the sizes that stand for one more of them ("6 mm in the upper lobe and 11 mm in the lower")."""
        links = self._lists["prepositions"] | self._lists["articles"]
        places = [hit for hit in hits if hit.kind != "finding"]
        current = [size for size in sizes if not size.prior and not size.now]
        placed = [
            size
            for size in current
            if any(size.last <= p.first and links.issuperset(words[size.last : p.first]) for p in places)
        ]
        result = list(findings)
        for before, size in pairwise(placed):
            earlier = [hit for hit in findings if hit.last <= before.first]
            if earlier and not any(before.first < hit.first < size.last for hit in findings):
                result.append(Hit("finding", earlier[-1].name, size.first, size.last))
        return sorted(result, key=lambda hit: hit.first)

    def _with_pronouns(self, words: Sequence[str], findings: list[Hit], hits: Sequence[Hit]) -> list[Hit]:
        """Findings and what stands for them: "but one on the left", "while the left is unchanged"."""
        result, concepts = list(findings), self._vocabulary.concepts
        blocked = self._lists["prepositions"] | self._lists["separators"] | self._lists["finite"]
        subjects = {
            hit.first - 1
            for hit in hits
            if hit.kind == "side"
            and words[hit.last : hit.last + 1]
            and words[hit.last] in self._lists["finite"]
            and not (hit.first > 1 and words[hit.first - 2] in self._lists["prepositions"])
            and self._lists["denials"].isdisjoint(words[hit.last + 1 : hit.last + 4])
        }
        for index in compress(count(), map(self._stand_ins.__contains__, words)):
            word = words[index]
            alone = index + 1 == len(words) or words[index + 1] in blocked
            if (word in self._lists["articles"] and index in subjects) or (word in self._lists["pronouns"] and alone):
                earlier = [
                    h for h in findings if h.last <= index and (concepts[h.name].labels or concepts[h.name].otherwise)
                ]
                result += [Hit("finding", h.name, index, index + 1) for h in earlier[-1:]]
        return sorted(result, key=lambda hit: hit.first)

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
