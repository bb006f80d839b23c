"""Sections and sentences of a report: where each begins, what its heading says, and where headings name an organ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from organcam.errors import ConfigError

from .yaml_data import check_keys, load_yaml, string_list

__all__ = ["Sentence", "Sections", "load_sections", "split_sentences"]

# A heading opens a sentence: a few words and a colon.
_HEADING = re.compile(r"[ \t>*#_-]*(?:\d{1,2}[.)]\s*)?([a-z][a-z0-9 ,/&()_'-]{1,58}?)[*_ ]*[:：](?!\d)")
_LINE_HEADING = re.compile(r"[ \t*#_-]*([a-z][a-z /&_-]{2,40})[ \t*_:-]*$")
_ENUMERATION = re.compile(r"\s*(?:[-*•·–]\s+|\(?\d{1,2}[.)]\s+(?=\D))")
_BREAK = re.compile(
    r"(?<![\d\s][a-z])[.!?]+(?=[\s\"')\]]|$)"  # a full stop before white space, not after a single initial
    r"|(?<=[a-z)%])[.](?=[A-Z][a-zA-Z])"  # a full stop with the space forgotten
    r"|\n\s*\n|\r?\n"
)
_ABBREVIATIONS = ("dr", "vs", "e.g", "i.e", "approx", "fig", "st", "etc", "ca", "mr", "mrs", "no", "resp", "max", "min", "cf", "incl", "img", "im", "ser")


class Sentence(NamedTuple):
    """Characters ``start <= i < end`` of the report; ``topic`` is the organ words of the heading above it."""

    start: int
    end: int
    section: str
    topic: str


@dataclass(frozen=True)
class Sections:
    """Section names by heading, and which of them are muted for labels."""

    headings: Mapping[str, str]
    muted: frozenset[str]


@lru_cache(maxsize=4)
def load_sections(language: str = "en") -> Sections:
    """Headings of a language, from ``sections/<language>.yaml``.

    Raises:
        ConfigError: if the language has none.
    """
    path = Path(str(files("organcam.nlp") / "sections" / f"{language}.yaml"))
    if not path.is_file():
        msg = f"no section headings for the language {language!r}"
        raise ConfigError(msg)
    content = check_keys(load_yaml(path), ("language", "muted", "headings"), path.name)
    headings = {
        heading: section
        for section, words in content["headings"].items()
        for heading in string_list(words, f"{path.name}: headings.{section}")
    }
    return Sections(headings, frozenset(string_list(content["muted"], f"{path.name}: muted")))


def split_sentences(text: str, lowered: str, sections: Sections, section: str = "") -> Iterator[Sentence]:
    """Sentences of a report in order, each with its section.

    Args:
        text: the report.
        lowered: the same in lower case, offset for offset.
        sections: headings of the language.
        section: the section that the text begins in.
    """
    topic = ""
    for start, end in _pieces(text, lowered):
        position = start
        while lowered.find(":", position, min(end, position + 70)) >= 0 or lowered.find("：", position, min(end, position + 70)) >= 0:
            match = _HEADING.match(lowered, position, end)
            heading = " ".join(match.group(1).replace("_", " ").split()) if match else ""
            if match is None or not (heading in sections.headings or len(heading.split()) <= 6):
                break
            if heading in sections.headings:
                section, topic = sections.headings[heading], ""
            else:
                topic = heading
            position = match.end()
        if position == start and end - start <= 50 and text[end : end + 2].find("\n") >= 0:
            line = _LINE_HEADING.match(lowered, start, end)
            name = " ".join(line.group(1).split()) if line else ""
            if name in sections.headings:
                section, topic = sections.headings[name], ""
                continue
        if position < end:
            yield Sentence(position, end, section, topic)


def _pieces(text: str, lowered: str) -> Iterator[tuple[int, int]]:
    """Character ranges of the sentences, without white space and bullets around them."""
    start = 0
    for match in _BREAK.finditer(text):
        if not _ends(text, lowered, start, match):
            continue
        yield from _trimmed(text, start, match.start() + match.group().startswith("?"))
        start = match.end()
    yield from _trimmed(text, start, len(text))


def _ends(text: str, lowered: str, start: int, match: re.Match[str]) -> bool:
    mark = match.group()
    at = match.start()
    if mark[0] in "\r\n":
        if mark.count("\n") > 1:
            return True
        before = text[max(start, at - 1) : at].strip()
        following = text[match.end() : match.end() + 60].lstrip(" \t")
        if not following or before in (".", ":", ";", "!", "?") or _ENUMERATION.match(following):
            return True
        if _HEADING.match(following.lower()):
            return True
        return following[0].isupper() and at - text.rfind("\n", 0, at) < 60
    word_start = at
    while word_start > start and not lowered[word_start - 1].isspace():
        word_start -= 1
    word = lowered[word_start:at]
    if mark == "." and (word in _ABBREVIATIONS or (word.isdigit() and not text[start:word_start].strip())):
        return word == "no" and text[match.end() : match.end() + 2].strip().isupper()
    return True


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    match = _ENUMERATION.match(text, start, end)
    if match:
        start = match.end()
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end
