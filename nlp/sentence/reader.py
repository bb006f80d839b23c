"""One sentence: its findings with status, places and sizes, independent of the rest of the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..language.cues import CueTable
from ..language.spelling import LONG, Speller
from ..language.text import Tokens, WordForms
from ..language.trie import Hit, Trie
from ..language.vocabulary import Vocabulary
from .attachment import attach_phrases
from .choosing import FindingChooser
from .clauses import joined_clauses, split_clauses
from .headings import heading_end, under_heading
from .labels import labels_of
from .locations import LocationRules
from .measurements import NOT_MEASURED, SIGNS_OF_TIMES, Measured, Size, SizeFinder, sizes_of
from .mention import Mention
from .own_words import OwnWords
from .pairs import pairs_of
from .phrases import Member, Phrase, PhraseFinder, complete_phrases, parted
from .stand_ins import STAND_IN, StandIns, at_organ
from .status import PLAIN, is_called_normal, is_degree, judge

__all__ = ["Reading", "SentenceReader"]


class Reading(NamedTuple):
    """All mentions of a sentence, and whether it refers to what was said before ("It abuts ...")."""

    mentions: tuple[Mention, ...]
    anaphoric: bool


_NOTHING = Reading((), False)
_NOWHERE = (-1, -1)
_KNOWN_WORDS = 20_000
_ASIDE = re.compile(r"\(([^()0-9]{3,150})\)")


class SentenceReader:
    """Reads sentences with a vocabulary and cues; ``read`` depends on the sentence alone and may be cached."""

    def __init__(self, vocabulary: Vocabulary, cues: CueTable, forms: WordForms, units: Mapping[str, float]) -> None:
        self._forms = forms
        self._sizes_in = SizeFinder(units, cues.words)
        initials = "".join(sorted({unit[0] for unit in units})) or "\\0"
        self._has_unit = re.compile(rf"[0-9]\W*[{re.escape(initials)}]")  # a quick look for "5 mm", however spelled
        self._vocabulary = vocabulary
        self._cues = cues
        self._trie = Trie()
        self._trie.update(vocabulary.terms)
        self.rules = LocationRules(vocabulary)
        self._own_words = OwnWords(vocabulary)
        self._of_organ = frozenset(n for n, p in vocabulary.places.items() if p.of_context and not p.location)
        self._phrases = PhraseFinder(vocabulary, cues.words)
        devices = frozenset(name for name, concept in vocabulary.concepts.items() if concept.persistent)
        self._lists = {**cues.words, "devices": devices, "units": frozenset(units)}
        self.references = cues.references
        self.units, self.times = tuple(units), cues.words["times"] | SIGNS_OF_TIMES
        self.numbered = sorted({a for words, _, _ in vocabulary.terms for a, b in pairwise(words) if b.isdigit()})
        self._known = self.known_words()
        self._right = set(self._known)
        self._speller = Speller((w for words, _, _ in vocabulary.terms for w in words), cues.words["no_typos"])
        self._chooser = FindingChooser(vocabulary, cues.words)
        self._stand_ins = StandIns(vocabulary, cues)

    def is_list_item(self, sentence: str) -> bool:
        """Whether a sentence has places or sizes and no verb: an item of a list whose title names the findings."""
        words = Tokens(sentence, self._forms).words
        if not self._cues.words["finite"].isdisjoint(words):
            return False
        return any(hit.kind != "finding" for hit in self._trie.scan(words)) or bool(self._sizes_in.find(words))

    def topic_of(self, heading: str, organ: str) -> str:
        """The organ that the words before a colon name, in words: "Lungs:", but not "Pulmonary nodules:"; else empty.

        Words that only title a part of a report ("Lines and devices:", "Soft tissues:") are no findings either.

        Args:
            heading: the words.
            organ: those of the organ heading before, which "Upper lobe:" and "Left:" below "Right lung:" and "Pleura:"
                are parts of.
        """
        if not self._is_topic(heading):
            return ""
        if not organ:
            return heading
        phrases, above = self._members(heading), self._members(organ)
        places = self._vocabulary.places
        sides = {side for member in above for side in member.sides}
        if phrases and all(member.sides and not member.place for member in phrases):
            return f"{heading} {organ}" if any(m.place for m in above) and not sides else heading
        levels = [places[member.place] for member in phrases if member.place]
        whole = [member for member in above if member.place and places[member.place].role == "whole"]
        sided = any(place.role != "level" or place.right == place.left for place in levels)
        if not levels or sided or any(m.sides for m in phrases) or not whole or len(sides) != 1:
            return heading
        return f"{organ} {heading}"

    def _is_topic(self, heading: str) -> bool:
        """Whether words name organs, or title a part of a report, and find nothing."""
        words = Tokens(heading, self._forms).words
        hits = self._trie.scan(words)
        places = {i for hit in hits if hit.kind not in ("finding", "cue") for i in range(hit.first, hit.last)}
        titles = self._cues.words["titles"]
        if all(i in places or word in titles for i, word in enumerate(words)):
            return True
        return any(hit.kind == "place" for hit in hits) and not any(hit.kind == "finding" for hit in hits)

    def known_words(self) -> frozenset[str]:
        """Every word that means something here."""
        terms = frozenset(word for words, _, _ in self._vocabulary.terms for word in words)
        return terms.union(*self._cues.words.values())

    def _members(self, heading: str) -> list[Member]:
        """The places and sides that a heading names."""
        tokens = Tokens(heading, self._forms)
        phrases = self._phrases.find(tokens, self._trie.scan(tokens.words))
        return [member for phrase in phrases for member in phrase.members]

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
            hits = self._trie.scan(Tokens(match.group(1), self._forms).words)
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
        plain = self._cues.words["finite"].isdisjoint(Tokens(inside, self._forms).words)
        for mention in self._read(inside, heading).mentions:
            own = mention.moved(start + 1)
            if before is not None and not own.named and before.named:
                own = self.rules.at_place_of(own, (before,))
            if before is not None and plain and own.verdict == PLAIN:
                own = own._replace(verdict=before.verdict, cue=before.cue)
            yield own

    def _read(self, sentence: str, heading: str) -> Reading:
        tokens = Tokens(sentence, self._forms)
        words = tokens.words
        if not self._right.issuperset(words):
            self._correct(words)
        hits = self._trie.scan(words)
        if not hits:
            return _NOTHING
        if len(hits) > 1:
            hits = self._separate(words, hits)
        degrees = self._cues.words["degrees"]
        if not degrees.isdisjoint(words):  # "more prominent on the right" finds nothing
            concepts = self._vocabulary.concepts
            hits = [
                h for h in hits if h.kind != "finding" or concepts[h.name].labels or words[h.first - 1] not in degrees
            ]
        sizes = self._sizes_in.find(words) if self._has_unit.search(sentence) else []
        findings = self._chooser.choose(words, hits)
        if not findings:
            return self._read_of_heading(sentence, heading) if heading and sizes else _NOTHING
        cue_hits = self._cue_hits(words, hits)
        findings, cuts = self._stand_ins.among(words, findings, hits, cue_hits, sizes)
        clauses = split_clauses(words, hits, self._cues.words, cuts)
        if len(clauses) > 1:
            clauses = joined_clauses(words, clauses, [*hits, *findings], self._cues.words)
        phrases: list[Phrase] = []
        if len(hits) > len(findings) or sizes or any(hit.kind == "place" for hit in hits):
            phrases = self._phrases.find(tokens, hits)
            phrases = parted(words, phrases, findings, self._cues.words)
            if len(phrases) > 1:
                phrases = complete_phrases(tokens, phrases, clauses, self._vocabulary.places)
        attached = self._attach(words, findings, phrases, clauses)
        if any(hit.kind == STAND_IN for hit in findings):
            findings, attached = self._stand_ins.placed(words, findings, attached, self._vocabulary.places)
        topics = tuple(member for member in self._members(heading) if member.place) if heading else ()
        mentions = self._mentions(tokens, findings, clauses, cue_hits, phrases, attached, sizes, topics)
        colon = heading_end(words, findings[0].first, self._cues.words["finite"])
        if colon >= 0:
            return Reading(tuple(under_heading(mentions, colon, words, cue_hits, self._cues)), anaphoric=False)
        refers = self._refers(words) or self._lacks_organ(hits)
        return Reading(tuple([mention for _, mention in mentions]), refers)

    def _mentions(
        self,
        tokens: Tokens,
        findings: Sequence[Hit],
        clauses: Sequence[tuple[int, int]],
        cue_hits: Sequence[Hit],
        phrases: Sequence[Phrase],
        attached: Sequence[tuple[list[Phrase], str]],
        sizes: Sequence[Size],
        topics: tuple[Member, ...],
    ) -> list[tuple[Hit, Mention]]:
        """The mentions of each finding: one, or one for each of its places that has a size of its own."""
        words = tokens.words
        found = self._sizes(words, findings, sizes) if sizes else None
        mentions: list[tuple[Hit, Mention]] = []
        clause, inside = clauses[0], phrases
        for number, hit in enumerate(findings):
            own, rule = attached[number]
            given = [(own, NOT_MEASURED if found is None else found[number])]
            if len(clauses) > 1:
                clause = next(c for c in clauses if c[0] <= hit.first < c[1])
                inside = [p for p in phrases if clause[0] <= p.first < clause[1]]
            if len(sizes) > 1 and len(phrases) > 1 and own:
                pairs = pairs_of(words, hit, findings, own, phrases, sizes, self._cues.words)
                organs = [phrase for phrase in phrases if any(member.place for member in phrase.members)]
                given = [
                    ([at_organ(p, [o for o in organs if o.last <= p.first], self._vocabulary.places)], measured)
                    for p, measured in pairs
                ] or given
            for places, measured in given:
                mention = self._mention(tokens, hit, findings, clause, cue_hits, places, inside, rule, measured, topics)
                if mention is not None:
                    mentions.append((hit, mention))
        return mentions

    def _read_of_heading(self, sentence: str, heading: str) -> Reading:
        """Places with sizes under a heading that is a mention by itself ("Lymph nodes: subcarinal 15 mm")."""
        if not all(
            self._vocabulary.places[member.place].mentioned for member in self._members(heading) if member.place
        ):
            return _NOTHING
        prefix = f"{heading}: "
        found = []
        for mention in self._read(prefix + sentence, "").mentions:
            moved = mention.moved(-len(prefix))
            if moved.start < 0 <= moved.spots[0].start:  # the heading's words are not the sentence's: its place's are
                moved = moved._replace(start=moved.spots[0].start, end=moved.spots[0].end)
            if moved.start >= 0:
                found.append(moved)
        return Reading(tuple(found), anaphoric=False)

    def _correct(self, words: list[str]) -> None:
        """Put right the typing errors among the words, and remember the words that have none."""
        for position, word in enumerate(words):
            if len(word) >= LONG and word not in self._right:
                words[position] = self._speller.correct(word)
        if len(self._right) > _KNOWN_WORDS:
            self._right = set(self._known)
        self._right.update(words)

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
            if any(self._vocabulary.places[m.place].location for phrase in own for m in phrase.members if m.place):
                of[hit] = (own, "before")
                continue
            rest = [phrase for phrase in phrases if phrase not in own]
            ((more, rule),) = attach_phrases(words, [hit], rest, clauses, self._lists)
            of[hit] = (own + more, rule)
            for other in others:  # "in the hila, calcified lymph nodes": where the nodes are
                if of[other][0] == own and more:
                    of[other] = (own + more, rule)
        return [of[hit] for hit in findings]

    def _cue_hits(self, words: Sequence[str], hits: Sequence[Hit]) -> list[Hit]:
        """The cues of a sentence, without words that belong to its findings and sides."""
        cue_hits = self._cues.trie.scan(words)
        if not cue_hits:
            return cue_hits
        concepts = self._vocabulary.concepts
        taken = [
            (hit.first, hit.last)
            for hit in hits
            if hit.kind == "side" or (hit.kind == "finding" and concepts[hit.name].labels)
        ]
        result: list[Hit] = []
        for cue in cue_hits:
            ends = [max(first, cue.first) for first, last in taken if first < cue.last and cue.first < last]
            result += [cue] if not ends else self._shorter(words, cue, ends[0])
        return result

    def _sizes(self, words: Sequence[str], findings: Sequence[Hit], sizes: Sequence[Size]) -> list[Measured]:
        """The size of each finding that can have one, and the earlier size."""
        concepts = self._vocabulary.concepts
        measurable = [i for i, h in enumerate(findings) if concepts[h.name].labels or concepts[h.name].size_over_mm]
        result: list[Measured] = [NOT_MEASURED] * len(findings)
        found = sizes_of(words, [findings[i] for i in measurable], sizes, self._cues.words)
        for index, size in zip(measurable, found, strict=True):
            result[index] = size
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
            parts = self._own_words.parts.get(tuple(words[hit.first : hit.last]))
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
        measured: Measured,
        topics: tuple[Member, ...],
    ) -> Mention | None:
        concept, words = self._vocabulary.concepts[hit.name], tokens.words
        members = [member for phrase in own for member in phrase.members]
        size = measured.now
        size_mm = size.millimetres(short_axis=concept.short_axis) if size is not None else None
        labels = concept.labels
        if concept.when:
            apart = self._cues.words["separators"]
            related = [m for p in own if _related(words, p, hit, apart) for m in (*p.members, *p.of)]
            others = [m for p in inside if _related(words, p, hit, apart) for m in p.members if m.place] or list(topics)
            labels = labels_of(concept, related, others, self._vocabulary.places, size_mm, size)
        elif size is not None and concept.size_over_mm:
            labels = labels_of(concept, members, topics, self._vocabulary.places, size_mm, size)
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
        spans = tokens.spans
        if cue_hits:
            verdict = judge(
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
            if verdict.first >= 0:
                cue = (spans[verdict.first][0], spans[verdict.last - 1][1])
        change = measured.change(short_axis=concept.short_axis)
        if change and verdict.change in ("", "stable"):
            verdict = verdict._replace(change=change)
        topic = self.rules.topic(concept, topics) if topics else None
        placement = self.rules.place(concept.name, labels or ("",), members, rule, inner, topic)
        if placement.ready is not None:
            spots, given = placement.ready
        else:
            where = [(spans[member.first][0], spans[member.last - 1][1]) for member in members]
            spots, given = placement.at([*where, _NOWHERE])
        if hit.kind == STAND_IN and members and words[first] in self._cues.words["joints"]:
            first, last = members[0].first, members[0].last  # a joint is no word to show
        return Mention(
            concept.name,
            given,
            spans[first][0],
            spans[last - 1][1],
            verdict,
            cue,
            spots,
            placement.named,
            size_mm,
            placement.rule,
        )


def _related(words: Sequence[str], phrase: Phrase, hit: Hit, separators: frozenset[str]) -> bool:
    """Whether a place and a word such as "enlarged" speak of each other: nothing called normal, no comma between."""
    between = words[phrase.last : hit.first] if phrase.last <= hit.first else words[hit.last : phrase.first]
    return separators.isdisjoint(between)
