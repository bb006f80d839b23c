"""One sentence: its findings with status, places and sizes, independent of the rest of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .attachment import attach_phrases
from .clauses import split_clauses
from .cues import CueTable
from .locations import LocationRules, Spot
from .measurements import Size, find_sizes
from .phrases import Member, Phrase, complete_phrases, find_phrases
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
_PRONOUNS = frozenset(("one", "ones", "those"))
_SEPARATORS = frozenset((",", ";", "normal", "natural", "unremarkable"))


class SentenceReader:
    """Reads sentences with a vocabulary and cues; ``read`` depends on the sentence alone and may be cached."""

    def __init__(self, vocabulary: Vocabulary, cues: CueTable) -> None:
        self._vocabulary = vocabulary
        self._cues = cues
        self._trie = Trie()
        self._trie.update(vocabulary.terms)
        self.rules = LocationRules(vocabulary)
        self._inner = _inner_places(vocabulary)
        self._parts = _parts(vocabulary)

    def is_topic(self, heading: str) -> bool:
        """Whether the words before a colon name an organ and no finding: "Lungs:", but not "Pulmonary nodules:"."""
        kinds = {hit.kind for hit in self._trie.scan(Tokens(heading).words)}
        return "place" in kinds and "finding" not in kinds

    def _topics(self, heading: str) -> tuple[Member, ...]:
        """The places that a heading names, with their sides."""
        if not heading:
            return ()
        tokens = Tokens(heading)
        phrases = find_phrases(tokens, self._trie.scan(tokens.words), self._vocabulary.places, self._vocabulary.levels)
        return tuple(member for phrase in phrases for member in phrase.members if member.place)

    def read(self, sentence: str, heading: str = "") -> Reading:
        """The findings of a sentence.

        Args:
            sentence: in lower case.
            heading: words of the organ heading that it stands under, in lower case.
        """
        tokens = Tokens(sentence)
        words = tokens.words
        hits = self._separate(words, self._trie.scan(words))
        sizes = (
            find_sizes(words)
            if "mm" in sentence or "cm" in sentence or "meter" in sentence or "metre" in sentence
            else []
        )
        findings = [hit for hit in hits if hit.kind == "finding"]
        if sizes:
            findings = self._with_measured(findings, hits)
        if not findings:
            return _NOTHING
        concepts = self._vocabulary.concepts
        if not _PRONOUNS.isdisjoint(words):
            findings = self._with_pronouns(words, findings)
        if any(concepts[hit.name].yields_to for hit in findings):
            findings = self._without_adjectives(words, findings)
        cue_hits = self._cues.trie.scan(words)
        if cue_hits:
            covered = {
                i
                for hit in hits
                if hit.kind == "side" or (hit.kind == "finding" and concepts[hit.name].labels)
                for i in range(hit.first, hit.last)
            }
            cue_hits = [cue for h in cue_hits for cue in self._uncovered(words, h, covered)]
        clauses = split_clauses(words, hits, self._cues.words)
        phrases: list[Phrase] = []
        if len(hits) > len(findings) or sizes:
            phrases = find_phrases(tokens, hits, self._vocabulary.places, self._vocabulary.levels)
            phrases = complete_phrases(tokens, phrases, clauses, self._vocabulary.places)
        attached = attach_phrases(words, findings, phrases, clauses, self._cues.words)
        measured: list[Size | None] = [None] * len(findings)
        if sizes:
            own_size = [i for i, h in enumerate(findings) if concepts[h.name].labels or concepts[h.name].size_over_mm]
            found = _sizes_of(words, [findings[i] for i in own_size], sizes, self._cues.words)
            for index, size in zip(own_size, found, strict=True):
                measured[index] = size
        topics = self._topics(heading)
        mentions = []
        for hit, (own, rule), size in zip(findings, attached, measured, strict=True):
            clause, inside = clauses[0], phrases
            if len(clauses) > 1:
                clause = next(c for c in clauses if c[0] <= hit.first < c[1])
                inside = [p for p in phrases if clause[0] <= p.first < clause[1]]
            # a measured lymph node is itself part of a place phrase
            around = [p for p in phrases if p.first <= hit.first < p.last] if sizes else []
            inner = self._inner.get(tuple(words[hit.first : hit.last]), "") if hit.last - hit.first > 1 else ""
            mention = self._mention(
                tokens, hit, findings, clause, cue_hits, around + own, inside, rule, size, inner, topics
            )
            if mention is not None:
                mentions.append(mention)
        return Reading(tuple(mentions), self._refers(words))

    def _separate(self, words: Sequence[str], hits: list[Hit]) -> list[Hit]:
        """Hits with place and finding apart where the place is coordinated: "pleural and | pericardial | effusion"."""
        for index in range(1, len(hits)):
            hit, before = hits[index], hits[index - 1]
            if hit.kind != "finding" or before.kind != "place" or hit.last - hit.first < 2:
                continue
            between = words[before.last : hit.first]
            if len(between) != 1 or between[0] not in ("and", "or", ",", "/"):
                continue
            parts = self._parts.get(tuple(words[hit.first : hit.last]))
            if parts is not None:
                place, cut, name = parts
                apart = [
                    Hit("place", place, hit.first, hit.first + cut),
                    Hit("finding", name, hit.first + cut, hit.last),
                ]
                return [*hits[:index], *apart, *self._separate(words, hits[index + 1 :])]
        return hits

    def _uncovered(self, words: Sequence[str], cue: Hit, covered: set[int]) -> list[Hit]:
        """The cue, or the shorter one that is left of it where a finding begins ("no | pathological lymph node")."""
        free = next((i for i in range(cue.first, cue.last) if i in covered), cue.last)
        if free == cue.last:
            return [cue]
        shorter = self._cues.trie.scan(words[cue.first : free])
        return [Hit("cue", h.name, cue.first + h.first, cue.first + h.last) for h in shorter]

    def _refers(self, words: Sequence[str]) -> bool:
        hits = self._cues.anaphora.scan(words[:3])
        return bool(hits) and hits[0].first == 0

    def _with_measured(self, findings: list[Hit], hits: Sequence[Hit]) -> list[Hit]:
        """Places that a measurement makes a finding (lymph nodes), beside the findings."""
        extra = [
            Hit("finding", name, hit.first, hit.last)
            for hit in hits
            if hit.kind == "place" and (name := self._vocabulary.places[hit.name].measured)
        ]
        return sorted(findings + extra, key=lambda hit: hit.first)

    def _with_pronouns(self, words: Sequence[str], findings: list[Hit]) -> list[Hit]:
        """Findings and the pronouns that stand for them ("no nodule on the right, but one on the left")."""
        result, concepts = list(findings), self._vocabulary.concepts
        blocked = self._cues.words["prepositions"] | _SEPARATORS
        for index, word in enumerate(words):
            earlier = [
                h for h in findings if h.last <= index and (concepts[h.name].labels or concepts[h.name].otherwise)
            ]
            alone = index + 1 == len(words) or words[index + 1] in blocked
            if word in _PRONOUNS and alone and earlier:
                result.append(Hit("finding", earlier[-1].name, index, index + 1))
        return sorted(result, key=lambda hit: hit.first)

    def _without_adjectives(self, words: Sequence[str], findings: list[Hit]) -> list[Hit]:
        """Findings less those that only describe the finding after them (``yields_to``)."""
        blocked = self._cues.words["between_place_and_finding"]
        return [
            hit
            for hit, after in zip(findings, [*findings[1:], None], strict=True)
            if after is None
            or after.name not in self._vocabulary.concepts[hit.name].yields_to
            or not blocked.isdisjoint(words[hit.last : after.first])
        ]

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
        topics: tuple[Member, ...],
    ) -> Mention | None:
        concept = self._vocabulary.concepts[hit.name]
        members = [member for phrase in own for member in phrase.members]
        size_mm = _millimetres(size, concept)
        related, others = members, list(topics)
        if concept.when:
            related = [m for p in own if _related(tokens.words, p, hit) for m in p.members]
            others = [m for p in inside if _related(tokens.words, p, hit) for m in p.members] or others
        labels = self._labels(concept, related, others, size_mm, size)
        if not labels:
            return None
        verdict = judge(hit, findings, clause, cue_hits, self._cues, words=tokens.words, persistent=concept.persistent)
        topic = self.rules.topic(concept, topics)
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
        self,
        concept: Concept,
        own: Sequence[Member],
        inside: Sequence[Member],
        size_mm: float | None,
        size: Size | None,
    ) -> tuple[str, ...]:
        if not concept.when and (size is None or not concept.size_over_mm):
            return concept.labels
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


def _related(words: Sequence[str], phrase: Phrase, hit: Hit) -> bool:
    """Whether a place and a word such as "enlarged" speak of each other: nothing called normal, no comma between."""
    between = words[phrase.last : hit.first] if phrase.last <= hit.first else words[hit.last : phrase.first]
    return _SEPARATORS.isdisjoint(between)


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


def _parts(vocabulary: Vocabulary) -> dict[tuple[str, ...], tuple[str, int, str]]:
    """Terms that are a place and another finding ("pleural effusion"): the place, its number of words, the finding."""
    owners = {words: (kind, name) for words, kind, name in vocabulary.terms}
    parts = {}
    for words, (kind, _) in owners.items():
        for cut in range(len(words) - 1, 0, -1):
            place, rest = owners.get(words[:cut], ("", "")), owners.get(words[cut:], ("", ""))
            if kind == "finding" and place[0] == "place" and rest[0] == "finding":
                parts[words] = (place[1], cut, rest[1])
                break
    return parts


def _sizes_of(
    words: Sequence[str], findings: Sequence[Hit], sizes: Sequence[Size], lists: Mapping[str, frozenset[str]]
) -> list[Size | None]:
    """The current measurement of each finding: the one right before it ("5 mm nodule"), else the first after it."""
    result: list[Size | None] = [None] * len(findings)
    blocked = lists["between_size_and_finding"]
    for size in sizes:
        if size.prior:
            continue
        before = [i for i, hit in enumerate(findings) if hit.last <= size.first]
        after = [i for i, hit in enumerate(findings) if hit.first >= size.last]
        direct = after and blocked.isdisjoint(words[size.last : findings[after[0]].first])
        if direct or (after and not before):
            target = after[0]
        elif before:
            target = before[-1]
        else:
            continue
        known = result[target]
        if known is None or size.now or (max(size.dimensions) > max(known.dimensions) and not known.now):
            result[target] = size
    return result


def _millimetres(size: Size | None, concept: Concept) -> float | None:
    if size is None:
        return None
    if concept.short_axis:
        return min(size.dimensions)
    return max(size.dimensions)
