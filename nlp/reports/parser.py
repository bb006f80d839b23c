"""The report parser: text in, findings with status, location and provenance out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isnan
from pathlib import Path

from ..language.cues import load_cues
from ..language.references import Reference, blanked, images_of
from ..language.text import Tokens, load_units, load_word_forms, read_words, same_length_lower
from ..language.vocabulary import Vocabulary, load_vocabulary
from ..sentence.mention import Mention
from ..sentence.reader import SentenceReader
from .conflicts import find_conflicts
from .findings import Finding, ParsedReport
from .lists import ListTitle, title_of_list
from .sections import Sentence, load_sections, split_sentences
from .spreading import Spread, spread_reports

__all__ = ["MAX_CHARACTERS", "ReportParser"]

MAX_CHARACTERS = 200_000
"""Longer texts are read up to here (the longest real chest-CT report seen has 8,000), and say so in ``reason``."""

_MARKUP = re.compile(
    r"</?(?:(br|p|div|li|ul|ol|tr|table|h[1-6])|[a-z][a-z0-9]*)\b[^<>]{0,300}>|&(?:#\d+|[a-z]+);", re.IGNORECASE
)
# A number that is no size ("image 45") does not matter to the reading; as zeros, its sentence is read once for all.
_DIGIT = re.compile("[0-9]")
_LETTER = r"[^\W\d_]"
_NO_IMAGE = ("", "")
# A text of another language: from this many words on, less than this share of them known (the reports of OpenI without
# a finding have 0.5 and more).
_FEW_WORDS, _KNOWN_SHARE, _SAMPLE = 5, 0.35, 5_000
_CACHED_SENTENCES = 20_000


class ReportParser:
    """Reads radiology reports.

    Args:
        vocabulary: name of a vocabulary that comes with the package, a path of a YAML file, or a loaded vocabulary.

    Example:
        >>> report = ReportParser().parse("5 mm nodule in the right upper lobe. No pleural effusion.")
        >>> [(f.abnormality, f.location, f.status) for f in report.findings]
        [('nodule', 'right_upper', 'present'), ('pleural_effusion', 'lung', 'absent')]
    """

    def __init__(self, vocabulary: str | Path | Vocabulary = "chest_ct") -> None:
        self.vocabulary = vocabulary if isinstance(vocabulary, Vocabulary) else load_vocabulary(vocabulary)
        self._source = vocabulary
        folder = self.vocabulary.language
        self._forms = load_word_forms(folder)
        reader = SentenceReader(self.vocabulary, load_cues(folder), self._forms, load_units(folder))
        self._sections = load_sections(folder)
        self._language = str(read_words(folder)[0].get("name") or folder.name)
        self._rules = reader.rules
        self._reader = reader
        self._references = reader.references
        measures = "|".join(map(re.escape, (*reader.units, *sorted(reader.times))))
        self._measured = re.compile(rf"[0-9] ?(?:{measures or '(?!)'})")
        numbered = "".join(f"(?<!{re.escape(word)} )" for word in reader.lexicon.numbered)
        self._number = re.compile(rf"{numbered}[0-9]+(?![0-9.,]*[ -]*(?:{measures}|[0-9]))(?!{_LETTER})")
        self._words = reader.lexicon.known_words
        self.clear_cache()

    def clear_cache(self, size: int = _CACHED_SENTENCES) -> None:
        """Forget the sentences read so far.

        Reports repeat themselves ("No pleural effusion."), so a reading is kept by its sentence. The number is bounded:
        memory stays flat over any number of reports.

        Args:
            size: sentences to keep from now on; 0 keeps none.
        """
        self._read = lru_cache(maxsize=size)(self._reader.read)
        self._topic_of = lru_cache(maxsize=min(size, 2_000))(self._reader.topic_of)

    def __reduce__(self) -> tuple[Callable[..., ReportParser], tuple[str | Path | Vocabulary]]:
        return _kept_parser, (self._source,)

    def parse(self, text: object, section: str = "") -> ParsedReport:
        """Findings of one report.

        Args:
            text: the report; anything but a text with words gives no findings and a ``reason``, never an error.
            section: the section that the text begins in, for reports whose columns are their headings.
        """
        return self.parse_parts([(section, text)])

    def parse_parts(self, parts: Sequence[tuple[str, object]]) -> ParsedReport:
        """Findings of a report kept in several columns; its text is the parts joined by a blank line.

        Args:
            parts: pairs of section ("findings", "impression", "indication", ... or empty) and text.
        """
        findings: list[Finding] = []
        texts, reason, offset, number = [], "", 0, 0
        for section, value in parts:
            text, problem = _clean(value)
            reason = reason or problem
            self._read_text(text[:MAX_CHARACTERS], section, offset, number, findings)
            number = max(number, findings[-1].sentence if findings else 0) + 1
            texts.append(text)
            offset += len(text) + 2
        if any(text.strip() for text in texts) and reason == "empty text":
            reason = ""
        if not findings and not reason and self._foreign(texts):
            reason = f"hardly a word is known; only {self._language} is read"
        return ParsedReport("\n\n".join(texts), tuple(findings), reason, find_conflicts(findings))

    def parse_many(self, texts: Iterable[object], spread: Spread | None = None) -> Iterator[ParsedReport]:
        """Parsed reports in the order of the texts, streamed: the input is not held in memory.

        Args:
            texts: any iterable of reports; an item may also be a list of (section, text) pairs.
            spread: ``Executor.run`` of :mod:`organcam.runner`, which parses in its processes; None parses in this one.
                A report under which a process dies twice gives no findings, and the reason.
        """
        return map(self.parse_any, texts) if spread is None else spread_reports(self, texts, spread)

    def parse_any(self, item: object) -> ParsedReport:
        """Findings of a report given as one text or as a list of (section, text) pairs."""
        if isinstance(item, (list, tuple)):
            return self.parse_parts(item)
        return self.parse(item)

    def _read_text(self, text: str, section: str, offset: int, number: int, findings: list[Finding]) -> None:
        """Add the findings of a text whose sentences are numbered from ``number``."""
        text = _without_markup(text)
        lowered = same_length_lower(text)
        references = self._references.find(lowered)
        shown = text
        if references:
            text, lowered = blanked(text, references), blanked(lowered, references)
        before: tuple[Mention, ...] = ()
        title: ListTitle | None = None
        sentences = split_sentences(text, lowered, self._sections, section, self._topic_of)
        for count, sentence in enumerate(sentences, number):
            words = lowered[sentence.start : sentence.end]
            mentions, anaphoric = self._read(self._normal(words), sentence.topic)
            if title is not None:
                listed = title.item(sentence, text, words, mentions, self._reader)
                if listed is None:
                    self._add(findings, title.unused(), title.sentence, offset, shown, count - 1, references)
                    title = None
                else:
                    mentions, anaphoric = listed, False
            if title is None and words.endswith(":"):
                named = self._read(self._normal(words[:-1]), sentence.topic).mentions
                title = title_of_list(sentence, words, named, mentions)
                if title is not None:
                    continue
            if not mentions:
                continue
            if anaphoric:
                mentions = tuple(self._rules.at_place_of(mention, before) for mention in mentions)
            self._add(findings, mentions, sentence, offset, shown, count, references)
            before = mentions
        if title is not None:
            self._add(findings, title.unused(), title.sentence, offset, shown, count, references)

    def _normal(self, words: str) -> str:
        """A sentence with the numbers that mean nothing as zeros: so it is read once for all that differ in them."""
        if _DIGIT.search(words) is None or self._measured.search(words) is not None:
            return words
        return self._number.sub(_zeros, words)

    def _add(
        self,
        findings: list[Finding],
        mentions: Sequence[Mention],
        sentence: Sentence,
        offset: int,
        text: str,
        number: int,
        references: Sequence[Reference],
    ) -> None:
        """Add mentions as findings of the report, one for each label and location."""
        own = [r for r in references if sentence.start <= r.start < sentence.end] if references else []
        images = images_of(mentions, own, sentence.start) if own and mentions else {}
        muted = sentence.section in self._sections.muted
        for mention in mentions:
            _add_findings(findings, mention, sentence, offset, text, number, images, muted=muted)

    def _foreign(self, texts: Sequence[str]) -> bool:
        """Whether hardly any word of the texts is one of the language."""
        words = [
            word
            for text in texts
            for word in Tokens(same_length_lower(text[:_SAMPLE]), self._forms).words
            if word.isalpha()
        ]
        return len(words) >= _FEW_WORDS and sum(word in self._words for word in words) < _KNOWN_SHARE * len(words)


def _add_findings(
    findings: list[Finding],
    mention: Mention,
    sentence: Sentence,
    offset: int,
    text: str,
    number: int,
    images: Mapping[tuple[int, int], tuple[str, str]],
    *,
    muted: bool,
) -> None:
    """Add a mention as findings of the report, one for each label and location."""
    concept, labels, start, end, verdict, (cue_start, cue_end), _, _, size_mm, placed = mention
    base = offset + sentence.start
    section = sentence.section
    cue = ""
    if cue_start >= 0:
        cue = text[sentence.start + cue_start : sentence.start + cue_end]
        cue_start, cue_end = cue_start + base, cue_end + base
    status, change, _, _, judged = verdict
    if muted:
        status, judged = "historical", f"section:{section}"
    rule = f"{judged or 'asserted'}/{placed}"
    start, end = start + base, end + base
    add, make = findings.append, tuple.__new__  # a report has dozens; the class's own call takes twice as long
    for label, spots in labels:
        for location, first, last, place, side in spots:
            at = (first + base, last + base) if first >= 0 else (-1, -1)
            known = (label, location, status, change, section, number, start, end)
            image = _NO_IMAGE
            if images:
                image = images.get((first, last)) or images.get((mention.start, mention.end)) or _NO_IMAGE
            further = (concept, place, side, *image, cue_start, cue_end)
            add(make(Finding, (*known, *at, cue, rule, size_mm, *further)))


def _zeros(number: re.Match[str]) -> str:
    before = number.string[number.start() - 1 : number.start()]
    return number.group() if before.isalnum() or before in (".", ",") else "0" * len(number.group())


def _without_markup(text: str) -> str:
    """The text with HTML tags and entities blanked out, character for character; a block's tag ends the line."""
    if "<" not in text and "&" not in text:
        return text
    return _MARKUP.sub(lambda match: ("\n" if match.group(1) else " ").ljust(len(match.group())), text)


def _clean(value: object) -> tuple[str, str]:
    """The value as text, and what is wrong with it."""
    if value is None or (isinstance(value, float) and isnan(value)):
        return "", "empty text"
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace"), "bytes, not text: decoded as UTF-8"
    if not isinstance(value, str):
        return "", f"not a text but {type(value).__name__}"
    if not value.strip():
        return value, "empty text"
    if len(value) > MAX_CHARACTERS:
        return value, f"{len(value)} characters; only the first {MAX_CHARACTERS} were read"
    return value, ""


_kept: list[tuple[str | Path | Vocabulary, ReportParser]] = []


def _kept_parser(source: str | Path | Vocabulary) -> ReportParser:
    """A parser that came from another process: one for all that come, so that it keeps what it has read."""
    if not _kept or _kept[0][0] != source:
        _kept[:] = [(source, ReportParser(source))]
    return _kept[0][1]
