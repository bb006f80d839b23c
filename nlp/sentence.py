"""One sentence: its findings with status, places and sizes, independent of the rest of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .attachment import attach_phrases
from .clauses import split_clauses
from .cues import CueTable
from .locations import LocationRules, Spot
from .measurements import Size, find_sizes
from .phrases import Member, Phrase, find_phrases, share_sides
from .status import Verdict, judge
from .text import Tokens
from .trie import Hit, Trie
from .vocabulary import Concept, Vocabulary

__all__ = ["Mention", "Reading", "SentenceReader"]


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


class Reading(NamedTuple):
    """All mentions of a sentence, and whether it refers to what was said before ("It abuts ...")."""

    mentions: tuple[Mention, ...]
    anaphoric: bool


_NOTHING = Reading((), False)


class SentenceReader:
    """Reads sentences with a vocabulary and cues; ``read`` depends on the sentence alone and may be cached."""

    def __init__(self, vocabulary: Vocabulary, cues: CueTable) -> None:
        self._vocabulary = vocabulary
        self._cues = cues
        self._trie = Trie()
        self._trie.update(vocabulary.terms)
        self.rules = LocationRules(vocabulary)
        self._inner = _inner_places(vocabulary)

    def _topic(self, heading: str) -> Member | None:
        """The place that a heading names first ("lungs and pleura" is about the lung), with its side."""
        if not heading:
            return None
        tokens = Tokens(heading)
        phrases = find_phrases(tokens, self._trie.scan(tokens.words), self._vocabulary.places, self._vocabulary.levels)
        return next((m for phrase in phrases for m in phrase.members if m.place), None)

    def read(self, sentence: str, heading: str = "") -> Reading:
        """The findings of a sentence.

        Args:
            sentence: in lower case.
            heading: words of the organ heading that it stands under, in lower case.
        """
        tokens = Tokens(sentence)
        words = tokens.words
        hits = self._trie.scan(tokens.words)
        sizes = find_sizes(words) if "mm" in sentence or "cm" in sentence or "meter" in sentence or "metre" in sentence else []
        findings = [hit for hit in hits if hit.kind == "finding"]
        if sizes:
            findings = self._with_measured(findings, hits)
        if not findings:
            return _NOTHING
        concepts = self._vocabulary.concepts
        covered = {i for hit in findings if concepts[hit.name].labels for i in range(hit.first, hit.last)}
        cue_hits = [h for h in self._cues.trie.scan(words) if covered.isdisjoint(range(h.first, h.last))]
        clauses = split_clauses(words, hits, self._cues.words)
        phrases = find_phrases(tokens, hits, self._vocabulary.places, self._vocabulary.levels)
        phrases = share_sides(tokens, phrases, clauses, self._vocabulary.places)
        attached = attach_phrases(words, findings, phrases, clauses, self._cues.words)
        measured = _sizes_of(words, findings, sizes, self._cues.words)
        topic = self._topic(heading)
        mentions = []
        for hit, (own, rule), size in zip(findings, attached, measured, strict=True):
            clause = next(c for c in clauses if c[0] <= hit.first < c[1])
            inside = [p for p in phrases if clause[0] <= p.first < clause[1]]
            around = [p for p in phrases if p.first <= hit.first < p.last]
            own = around + own if around else own  # a measured lymph node is itself part of a place phrase
            inner = self._inner.get(tuple(words[hit.first : hit.last]), "")
            mention = self._mention(tokens, hit, findings, clause, cue_hits, own, inside, rule, size, inner, topic)
            if mention is not None:
                mentions.append(mention)
        return Reading(tuple(mentions), self._refers(words))

    def _refers(self, words: Sequence[str]) -> bool:
        hits = self._cues.anaphora.scan(words[:4])
        return bool(hits) and hits[0].first == 0

    def _with_measured(self, findings: list[Hit], hits: Sequence[Hit]) -> list[Hit]:
        """Places that a measurement makes a finding (lymph nodes), beside the findings."""
        extra = [
            Hit("finding", name, hit.first, hit.last)
            for hit in hits
            if hit.kind == "place" and (name := self._vocabulary.places[hit.name].measured)
        ]
        return sorted(findings + extra, key=lambda hit: hit.first)

    def _mention(
        self,
        tokens: Tokens,
        hit: Hit,
        findings: Sequence[Hit],
        clause: tuple[int, int],
        cue_hits: Sequence[Hit],
        own: Sequence[Phrase],
        inside: Sequence[Phrase],
        rule: str,
        size: Size | None,
        inner: str,
        topic: Member | None,
    ) -> Mention | None:
        concept = self._vocabulary.concepts[hit.name]
        members = [member for phrase in own for member in phrase.members]
        size_mm = _millimetres(size, concept)
        others = [m for p in inside for m in p.members] or ([topic] if topic is not None else [])
        labels = self._labels(concept, members, others, size_mm, size)
        if not labels:
            return None
        verdict = judge(hit, findings, clause, cue_hits, self._cues, words=tokens.words, persistent=concept.persistent)
        spots, named, rule = self.rules.spots(concept.name, members, tokens, rule, inner, topic)
        cue = tokens.span(verdict.first, verdict.last) if verdict.first >= 0 else (-1, -1)
        return Mention(
            concept.name,
            tuple((label, self.rules.allowed(label, concept.name, spots, rule)) for label in labels),
            *tokens.span(hit.first, hit.last),
            verdict,
            cue,
            spots,
            named,
            size_mm,
            rule,
        )

    def _labels(
        self, concept: Concept, own: Sequence[Member], inside: Sequence[Member], size_mm: float | None, size: Size | None
    ) -> tuple[str, ...]:
        labels = list(concept.labels)
        if concept.when:
            given = self._when(concept, own)
            given = given if given or labels else self._when(concept, inside)
            labels += given or concept.otherwise
        for limit, extra in concept.size_over_mm:
            if size_mm is not None and size_mm > limit and not (size is not None and size.below):
                labels += extra
        return tuple(dict.fromkeys(labels))

    def _when(self, concept: Concept, members: Sequence[Member]) -> list[str]:
        places = self._vocabulary.places
        return [
            label
            for member in members
            if member.place
            for key, extra in concept.when.items()
            if key in (member.place, places[member.place].group)
            for label in extra
        ]


def _inner_places(vocabulary: Vocabulary) -> dict[tuple[str, ...], str]:
    """The first place named inside a finding's own words ("hilar mass", "rib fracture")."""
    trie = Trie()
    trie.update((words, kind, name) for words, kind, name in vocabulary.terms if kind == "place")
    inner = {}
    for words, kind, _ in vocabulary.terms:
        if kind == "finding" and len(words) > 1:
            hits = trie.scan(words)
            if hits and vocabulary.places[hits[0].name].location:
                inner[words] = hits[0].name
    return inner


def _sizes_of(
    words: Sequence[str], findings: Sequence[Hit], sizes: Sequence[Size], lists: Mapping[str, frozenset[str]]
) -> list[Size | None]:
    """The current measurement of each finding: the one right before it ("5 mm nodule"), else the first after it."""
    result: list[Size | None] = [None] * len(findings)
    blocked = lists["finite"] | lists["prepositions"] | lists["joins"]
    for size in sizes:
        if size.prior:
            continue
        before = [i for i, hit in enumerate(findings) if hit.last <= size.first]
        after = [i for i, hit in enumerate(findings) if hit.first >= size.last]
        direct = after and all(word not in blocked for word in words[size.last : findings[after[0]].first])
        if direct or (after and not before):
            target = after[0]
        elif before:
            target = before[-1]
        else:
            continue
        if result[target] is None:
            result[target] = size
    return result


def _millimetres(size: Size | None, concept: Concept) -> float | None:
    if size is None:
        return None
    if concept.short_axis:
        return min(size.dimensions)
    return max(size.dimensions)
