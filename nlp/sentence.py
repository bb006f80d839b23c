"""One sentence: its findings with status, places and sizes, independent of the rest of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .attachment import attach_phrases
from .clauses import split_clauses
from .cues import CueTable
from .findings import Finding
from .locations import LocationRules
from .measurements import Size, find_sizes
from .phrases import Member, Phrase, find_phrases
from .status import Verdict, judge
from .text import Token, tokenise
from .trie import Hit, Trie
from .vocabulary import Concept, Vocabulary

__all__ = ["Mention", "Reading", "SentenceReader"]


class Spot(NamedTuple):
    """A location column with the characters of the sentence that gave it (-1 where none did)."""

    location: str
    start: int
    end: int
    place: str


class Mention(NamedTuple):
    """A finding of a sentence; characters are counted from the sentence's start."""

    rules: LocationRules
    concept: str
    labels: tuple[str, ...]
    start: int
    end: int
    verdict: Verdict
    cue: tuple[int, int]
    spots: tuple[Spot, ...]
    sides: tuple[str, ...]
    side_at: tuple[int, int]
    size_mm: float | None
    place_rule: str
    inner: str

    def findings(
        self, base: int, text: str, section: str, number: int, *, muted: bool, topic: str, carried: Sequence[Mention]
    ) -> Iterator[Finding]:
        """The findings of this mention within its report.

        Args:
            base: character of the report at which the sentence begins.
            text: the sentence as written.
            section: its section.
            number: its number.
            muted: whether mentions of this section are only historical.
            topic: place named by the heading above.
            carried: mentions of an earlier sentence that this one refers to.
        """
        verdict = self.verdict
        status = "historical" if muted else verdict.status
        cue = text[slice(*self.cue)] if self.cue[0] >= 0 else ""
        spots, place_rule = self.spots, self.place_rule
        if not spots:
            spots, place_rule = self._fallback(topic, carried)
        rule = f"section:{section}" if muted else verdict.rule or "asserted"
        for label in self.labels:
            for spot in self.rules.allowed(label, spots):
                yield Finding(
                    label,
                    spot.location,
                    status,
                    verdict.change,
                    section,
                    number,
                    base + self.start,
                    base + self.end,
                    base + spot.start if spot.start >= 0 else -1,
                    base + spot.end if spot.start >= 0 else -1,
                    cue,
                    f"{rule}/{place_rule}",
                    self.size_mm,
                    self.concept,
                    base + self.cue[0] if self.cue[0] >= 0 else -1,
                    base + self.cue[1] if self.cue[0] >= 0 else -1,
                    spot.place,
                )

    def _fallback(self, topic: str, carried: Sequence[Mention]) -> tuple[tuple[Spot, ...], str]:
        """Where it lies when its sentence names no place: the sentence before, the heading, its home."""
        for mention in carried:
            if mention.spots and self.rules.fits_locations(self.concept, mention.spots):
                return tuple(Spot(s.location, -1, -1, s.place) for s in mention.spots), "carried"
        return self.rules.default(self.concept, self.inner, topic, self.sides, self.side_at)


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
        self._rules = LocationRules(vocabulary)
        self._inner = _inner_places(vocabulary)

    def topic(self, heading: str) -> str:
        """The place that a heading names first ("lungs and pleura" is about the lung), or an empty string."""
        hits = [hit for hit in self._trie.scan(tokenise(heading)) if hit.kind == "place"]
        return hits[0].name if hits else ""

    def read(self, sentence: str) -> Reading:
        """The findings of a sentence in lower case."""
        tokens = tokenise(sentence)
        hits = self._trie.scan(tokens)
        sizes = find_sizes(tokens) if "mm" in sentence or "cm" in sentence or "meter" in sentence or "metre" in sentence else []
        findings = [hit for hit in hits if hit.kind == "finding"]
        if sizes:
            findings = self._with_measured(findings, hits)
        if not findings:
            return _NOTHING
        concepts = self._vocabulary.concepts
        covered = {i for hit in findings if concepts[hit.name].labels for i in range(hit.first, hit.last)}
        cue_hits = [h for h in self._cues.trie.scan(tokens) if covered.isdisjoint(range(h.first, h.last))]
        clauses = split_clauses(tokens, hits, self._cues.words)
        phrases = find_phrases(tokens, hits, self._vocabulary.places, self._vocabulary.levels)
        attached = attach_phrases(tokens, findings, phrases, clauses, self._cues.words)
        measured = _sizes_of(findings, sizes)
        mentions = []
        for hit, (own, rule), size in zip(findings, attached, measured, strict=True):
            clause = next(c for c in clauses if c[0] <= hit.first < c[1])
            inside = [p for p in phrases if clause[0] <= p.first < clause[1]]
            around = [p for p in phrases if p.first <= hit.first < p.last]
            own = around + own if around else own  # a measured lymph node is itself part of a place phrase
            inner = self._inner.get(tuple(token.word for token in tokens[hit.first : hit.last]), "")
            mention = self._mention(tokens, hit, findings, clause, cue_hits, own, inside, rule, size, inner)
            if mention is not None:
                mentions.append(mention)
        return Reading(tuple(mentions), self._refers(tokens))

    def _refers(self, tokens: Sequence[Token]) -> bool:
        hits = self._cues.anaphora.scan(tokens[:4])
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
        tokens: Sequence[Token],
        hit: Hit,
        findings: Sequence[Hit],
        clause: tuple[int, int],
        cue_hits: Sequence[Hit],
        own: Sequence[Phrase],
        inside: Sequence[Phrase],
        rule: str,
        size: Size | None,
        inner: str,
    ) -> Mention | None:
        concept = self._vocabulary.concepts[hit.name]
        members = [member for phrase in own for member in phrase.members]
        size_mm = _millimetres(size, concept)
        labels = self._labels(concept, members, [m for p in inside for m in p.members], size_mm, size)
        if not labels:
            return None
        verdict = judge(hit, findings, clause, cue_hits, self._cues, persistent=concept.persistent)
        spots, sides, side_at = self._rules.spots(concept.name, members, tokens)
        cue = (tokens[verdict.first].start, tokens[verdict.last - 1].end) if verdict.first >= 0 else (-1, -1)
        return Mention(
            self._rules,
            concept.name,
            labels,
            tokens[hit.first].start,
            tokens[hit.last - 1].end,
            verdict,
            cue,
            spots,
            sides,
            side_at,
            size_mm,
            rule,
            inner,
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
            hits = trie.scan([Token(word, 0, 0, False) for word in words])
            if hits and vocabulary.places[hits[0].name].location:
                inner[words] = hits[0].name
    return inner


def _sizes_of(findings: Sequence[Hit], sizes: Sequence[Size]) -> list[Size | None]:
    """The current measurement of each finding: the one right before it, else the first after it."""
    result: list[Size | None] = [None] * len(findings)
    for size in sizes:
        if size.prior:
            continue
        before = [i for i, hit in enumerate(findings) if hit.last <= size.first]
        after = [i for i, hit in enumerate(findings) if hit.first >= size.last]
        if after and findings[after[0]].first - size.last <= 6 and (not before or size.first - findings[before[-1]].last > 3):
            target = after[0]
        elif before:
            target = before[-1]
        elif after:
            target = after[0]
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
