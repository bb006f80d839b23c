"""One sentence: its findings with status, places and sizes, independent of the rest of the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..language.cues import CueTable
from ..language.text import WordForms
from ..language.trie import Hit
from ..language.vocabulary import Vocabulary
from .attachment import attach_phrases
from .choosing import FindingChooser
from .clauses import joined_clauses, split_clauses
from .headings import heading_end, under_heading
from .lexicon import Lexicon
from .locations import LocationRules
from .measurements import SIGNS_OF_TIMES, SizeFinder
from .mention import Mention
from .mentions import Anatomy, MentionMaker
from .neighbours import complete_phrases, parted
from .phrases import Phrase, PhraseFinder
from .stand_ins import STAND_IN, StandIns
from .status import PLAIN
from .topics import Topics

__all__ = ["Reading", "SentenceReader"]


class Reading(NamedTuple):
    """All mentions of a sentence, and whether it refers to what was said before ("It abuts ...")."""

    mentions: tuple[Mention, ...]
    anaphoric: bool


_NOTHING = Reading((), False)
_FIRST_WORD = re.compile(r"\S+")
_ASIDE = re.compile(r"\(([^()0-9]{3,150})\)")


class SentenceReader:
    """Reads sentences with a vocabulary and cues; ``read`` depends on the sentence alone and may be cached.

    Attributes:
        lexicon: its words and terms.
        topic_of: the organ that a heading names (:meth:`Topics.topic_of`).
        rules: where findings lie.
        references: finds image references.
        units: names of units of length.
        times: what stands between two dimensions.
    """

    def __init__(self, vocabulary: Vocabulary, cues: CueTable, forms: WordForms, units: Mapping[str, float]) -> None:
        self._vocabulary = vocabulary
        self._cues = cues
        self._sizes_in = SizeFinder(units, cues.words)
        initials = "".join(sorted({unit[0] for unit in units})) or "\\0"
        self._has_unit = re.compile(rf"[0-9]\W*[{re.escape(initials)}]")  # a quick look for "5 mm", however spelled
        self._of_organ = frozenset(n for n, p in vocabulary.places.items() if p.of_context and not p.location)
        devices = frozenset(name for name, concept in vocabulary.concepts.items() if concept.persistent)
        self._lists = {**cues.words, "devices": devices, "units": frozenset(units)}
        self.lexicon = Lexicon(vocabulary, cues, forms)
        self.rules = LocationRules(vocabulary)
        self._phrases = PhraseFinder(vocabulary, cues.words)
        self._topics = Topics(vocabulary, cues, self.lexicon, self._phrases)
        self._chooser = FindingChooser(vocabulary, cues.words)
        self._stand_ins = StandIns(vocabulary, cues)
        self._maker = MentionMaker(vocabulary, cues, self.rules, self.lexicon.own_words)
        self.topic_of = self._topics.topic_of
        self.references = cues.references
        self.units, self.times = tuple(units), cues.words["times"] | SIGNS_OF_TIMES

    def is_list_item(self, sentence: str) -> bool:
        """Whether a sentence has places or sizes and no verb: an item of a list whose title names the findings."""
        words = self.lexicon.tokens(sentence).words
        if not self._cues.words["finite"].isdisjoint(words):
            return False
        return any(hit.kind != "finding" for hit in self.lexicon.scan(words)) or bool(self._sizes_in.find(words))

    def read(self, sentence: str, heading: str = "") -> Reading:
        """The findings of a sentence.

        Args:
            sentence: in lower case.
            heading: words of the organ heading that it stands under, in lower case.
        """
        asides = self._asides(sentence) if "(" in sentence else []
        if not asides:
            return self._read(sentence, heading)
        outside = sentence
        for start, end in asides:
            outside = f"{outside[:start]}{' ' * (end - start)}{outside[end:]}"
        whole = self._read(outside, heading)
        if not any(mention.end <= asides[0][0] for mention in whole.mentions):
            return self._read(sentence, heading)  # "the gallbladder was not seen (operated)"
        mentions = list(whole.mentions)
        for start, end in asides:
            mentions += self._read_aside(sentence, start, end, heading, whole.mentions)
        return Reading(tuple(sorted(mentions, key=lambda mention: mention.start)), whole.anaphoric)

    def _asides(self, sentence: str) -> list[tuple[int, int]]:
        """Parentheses that say something of their own: they name a finding and hold no measurement."""
        found = []
        for match in _ASIDE.finditer(sentence):
            hits = self.lexicon.scan(self.lexicon.tokens(match.group(1)).words)
            if any(hit.kind == "finding" for hit in hits):
                found.append(match.span())
        return found

    def _read_aside(
        self, sentence: str, start: int, end: int, heading: str, outside: Sequence[Mention]
    ) -> Iterator[Mention]:
        """The mentions of a parenthesis, which is a clause of its own about what stands before it.

        "Consolidation in the lower lobe (mass cannot be excluded)": the mass lies there too, and the cue is its own;
        "no emphysema (bullae, blebs)": without a cue of its own it shares that of what it explains.
        """
        inside = sentence[start + 1 : end - 1]
        before = next((mention for mention in reversed(outside) if mention.end <= start), None)
        plain = self._cues.words["finite"].isdisjoint(self.lexicon.tokens(inside).words)
        for mention in self._read(inside, heading).mentions:
            own = mention.moved(start + 1)
            if before is not None and not own.named and before.named:
                own = self.rules.at_place_of(own, (before,))
            if before is not None and plain and own.verdict == PLAIN:
                own = own._replace(verdict=before.verdict, cue=before.cue)
            yield own

    def _read(self, sentence: str, heading: str) -> Reading:
        tokens = self.lexicon.corrected(sentence)
        words = tokens.words
        hits = self.lexicon.terms(words)
        if not hits:
            return _NOTHING
        sizes = self._sizes_in.find(words) if self._has_unit.search(sentence) else []
        findings = self._chooser.choose(words, hits)
        if not findings:
            return self._read_of_heading(sentence, heading) if heading and sizes else _NOTHING
        cue_hits = self.lexicon.cues(words, hits)
        findings, cuts = self._stand_ins.among(words, findings, hits, cue_hits, sizes)
        clauses = split_clauses(words, hits, self._cues.words, cuts)
        if len(clauses) > 1:
            clauses = joined_clauses(words, clauses, [*hits, *findings], self._cues.words)
        topics = tuple(member for member in self._topics.members(heading) if member.place) if heading else ()
        phrases: list[Phrase] = []
        if len(hits) > len(findings) or sizes or any(hit.kind == "place" for hit in hits):
            phrases = self._phrases.find(tokens, hits)
            phrases = parted(words, phrases, findings, self._cues.words)
            phrases = complete_phrases(tokens, phrases, clauses, self._vocabulary.places, topics)
        attached = self._attach(words, findings, phrases, clauses)
        if any(hit.kind == STAND_IN for hit in findings):
            findings, attached = self._stand_ins.placed(words, findings, attached, self._vocabulary.places)
        anatomy = Anatomy(tokens, findings, clauses, cue_hits, phrases, attached, sizes, topics)
        mentions = self._maker.mentions(anatomy)
        colon = heading_end(words, findings[0].first, self._cues.words["finite"])
        if colon >= 0:
            return Reading(tuple(under_heading(mentions, colon, words, cue_hits, self._cues)), anaphoric=False)
        refers = self._refers(words) or self._lacks_organ(hits)
        return Reading(tuple([mention for _, mention in mentions]), refers)

    def _read_of_heading(self, sentence: str, heading: str) -> Reading:
        """Places with sizes under a heading that is a mention by itself ("Lymph nodes: subcarinal 15 mm")."""
        if not self._topics.is_mention(heading):
            return _NOTHING
        prefix = f"{heading}: "
        found = []
        for mention in self._read(prefix + sentence, "").mentions:
            moved = mention.moved(-len(prefix))
            if moved.start < 0:  # the heading's words are not the sentence's: those of its place are, or its first
                spot, first = moved.spots[0], _FIRST_WORD.search(sentence)
                start, end = (spot.start, spot.end) if spot.start >= 0 or first is None else first.span()
                moved = moved._replace(start=start, end=end)
            found.append(moved)
        return Reading(tuple(found), anaphoric=False)

    def _attach(
        self,
        words: Sequence[str],
        findings: Sequence[Hit],
        phrases: Sequence[Phrase],
        clauses: Sequence[tuple[int, int]],
    ) -> list[tuple[list[Phrase], str]]:
        """The places of each finding; those that are a place themselves (lymph nodes) stand in no other's way."""
        concepts = self._vocabulary.concepts
        alone = [hit for hit in findings if concepts[hit.name].mention]
        if not alone:
            return attach_phrases(words, findings, phrases, clauses, self._lists)
        others = [hit for hit in findings if not concepts[hit.name].mention]
        of = dict(zip(others, attach_phrases(words, others, phrases, clauses, self._lists), strict=True))
        for hit in alone:
            own = [phrase for phrase in phrases if phrase.first <= hit.first < phrase.last]
            titled = any(
                words[phrase.last : phrase.last + 1] == [":"] for phrase in own
            )  # "Axillary nodes: right 8 mm"
            named = any(self._vocabulary.places[m.place].location for p in own for m in p.members if m.place)
            if named and not titled:
                of[hit] = (own, "before")
                continue
            rest = [phrase for phrase in phrases if phrase not in own]
            ((more, rule),) = attach_phrases(words, [hit], rest, clauses, self._lists)
            of[hit] = (own + more, rule)
            for other in others:  # "in the hila, calcified lymph nodes": where the nodes are
                if of[other][0] == own and more:
                    of[other] = (own + more, rule)
        return [of[hit] for hit in findings]

    def _lacks_organ(self, hits: Sequence[Hit]) -> bool:
        """Whether a sentence names a part of an organ that only the sentence before can name ("in the left lobe")."""
        if self._of_organ.isdisjoint([hit.name for hit in hits]):
            return False
        places = [self._vocabulary.places[hit.name] for hit in hits if hit.kind == "place"]
        return not any(place.location and not place.weak for place in places)

    def _refers(self, words: Sequence[str]) -> bool:
        anaphora = self._cues.anaphora
        if not self._cues.back_signs.isdisjoint(words) and self._cues.back_references.scan(words):
            return True
        if not anaphora.starts(words[0]):
            return False
        hits = anaphora.scan(words[:3])
        return bool(hits) and hits[0].first == 0
