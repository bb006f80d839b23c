"""The mentions of a sentence: each of its findings with status, places, labels and size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..language.cues import CueTable
from ..language.text import Tokens
from ..language.trie import Hit
from ..language.vocabulary import Concept, Vocabulary
from .labels import labels_of
from .locations import LocationRules
from .measurements import NOT_MEASURED, Measured, Size, sizes_of
from .mention import Mention
from .own_words import OwnWords
from .pairs import pairs_of
from .phrases import Member, Phrase
from .stand_ins import STAND_IN, Attached, at_organ
from .status import PLAIN, Verdict, is_called_normal, is_degree, judge

__all__ = ["Anatomy", "MentionMaker"]

_NOWHERE = (-1, -1)


class Anatomy(NamedTuple):
    """A sentence taken apart; all positions are numbers of tokens.

    Attributes:
        tokens: its words.
        findings: its findings, in order.
        clauses: its clauses, in order.
        cues: its cues, in order.
        phrases: its places, in order.
        attached: the places of each finding.
        sizes: its measurements.
        topics: places of the heading that it stands under.
    """

    tokens: Tokens
    findings: Sequence[Hit]
    clauses: Sequence[tuple[int, int]]
    cues: Sequence[Hit]
    phrases: Sequence[Phrase]
    attached: Sequence[Attached]
    sizes: Sequence[Size]
    topics: tuple[Member, ...]


class MentionMaker:
    """Makes mentions with a vocabulary and the cues of a language."""

    def __init__(self, vocabulary: Vocabulary, cues: CueTable, rules: LocationRules, own_words: OwnWords) -> None:
        self._vocabulary = vocabulary
        self._cues = cues
        self._rules = rules
        self._own_words = own_words

    def mentions(self, sentence: Anatomy) -> list[tuple[Hit, Mention]]:
        """The mentions of each finding: one, or one for each of its places that has a size of its own."""
        _, findings, clauses, _, phrases, attached, sizes, _ = sentence
        found = self._sizes(sentence) if sizes else None
        made: list[tuple[Hit, Mention]] = []
        clause, inside = clauses[0], phrases
        for number, hit in enumerate(findings):
            own, rule = attached[number]
            given = [(own, NOT_MEASURED if found is None else found[number])]
            if len(clauses) > 1:
                clause = next(c for c in clauses if c[0] <= hit.first < c[1])
                inside = [p for p in phrases if clause[0] <= p.first < clause[1]]
            if len(sizes) > 1 and len(phrases) > 1 and own:
                given = self._pairs(sentence, hit, own) or given
            for places, measured in given:
                mention = self._mention(sentence, hit, clause, places, inside, rule, measured)
                if mention is not None:
                    made.append((hit, mention))
        return made

    def _pairs(self, sentence: Anatomy, hit: Hit, own: Sequence[Phrase]) -> list[tuple[list[Phrase], Measured]]:
        """The places of a finding that have a size each, sides alone with the organ before them."""
        tokens, findings, _, _, phrases, _, sizes, _ = sentence
        pairs = pairs_of(tokens.words, hit, findings, own, phrases, sizes, self._cues.words)
        organs = [phrase for phrase in phrases if any(member.place for member in phrase.members)]
        places = self._vocabulary.places
        return [([at_organ(p, [o for o in organs if o.last <= p.first], places)], measured) for p, measured in pairs]

    def _sizes(self, sentence: Anatomy) -> list[Measured]:
        """The sizes of each finding; of words that are a finding only beside a place ("thick"), where they are one."""
        tokens, findings, _, _, phrases, attached, sizes, topics = sentence
        concepts, words = self._vocabulary.concepts, tokens.words
        measurable = []
        for number, hit in enumerate(findings):
            concept, own = concepts[hit.name], attached[number][0]
            sized = concept.labels or concept.otherwise or concept.size_over_mm
            if sized or (concept.of_degree and self._labels(concept, hit, words, own, phrases, topics, None)):
                measurable.append(number)
        result: list[Measured] = [NOT_MEASURED] * len(findings)
        found = sizes_of(words, [findings[number] for number in measurable], sizes, self._cues.words)
        for number, size in zip(measurable, found, strict=True):
            result[number] = size
        return result

    def _mention(
        self,
        sentence: Anatomy,
        hit: Hit,
        clause: tuple[int, int],
        own: Sequence[Phrase],
        inside: Sequence[Phrase],
        rule: str,
        measured: Measured,
    ) -> Mention | None:
        """The mention of one finding, or None where it is none.

        Args:
            sentence: its sentence.
            hit: the finding.
            clause: its clause.
            own: its places.
            inside: all places of its clause.
            rule: how its places were chosen.
            measured: its sizes.
        """
        tokens, findings, _, cue_hits, _, _, _, topics = sentence
        concept, words, spans = self._vocabulary.concepts[hit.name], tokens.words, tokens.spans
        members = [member for phrase in own for member in phrase.members]
        size_mm = measured.now.millimetres(short_axis=concept.short_axis) if measured.now is not None else None
        labels = self._labels(concept, hit, words, own, inside, topics, measured.now)
        if concept.of_degree:
            if is_called_normal(words, hit, self._cues.words):
                return None
            cue_hits = [cue for cue in cue_hits if not is_degree(cue, hit, self._cues)]
        if not labels and not concept.mention:
            return None
        first, last = hit.first, hit.last
        inner = self._own_words.place(words[first:last]) if last - first > 1 else ""
        if not inner and not members and not concept.home:  # "operated lung cancer"
            after = next((other for other in findings if other.first == last and other.last - last > 1), None)
            inner = self._own_words.place(words[last : after.last]) if after is not None else ""
        verdict, cue = PLAIN, _NOWHERE
        if cue_hits:
            verdict = self._verdict(concept, hit, findings, clause, cue_hits, words)
            if verdict.first >= 0:
                cue = (spans[verdict.first][0], spans[verdict.last - 1][1])
        change = measured.change(short_axis=concept.short_axis)
        if change and verdict.change in ("", "stable"):
            verdict = verdict._replace(change=change)
        topic = self._rules.topic(concept, topics) if topics else None
        placement = self._rules.place(concept.name, labels or ("",), members, rule, inner, topic)
        if placement.ready is not None:
            spots, given = placement.ready
        else:
            where = [(spans[member.first][0], spans[member.last - 1][1]) for member in members]
            spots, given = placement.at([*where, _NOWHERE])
        if hit.kind == STAND_IN and members and words[first] in self._cues.words["joints"]:
            first, last = members[0].first, members[0].last  # a joint is no word to show
        start, end = spans[first][0], spans[last - 1][1]
        return Mention(
            concept.name, given, start, end, verdict, cue, spots, placement.named, size_mm, placement.rule
        )  # fmt: skip

    def _labels(
        self,
        concept: Concept,
        hit: Hit,
        words: Sequence[str],
        own: Sequence[Phrase],
        inside: Sequence[Phrase],
        topics: tuple[Member, ...],
        size: Size | None,
    ) -> tuple[str, ...]:
        """What the concept stands for beside its places and at its size."""
        if not concept.when and (size is None or not concept.size_over_mm):
            return concept.labels
        related = [m for phrase in own for m in phrase.members]
        others: list[Member] = list(topics)
        if concept.when:
            apart = self._cues.words["separators"]
            related = [m for p in own if _related(words, p, hit, apart) for m in (*p.members, *p.of)]
            others = [m for p in inside if _related(words, p, hit, apart) for m in p.members if m.place] or others
        size_mm = size.millimetres(short_axis=concept.short_axis) if size is not None else None
        return labels_of(concept, related, others, self._vocabulary.places, size_mm, size)

    def _verdict(
        self,
        concept: Concept,
        hit: Hit,
        findings: Sequence[Hit],
        clause: tuple[int, int],
        cue_hits: Sequence[Hit],
        words: Sequence[str],
    ) -> Verdict:
        """What the cues say of a finding."""
        return judge(
            hit,
            findings,
            clause,
            cue_hits,
            self._cues,
            words,
            persistent=concept.persistent,
            mention=concept.mention,
            lasting=concept.lasting,
        )


def _related(words: Sequence[str], phrase: Phrase, hit: Hit, separators: frozenset[str]) -> bool:
    """Whether a place and a word such as "enlarged" speak of each other: nothing called normal, no comma between."""
    between = words[phrase.last : hit.first] if phrase.last <= hit.first else words[hit.last : phrase.first]
    return separators.isdisjoint(between)
