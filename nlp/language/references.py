"""Image references in a text ("Ser/Img: 2/22", "(203:162)", "series 3 image 40"): data of the finding, no part of the
sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..sentence.mention import Mention

__all__ = ["Reference", "ReferenceFinder", "blanked", "images_of"]

_FIRST_YEAR = 1900
_PAIR = re.compile(r"\d\s*/\s*\d")
_PART = re.compile(r"[^\W\d_]+|\d+")
_NUMBER = re.compile(r"\d+")
_LOOK_BACK = 24
_BETWEEN = " \t\r\n.,:#=/"  # signs between a word for an image and its number


class Reference(NamedTuple):
    """Characters ``start <= i < end`` name an image; ``series`` and ``image`` are numbers as they stand, or empty."""

    start: int
    end: int
    series: str
    image: str


class ReferenceFinder:
    """Finds the image references of a language.

    Args:
        series: words for a series; one of a single letter counts only beside one for an image ("s3 i45").
        image: words for an image.
        numbers: words between these and the number ("image no. 40").
        leads: words before a reference that go with it ("on image 40").
    """

    def __init__(
        self, series: Iterable[str], image: Iterable[str], numbers: Iterable[str], leads: Iterable[str]
    ) -> None:
        self._series, self._image = frozenset(series), frozenset(image)
        known = self._series | self._image
        self._signs = ("(", "[", *(word for word in (*known, *numbers) if len(word) > 1))
        if not self._image:
            self._pattern = re.compile("(?!)")
            return
        letters = [_alternatives(word for word in words if len(word) == 1) for words in (self._series, self._image)]
        word = rf"\b(?:{_alternatives(word for word in known if len(word) > 1)})(?![^\W\d_])\.?"
        number = rf"(?:\s*\b(?:{_alternatives(numbers)})\b\.?)?\s*[:#=]?\s*\d{{1,4}}(?![\d.]*\s*[cm]m\b)"
        named = rf"{word}(?:\s*[/,]\s*{word})?{number}(?:\s*[-/:,]\s*\d{{1,4}}(?![\d.]|\s*[cm]m\b))*"
        short = rf"\b(?:{letters[0]})[\s:]?\d{{1,4}}[\s,;:/]*(?:{letters[1]})[\s:]?\d{{1,4}}\b"
        joined = rf"(?:{named}(?:\s*[,;/]?\s*(?:\w{{2,4}}\s+)?{named})*|{short})"
        bare = r"\d{1,4}\s*[/:;]\s*\d{1,4}"
        inside = rf"(?:{joined}|{bare})(?:\s*[,;]\s*(?:{joined}|{bare}))*"
        self._pattern = re.compile(rf"[(\[]\s*{inside}\s*[)\]]|{joined}")
        self._lead = re.compile(rf"(?:\b(?:{_alternatives(leads)})\s+)+$")

    def find(self, lowered: str) -> list[Reference]:
        """All references of a text in lower case, in order."""
        found: list[Reference] = []
        if not self._may_refer(lowered):
            return found
        for match in self._pattern.finditer(lowered):
            series, image = self._numbers(match.group())
            if not image or (series and int(image) >= _FIRST_YEAR):  # a month and its year
                continue
            lead = self._lead.search(lowered, max(0, match.start() - 20), match.start())
            found.append(Reference(lead.start() if lead else match.start(), match.end(), series, image))
        return found

    def _may_refer(self, lowered: str) -> bool:
        """A quick look: a number after a bracket or after a word for series or image, which few reports have."""
        for number in _NUMBER.finditer(lowered):
            at = number.start()
            before = lowered[max(0, at - _LOOK_BACK) : at].rstrip(_BETWEEN)
            if before.endswith(self._signs) or (before[-1:] in self._series and not before[-2:-1].isalnum()):
                return True
        return False

    def _numbers(self, text: str) -> tuple[str, str]:
        """Series and image of a reference; of several images the first."""
        found = {"series": "", "image": ""}
        due: list[str] = []
        named, pair = False, _PAIR.search(text) is not None
        for part in _PART.findall(text):
            if not part.isdigit():
                kind = "series" if part in self._series else "image" if part in self._image else ""
                due += ["series", kind] if kind == "image" and pair and not due else [kind] if kind else []
                named = named or bool(kind)
                continue
            kind = due.pop(0) if due else "image" if named or found["series"] else "series"
            found[kind] = found[kind] or part
        return found["series"], found["image"]


def blanked(text: str, references: Sequence[Reference]) -> str:
    """The text with its references as underscores, which are no words, character for character."""
    for reference in references:
        text = f"{text[: reference.start]}{'_' * (reference.end - reference.start)}{text[reference.end :]}"
    return text


def _alternatives(words: Iterable[str]) -> str:
    """The words as a pattern, longer ones first; one that nothing matches where there is none."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) or "(?!)"


def images_of(
    mentions: Sequence[Mention], references: Sequence[Reference], base: int
) -> dict[tuple[int, int], tuple[str, str]]:
    """Series and image by the characters of the place or finding that each reference of a sentence stands beside.

    A reference belongs to the nearest place or finding that ends before it, else to the first after it. A place or
    finding keeps its first reference.

    Args:
        mentions: of the sentence.
        references: of the sentence, in order.
        base: first character of the sentence, from which those of the mentions count.
    """
    spans = {(mention.start, mention.end) for mention in mentions}
    spans |= {(spot.start, spot.end) for m in mentions for _, spots in m.labels for spot in spots if spot.start >= 0}
    images: dict[tuple[int, int], tuple[str, str]] = {}
    for reference in references:
        at = reference.start - base
        before = [span for span in spans if span[1] <= at]
        span = max(before, key=lambda s: s[1]) if before else min(spans)
        images.setdefault(span, (reference.series, reference.image))
    return images
