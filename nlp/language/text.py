"""Tokens: the words of a text with their character offsets, and the one normal form that texts and term lists share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from organcam.errors import ConfigError

from .folders import ENGLISH
from .yaml_data import check_keys, load_yaml, string_list, string_map

__all__ = ["Tokens", "WordForms", "load_units", "load_word_forms", "read_words", "same_length_lower"]

_KEYS = (
    *("name", "spellings", "suffixes", "endings", "keep", "keep_endings", "plurals", "units"),
    *("abbreviations", "abbreviations_and_words"),
)

# A hyphen inside a word separates two words ("ground-glass"); one between spaces is punctuation. T12, L1 stay whole.
# Latin letters come first as a plain range, which is twice as fast as the class of all letters at the end.
_TOKEN = re.compile(
    r"[tlcs][0-9]{1,2}(?!\w)|[a-zß-ɏ]+(?:['\u2019]s\b)?|[0-9]+(?:[.,][0-9]+)?|[,.;:()\[\]/<>=?!&%+\u00d7*]"
    r"|(?<=\s)[-\u2013\u2014]+(?=\s)|[^\W\d_]+"
)

_LONE_DASH = re.compile(r"[-\u2013\u2014]+$").match  # at either end of a text it stands for nothing

_KNOWN_WORDS = 20_000
_LONGEST_WORD = 60


class Ending(NamedTuple):
    """An ending of words longer than ``longer_than`` letters, what takes its place, and whether it tells a plural."""

    ending: str
    becomes: str
    longer_than: int
    plural: bool


class WordForms:
    """The one form of each word that texts and term lists of a language share.

    Args:
        spellings: letters that have another spelling, with the one that is kept.
        suffixes: the same at the end of a word.
        plurals: plurals of their own, with their singular.
        endings: endings to take off, of which the first that fits counts.
        keep: words that keep their ending.
        keep_endings: endings that are part of a word.
    """

    def __init__(
        self,
        spellings: Mapping[str, str] | None = None,
        suffixes: Sequence[Ending] = (),
        plurals: Mapping[str, str] | None = None,
        endings: Sequence[Ending] = (),
        keep: Iterable[str] = (),
        keep_endings: Iterable[str] = (),
    ) -> None:
        self._spellings = tuple((spellings or {}).items())
        self._respelled = re.compile("|".join(map(re.escape, spellings or ())) or "(?!)")
        self._suffixes = tuple(suffixes)
        self._plurals = dict(plurals or {})
        self._endings = tuple(endings)
        self._last = tuple(ending.ending for ending in self._endings)
        self._keep, self._keep_endings = frozenset(keep), tuple(keep_endings)
        self.of_piece = _Forms(self)
        self._terms: dict[str, tuple[str, ...]] = {}
        self._known: dict[str, bool] = {}

    def normal(self, word: str) -> tuple[str, bool]:
        """The form under which a lower-case word is looked up, and whether it was a plural.

        Example:
            >>> forms = load_word_forms()
            >>> forms.normal("oedemas"), forms.normal("opacities"), forms.normal("mass")
            (('edema', True), ('opacity', True), ('mass', False))
        """
        word = word.replace("'s", "")
        if self._respelled.search(word):
            for spelled, kept in self._spellings:
                word = word.replace(spelled, kept)
        for ending, becomes, longer_than, _ in self._suffixes:
            if word.endswith(ending) and len(word) > longer_than:
                word = word[: -len(ending)] + becomes
        if word in self._plurals:
            return self._plurals[word], True
        if not word.endswith(self._last) or word in self._keep or word.endswith(self._keep_endings):
            return word, False
        for ending, becomes, longer_than, plural in self._endings:
            if word.endswith(ending) and len(word) > longer_than:
                return word[: -len(ending)] + becomes, plural
        return word, False

    def is_plural(self, word: str) -> bool:
        """Whether a word is a plural."""
        known = self._known.get(word)
        if known is None:
            if len(self._known) >= _KNOWN_WORDS:
                self._known.clear()
            known = self._known[word] = self.normal(word)[1]
        return known

    def term(self, term: str) -> tuple[str, ...]:
        """A term of a vocabulary as the normal forms that a text would show for it.

        Example:
            >>> load_word_forms().term("Ground-glass opacities")
            ('ground', 'glass', 'opacity')
        """
        known = self._terms.get(term)
        if known is None:  # a vocabulary is merged, compiled and checked, and asks for each term several times
            known = self._terms[term] = tuple(Tokens(same_length_lower(term), self).words)
        return known


@lru_cache(maxsize=4)
def load_word_forms(folder: Path = ENGLISH) -> WordForms:
    """The word forms of a language, from ``words.yaml`` in its folder.

    Raises:
        ConfigError: if the file is missing or breaks the schema.
    """
    content, where = read_words(folder)
    return WordForms(
        string_map(content.get("spellings"), f"{where}: spellings"),
        _endings(content.get("suffixes"), f"{where}: suffixes"),
        string_map(content.get("plurals"), f"{where}: plurals"),
        _endings(content.get("endings"), f"{where}: endings"),
        string_list(content.get("keep"), f"{where}: keep"),
        string_list(content.get("keep_endings"), f"{where}: keep_endings"),
    )


@lru_cache(maxsize=4)
def read_words(folder: Path) -> tuple[Mapping[str, Any], str]:
    """``words.yaml`` of a language's folder with its keys checked, and its name for messages."""
    path = folder / "words.yaml"
    return check_keys(load_yaml(path), _KEYS, str(path)), str(path)


def _endings(value: object, where: str) -> tuple[Ending, ...]:
    if value is not None and not isinstance(value, list):
        msg = f"{where}: must be a list of endings, got {type(value).__name__}"
        raise ConfigError(msg)
    found = []
    for number, entry in enumerate(value or ()):
        at = f"{where}[{number}]"
        checked = check_keys(entry, ("ending", "becomes", "longer_than", "plural"), at)
        if not isinstance(checked.get("ending"), str) or not isinstance(checked.get("longer_than", 0), int):
            msg = f"{at}: needs `ending`, letters, and `longer_than`, a number"
            raise ConfigError(msg)
        longer, plural = checked.get("longer_than", 0), bool(checked.get("plural", False))
        found.append(Ending(checked["ending"], str(checked.get("becomes") or ""), longer, plural))
    return tuple(found)


def same_length_lower(text: str) -> str:
    """Lower case without moving an offset (some capitals, as the Turkish dotted I, lower to two characters)."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else low[0] for char in text)


class _Pieces(dict[str, tuple[str, ...]]):
    """The tokens of each run of characters between two spaces met so far ("effusion," has two)."""

    def __missing__(self, piece: str) -> tuple[str, ...]:
        found = tuple(_TOKEN.findall(f" {piece} "))
        return _remember(self, piece, found)


class _Forms(dict[str, tuple[str, ...]]):
    """The normal forms of the same; looking up words met before is what makes tokenising fast."""

    def __init__(self, forms: WordForms) -> None:
        super().__init__()
        self._normal = forms.normal

    def __missing__(self, piece: str) -> tuple[str, ...]:
        return _remember(self, piece, tuple([self._normal(word)[0] for word in _PIECES[piece]]))


def _remember(known: dict[str, tuple[str, ...]], piece: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """The words, kept for the next time; what is too long to be a word is not kept."""
    if len(known) >= _KNOWN_WORDS:
        known.clear()
    if len(piece) <= _LONGEST_WORD:
        known[piece] = words
    return words


_PIECES = _Pieces()


class Tokens:
    """The words of a sentence; all but the normal forms is worked out only for sentences that hold something.

    Attributes:
        words: normal forms in order.
    """

    __slots__ = ("_forms", "_pieces", "_raw", "_spans", "_text", "words")

    def __init__(self, text: str, forms: WordForms) -> None:
        self._text = text
        self._forms = forms
        pieces = text.split()
        while pieces and _LONE_DASH(pieces[0]):
            del pieces[0]
        while pieces and _LONE_DASH(pieces[-1]):
            del pieces[-1]
        self._pieces = pieces
        self._raw: list[str] = []
        self._spans: list[tuple[int, int]] = []
        self.words = [form for piece in pieces for form in forms.of_piece[piece]]

    @property
    def raw(self) -> list[str]:
        """The words as they stand."""
        if not self._raw:
            self._raw = [word for piece in self._pieces for word in _PIECES[piece]]
        return self._raw

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Characters of each word."""
        if not self._spans:
            # what lies between two tokens never holds a token, so the next find is the right one
            position, find, add = 0, self._text.find, self._spans.append
            for word in self.raw:
                start = find(word, position)
                position = start + len(word)
                add((start, position))
        return self._spans

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Characters of the tokens ``first <= i < last``."""
        spans = self.spans
        return spans[first][0], spans[last - 1][1]

    def plural(self, index: int) -> bool:
        """Whether a word stood in the plural."""
        return self.raw[index] != self.words[index] and self._forms.is_plural(self.raw[index])


@lru_cache(maxsize=4)
def load_units(folder: Path = ENGLISH) -> Mapping[str, float]:
    """Millimetres of each unit of length, from ``words.yaml``.

    Raises:
        ConfigError: if a unit is no number.
    """
    content, where = read_words(folder)
    units = content.get("units") or {}
    for unit, size in check_keys(units, units, f"{where}: units").items():
        if not isinstance(size, (int, float)) or size <= 0:
            msg = f"{where}: units.{unit}: must be the number of millimetres, got {size!r}"
            raise ConfigError(msg)
    return {str(unit): float(size) for unit, size in units.items()}
