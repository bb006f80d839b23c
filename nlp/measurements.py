"""Sizes in a sentence: all dimensions, their unit, and whether they are the current or an earlier measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .text import Token

__all__ = ["Size", "find_sizes"]

_UNITS = {"mm": 1.0, "millimeter": 1.0, "milimeter": 1.0, "cm": 10.0, "centimeter": 10.0}
_TIMES = frozenset(("x", "by", "×", "*"))
_PRIOR = frozenset("previously prior previous formerly earlier was were from compared before initially".split())
_NOW = frozenset("now currently to today is measure measuring present presently versus vs".split())
_BELOW = frozenset(("<", "under", "below", "than"))
_LIMITS = frozenset(("less", "smaller", "shorter"))


class Size(NamedTuple):
    """A measurement at tokens ``first <= i < last``.

    Attributes:
        dimensions: millimetres, in the order of the text.
        prior: an earlier measurement, not the current one.
        short_axis: the text calls it the short axis.
        below: an upper bound only ("less than 1 cm").
    """

    first: int
    last: int
    dimensions: tuple[float, ...]
    prior: bool
    short_axis: bool
    below: bool


def find_sizes(tokens: Sequence[Token]) -> list[Size]:
    """The measurements of a sentence, in order."""
    sizes: list[Size] = []
    index = 0
    while index < len(tokens):
        if not tokens[index].word[0].isdigit():
            index += 1
            continue
        end, values, unit = _read(tokens, index)
        if unit:
            dimensions = tuple(value * unit for value in values)
            sizes.append(Size(index, end, dimensions, _is_prior(tokens, index), _short(tokens, index, end), _is_below(tokens, index)))
        index = max(end, index + 1)
    return sizes


def _read(tokens: Sequence[Token], index: int) -> tuple[int, list[float], float]:
    """Numbers joined by x, by or a dash, up to their unit."""
    values: list[float] = []
    unit = 0.0
    while index < len(tokens) and tokens[index].word[0].isdigit():
        values.append(float(tokens[index].word.replace(",", ".")))
        index += 1
        if index < len(tokens) and tokens[index].word in _UNITS:
            unit = _UNITS[tokens[index].word]
            index += 1
        if index + 1 < len(tokens) and tokens[index].word in _TIMES and tokens[index + 1].word[0].isdigit():
            index += 1
            continue
        joined = index < len(tokens) and not unit and tokens[index].word[0].isdigit()
        if not joined:
            break
    return index, values, unit


def _is_prior(tokens: Sequence[Token], index: int) -> bool:
    for token in reversed(tokens[max(0, index - 4) : index]):
        if token.word in _NOW or token.word in (",", ";"):
            return False
        if token.word in _PRIOR:
            return not (token.word in ("was", "were") and not _contrast(tokens))
    return False


def _contrast(tokens: Sequence[Token]) -> bool:
    return any(token.word in ("now", "currently", "previously") for token in tokens)


def _is_below(tokens: Sequence[Token], index: int) -> bool:
    before = [token.word for token in tokens[max(0, index - 3) : index]]
    return "<" in before or "under" in before or "below" in before or any(word in _LIMITS for word in before)


def _short(tokens: Sequence[Token], first: int, last: int) -> bool:
    around = [token.word for token in tokens[max(0, first - 6) : last + 6]]
    return "short" in around and ("axis" in around or "diameter" in around)
