"""The words of a sentence: its tokens with typing errors put right, its terms, and its cues."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ..language.cues import CueTable
from ..language.spelling import LONG, Speller
from ..language.text import Tokens, WordForms
from ..language.trie import Hit, Trie
from ..language.vocabulary import Vocabulary
from .own_words import OwnWords

__all__ = ["Lexicon"]

_KNOWN_WORDS = 20_000


class Lexicon:
    """Looks sentences up in a vocabulary and the cues of a language.

    Attributes:
        known_words: every word that means something.
        numbered: words whose number is part of a term ("segment 4").
        own_words: what stands inside the words of a finding.
    """

    def __init__(self, vocabulary: Vocabulary, cues: CueTable, forms: WordForms) -> None:
        self._forms = forms
        self._concepts = vocabulary.concepts
        self._cues = cues
        self._trie = Trie()
        self._trie.update(vocabulary.terms)
        self.own_words = OwnWords(vocabulary)
        of_terms = frozenset(word for words, _, _ in vocabulary.terms for word in words)
        self.known_words = of_terms.union(*cues.words.values())
        self.numbered = sorted({a for words, _, _ in vocabulary.terms for a, b in pairwise(words) if b.isdigit()})
        self._right = set(self.known_words)
        self._speller = Speller(of_terms, cues.words["no_typos"])

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text in lower case, as they stand."""
        return Tokens(text, self._forms)

    def scan(self, words: Sequence[str]) -> list[Hit]:
        """The terms of a few words, as they stand."""
        return self._trie.scan(words)

    def corrected(self, text: str) -> Tokens:
        """The tokens of a sentence in lower case, long words put right."""
        tokens = Tokens(text, self._forms)
        words = tokens.words
        if not self._right.issuperset(words):
            for position, word in enumerate(words):
                if len(word) >= LONG and word not in self._right:
                    words[position] = self._speller.correct(word)
            if len(self._right) > _KNOWN_WORDS:
                self._right = set(self.known_words)
            self._right.update(words)  # each is looked at once
        return tokens

    def terms(self, words: Sequence[str]) -> list[Hit]:
        """The terms of a sentence that say something here."""
        hits = self._trie.scan(words)
        if len(hits) > 1:
            hits = self._separate(words, hits)
        degrees = self._cues.words["degrees"]
        if not degrees.isdisjoint(words):  # "more prominent on the right" finds nothing
            hits = [
                h
                for h in hits
                if h.kind != "finding" or self._concepts[h.name].labels or words[h.first - 1] not in degrees
            ]
        return hits

    def cues(self, words: Sequence[str], hits: Sequence[Hit]) -> list[Hit]:
        """The cues of a sentence, without words that belong to its findings and sides."""
        cue_hits = self._cues.trie.scan(words)
        if not cue_hits:
            return cue_hits
        taken = [
            (hit.first, hit.last)
            for hit in hits
            if hit.kind == "side" or (hit.kind == "finding" and self._concepts[hit.name].labels)
        ]
        result: list[Hit] = []
        for cue in cue_hits:
            ends = [max(first, cue.first) for first, last in taken if first < cue.last and cue.first < last]
            result += [cue] if not ends else self._shorter(words, cue, ends[0])
        return result

    def _separate(self, words: Sequence[str], hits: list[Hit]) -> list[Hit]:
        """Hits with place and finding apart where the place is coordinated: "pleural and | pericardial | effusion"."""
        for index in range(1, len(hits)):
            hit, before, start = hits[index], hits[index - 1], hits[index].first
            if hit.kind != "finding" or hit.last - hit.first < 2:
                continue
            if index > 1 and before.kind == "side" and before.last == start:  # "pericardial and left pleural effusions"
                before, start = hits[index - 2], before.first
            if before.kind != "place":
                continue
            between = words[before.last : start]
            if len(between) != 1 or between[0] not in self._cues.words["place_joins"]:
                continue
            parts = self.own_words.parts.get(tuple(words[hit.first : hit.last]))
            if parts is not None:
                place, cut, name = parts
                apart = [
                    Hit("place", place, hit.first, hit.first + cut),
                    Hit("finding", name, hit.first + cut, hit.last),
                ]
                return [*hits[:index], *apart, *self._separate(words, hits[index + 1 :])]
        return hits

    def _shorter(self, words: Sequence[str], cue: Hit, end: int) -> list[Hit]:
        """What is left of a cue that ends where a finding begins ("no | pathological lymph node")."""
        shorter = self._cues.trie.scan(words[cue.first : end])
        return [Hit("cue", h.name, cue.first + h.first, cue.first + h.last) for h in shorter]
