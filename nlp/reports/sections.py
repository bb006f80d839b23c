"""Sections and sentences of a report: where each begins, what its heading says, and where headings name an organ."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..language.folders import ENGLISH
from ..language.text import read_words
from ..language.yaml_data import check_keys, load_yaml, string_list

__all__ = ["Sections", "Sentence", "load_sections", "split_sentences"]

# A heading opens a sentence: a few words and a colon.
_HEADING = re.compile(r"[ \t>*#_-]*(?:\d{1,2}[.)]\s*)?([^\W\d_][\w ,/&()'-]{1,58}?)[*_ ]*[:\uff1a](?!\d)")
_TITLE = re.compile(r"[^\W\d_](?:[^\W\d_]|[ /&-]){2,40}:(?=\s|$)")
_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")
_HEADING_WORDS = 6
_LONGEST_HEADING, _LONGEST_LINE = 70, 50
_LINE_HEADING = re.compile(r"[ \t*#_-]*([^\W\d_](?:[^\W\d_]|[ /&_-]){2,40})[ \t*_:-]*$")
_ENUMERATION = re.compile(r"\s*(?:[-*•·\u2013]\s+|\(?\d{1,2}[.)]\s+(?=\D))")
# Stops and line breaks; written with one class of characters first, by which the search can skip.
_BREAK = re.compile(
    r"[.!?\r\n\"\u201c\u201d\u2022]"
    r"(?:(?<=[.!?])[.!?]*|(?<=[\"\u201c\u201d\u2022])|(?<=\r)\n(?:[ \t]*\r?\n)*|(?<=\n)(?:[ \t]*\r?\n)*)"
)
# A text without full stops is read in pieces: the time of a sentence grows with the square of its findings.
_QUOTES = frozenset('"\u201c\u201d\u2022')
_PARENTHESIS = 100
_LONGEST_SENTENCE = 2_000


class Sentence(NamedTuple):
    """Characters ``start <= i < end`` of the report; ``topic`` is the organ words of the heading above it."""

    start: int
    end: int
    section: str
    topic: str


@dataclass(frozen=True)
class Sections:
    """Section names by heading, which of them are muted for labels, and words whose full stop ends no sentence."""

    headings: Mapping[str, str]
    muted: frozenset[str]
    abbreviations: frozenset[str] = frozenset()
    longest_abbreviation: int = 0
    nothing: frozenset[str] = frozenset()
    """What a muted section may say in place of a text ("None."), after which it is over."""
    words_too: frozenset[str] = frozenset()
    """Abbreviations that are words as well, after which a capital begins a sentence ("no.")."""


TopicOf = Callable[[str, str], str]
"""The organ in words that a heading names below the organ heading before; empty where it is no heading."""


def _any_heading(heading: str, _organ: str) -> str:
    """The least strict rule: whatever looks like a heading is one."""
    return heading


@lru_cache(maxsize=4)
def load_sections(folder: Path = ENGLISH) -> Sections:
    """Headings and abbreviations of a language, from ``sections.yaml`` and ``words.yaml`` in its folder.

    Raises:
        ConfigError: if a file is missing or breaks the schema.
    """
    path = folder / "sections.yaml"
    content = check_keys(load_yaml(path), ("language", "muted", "nothing", "headings"), path.name)
    by_section = check_keys(content.get("headings") or {}, content.get("headings") or {}, f"{path.name}: headings")
    words, where = read_words(folder)
    too = frozenset(string_list(words.get("abbreviations_and_words"), f"{where}: abbreviations_and_words"))
    abbreviations = string_list(words.get("abbreviations"), f"{where}: abbreviations")
    headings = {
        heading: section
        for section, words in by_section.items()
        for heading in string_list(words, f"{path.name}: headings.{section}")
    }
    muted = frozenset(string_list(content.get("muted"), f"{path.name}: muted"))
    nothing = frozenset(string_list(content.get("nothing"), f"{path.name}: nothing"))
    return Sections(headings, muted, frozenset(abbreviations), max(map(len, abbreviations), default=0), nothing, too)


class _Standing:
    """Under which headings a sentence stands: its section, and the organ in words."""

    def __init__(self, sections: Sections, section: str, topic_of: TopicOf) -> None:
        self._sections, self._topic_of = sections, topic_of
        self._given = self.section = section
        self.topic = self._organ = ""
        self.said = False
        """Whether something stands under the present heading."""

    @property
    def muted(self) -> bool:
        return self.section in self._sections.muted

    def leave(self) -> None:
        """Back to the section that the text began in."""
        self.section = self._given

    def enter(self, heading: str) -> bool:
        """Go on under a heading; False where the words before a colon are none."""
        if heading in self._sections.headings:
            self.section, self.topic, self._organ, self.said = self._sections.headings[heading], "", "", False
            return True
        named = self._topic_of(heading, self._organ) if len(heading.split()) <= _HEADING_WORDS else ""
        if not named:
            return False
        self.topic = named
        if named == heading:  # else it is a part of the organ of a heading above
            self._organ = heading
        if self.muted:
            self.leave()
        return True

    def enter_line(self, heading: str, *, capitals: bool) -> bool:
        """The same for a line of its own without a colon ("LUNGS AND AIRWAYS")."""
        if heading in self._sections.headings:
            return self.enter(heading)
        if not heading or not capitals or not self._topic_of(heading, ""):
            return False
        self.topic = self._organ = heading
        return True


def split_sentences(
    text: str, lowered: str, sections: Sections, section: str = "", topic_of: TopicOf = _any_heading
) -> Iterator[Sentence]:
    """Sentences of a report in order, each with its section.

    Args:
        text: the report.
        lowered: the same in lower case, offset for offset.
        sections: headings of the language.
        section: the section that the text begins in.
        topic_of: the organ in words that a heading ("Upper lobe:") names below the organ heading before ("Right
            lung:"); empty where the words before the colon are part of the sentence.
    """
    standing = _Standing(sections, section, topic_of)
    colon = _next_colon(text, 0)
    lines = "\n" in text
    done = 0
    for start, end in _pieces(text, lowered, sections):
        position = start
        if standing.said and standing.muted and _is_over(text, done, start, end):
            standing.leave()
        done = end
        if colon < position:
            colon = _next_colon(text, position)
        while colon < end and colon - position < _LONGEST_HEADING:
            match = _HEADING.match(lowered, position, end)
            if match is None or not standing.enter(" ".join(match.group(1).replace("_", " ").split())):
                break
            position = match.end()
            colon = _next_colon(text, position)
        if lines and position == start and end - start <= _LONGEST_LINE and "\n" in text[end : end + 2]:
            line = _LINE_HEADING.match(lowered, start, end)
            name = " ".join(line.group(1).split()) if line else ""
            if standing.enter_line(name, capitals=text[start:end].isupper()):
                continue
        if position < end:
            yield Sentence(position, end, standing.section, standing.topic)
            if not standing.said and standing.muted and lowered[position:end].strip(" .") in sections.nothing:
                standing.leave()
            standing.said = True


def _is_over(text: str, done: int, start: int, end: int) -> bool:
    """Whether a muted section ends before ``start``: at a blank line, or at a line that looks like a heading."""
    if _BLANK_LINE.search(text, done, start):
        return True
    if "\n" not in text[done:start]:
        return False
    line = text[start:end]
    capitals = line.isupper() and "\n" in text[end : end + 2] and len(line.split()) <= _HEADING_WORDS
    heading = _TITLE.match(line)
    title = heading is not None and line[0].isupper() and len(heading.group().split()) <= _HEADING_WORDS
    return capitals or title


def _next_colon(text: str, position: int) -> int:
    found = [at for at in (text.find(":", position), text.find("\uff1a", position)) if at >= 0]
    return min(found, default=len(text))


def _pieces(text: str, lowered: str, sections: Sections) -> list[tuple[int, int]]:
    """Character ranges of the sentences, without white space and bullets around them."""
    pieces: list[tuple[int, int]] = []
    start = 0
    for match in _BREAK.finditer(text):
        at, after = match.span()
        if text[at] == "." and after == at + 1 and text[after : after + 1].isspace():
            # by far the most frequent: a word of letters, a full stop, a space
            word = lowered[max(start, lowered.rfind(" ", start, at) + 1) : at]
            ends = (word.isalpha() and len(word) > 1 and word not in sections.abbreviations) or _ends(
                text, lowered, start, match, sections
            )
        else:
            ends = _ends(text, lowered, start, match, sections)
        if ends:
            pieces += _trimmed(text, start, at + (text[at] == "?"))
            start = after
    pieces += _trimmed(text, start, len(text))
    return pieces


def _ends(text: str, lowered: str, start: int, match: re.Match[str], sections: Sections) -> bool:
    mark, at, after = match.group(), match.start(), match.end()
    if mark[0] in "\r\n":
        return mark.count("\n") > 1 or _line_ends(text, start, at, after)
    if mark in _QUOTES:  # conclusions told apart by quotation marks or bullets alone
        return (
            text[start:at][-1:].isspace() and text[after : after + 1].isspace() and text[after:].lstrip()[:1].isupper()
        )
    following = text[after : after + 2]
    if following and not following[0].isspace() and following[0] not in "\"')]":
        # no space: the end only where it was forgotten ("seen.The"), never in 1.5 or e.g.
        forgotten = mark == "." and len(following) == 2 and following.isalpha() and following[0].isupper()
        return forgotten and lowered[at - 1 : at].isalpha()
    if mark != ".":
        return not _inside_parenthesis(text, start, at, after)
    return _stop_ends(text, lowered, start, at, following, sections)


def _inside_parenthesis(text: str, start: int, at: int, after: int) -> bool:
    """Whether a question or exclamation mark stands in a parenthesis that goes on or closes after it ("(cyst?)")."""
    opened = text.rfind("(", start, at)
    if opened < 0 or text.find(")", opened, at) >= 0:
        return False
    closed = text.find(")", after, after + _PARENTHESIS)
    return closed >= 0 and "\n" not in text[opened:closed]


def _stop_ends(text: str, lowered: str, start: int, at: int, following: str, sections: Sections) -> bool:
    """Whether a full stop before white space ends the sentence: not after an abbreviation, an initial, or "1."."""
    word_start = max(lowered.rfind(" ", start, at), lowered.rfind("\n", start, at), start - 1) + 1
    word = lowered[word_start:at]
    if len(word) > sections.longest_abbreviation:
        return True
    if word in sections.abbreviations:
        # "no. 3", but "Metastases: no. The heart ..."
        return word in sections.words_too and following[1:].isupper()
    if len(word) == 1 and word.isalpha():
        return word_start == start  # an initial, unless it stands alone
    return not (word.isdigit() and not text[start:word_start].strip())  # "1." opens a list item


def _line_ends(text: str, start: int, at: int, after: int) -> bool:
    """Whether a single line break ends the sentence: it does not in a paragraph that was wrapped."""
    before = text[max(start, at - 1) : at].strip()
    following = text[after : after + 60].lstrip(" \t")
    if (
        not following
        or before in (".", ":", ";", "!", "?")
        or _ENUMERATION.match(following)
        or _HEADING.match(following.lower())
    ):
        return True
    return following[0].isupper() and at - text.rfind("\n", 0, at) < 60


def _trimmed(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """The range without white space and an enumeration's number around it; several where it is too long."""
    start = end - len(text[start:end].lstrip())
    if start < end and not text[start].isalpha():
        match = _ENUMERATION.match(text, start, end)
        if match:
            start = end - len(text[match.end() : end].lstrip())
    end = start + len(text[start:end].rstrip())
    pieces = []
    while end - start > _LONGEST_SENTENCE:
        cut = text.rfind(" ", start, start + _LONGEST_SENTENCE)
        cut = cut if cut > start else start + _LONGEST_SENTENCE
        pieces.append((start, cut))
        start = cut
    if start < end:
        pieces.append((start, end))
    return pieces
