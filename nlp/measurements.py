"""Sizes in a sentence: all dimensions, their unit, and whether they are the current or an earlier measurement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Size", "find_sizes"]

_UNITS = {"mm": 1.0, "millimeter": 1.0, "milimeter": 1.0, "cm": 10.0, "centimeter": 10.0}
_DIGITS = frozenset("0123456789")  # not str.isdigit, which is true of superscripts
_TIMES = frozenset(("x", "by", "\u00d7", "*"))
_PRIOR = frozenset(
    ["previously", "prior", "previous", "formerly", "earlier", "was", "were", "from", "compared", "before", "initially"]
)
_NOW = frozenset(
    ["now", "currently", "to", "today", "is", "measure", "measuring", "present", "presently", "versus", "vs"]
)
_DISTANCE = frozenset(("from", "above", "below", "away", "proximal", "distal", "deep"))
_LIMITS = frozenset(("<", "under", "below", "less", "smaller", "shorter"))


class Size(NamedTuple):
    """A measurement at tokens ``first <= i < last``.

    Attributes:
        dimensions: millimetres, in the order of the text.
        prior: an earlier measurement, not the current one.
        short_axis: the text calls it the short axis.
        below: an upper bound only ("less than 1 cm").
        now: the text says that this one replaces an earlier one ("has grown to 12 mm").
    """

    first: int
    last: int
    dimensions: tuple[float, ...]
    prior: bool
    short_axis: bool
    below: bool
    now: bool


def find_sizes(words: Sequence[str]) -> list[Size]:
    """The measurements of a sentence, in order."""
    sizes: list[Size] = []
    done = 0
    for index in [i for i, word in enumerate(words) if word[0] in _DIGITS]:
        if index < done:
            continue
        end, values, unit = _read(words, index)
        if unit and _DISTANCE.isdisjoint(words[end : end + 1]):
            before = words[max(0, index - 2) : index]
            now = before[-1:] in (["to"], ["now"], ["currently"]) and before != ["up", "to"] and index > 2
            sizes.append(
                Size(
                    index,
                    end,
                    tuple(value * unit for value in values),
                    _is_prior(words, index),
                    _short(words, index, end),
                    _is_below(words, index),
                    now,
                )
            )
        done = end
    return sizes


def _read(words: Sequence[str], index: int) -> tuple[int, list[float], float]:
    """Numbers joined by x, by or a dash, up to their unit."""
    values: list[float] = []
    unit = 0.0
    while index < len(words) and words[index][0] in _DIGITS:
        values.append(float(words[index].replace(",", ".")))
        index += 1
        if index < len(words) and words[index] in _UNITS:
            unit = _UNITS[words[index]]
            index += 1
        if index + 1 < len(words) and words[index] in _TIMES and words[index + 1][0] in _DIGITS:
            index += 1
            continue
        joined = index < len(words) and not unit and words[index][0] in _DIGITS
        if not joined:
            break
    return index, values, unit


def _is_prior(words: Sequence[str], index: int) -> bool:
    for word in reversed(words[max(0, index - 4) : index]):
        if word in _NOW or word in (",", ";"):
            return False
        if word in _PRIOR:
            return not (word in ("was", "were") and not _contrast(words))
    return False


def _contrast(words: Sequence[str]) -> bool:
    return any(word in ("now", "currently", "previously") for word in words)


def _is_below(words: Sequence[str], index: int) -> bool:
    before = words[max(0, index - 3) : index]
    return not _LIMITS.isdisjoint(before)


def _short(words: Sequence[str], first: int, last: int) -> bool:
    around = words[max(0, first - 6) : last + 6]
    return "short" in around and ("axis" in around or "diameter" in around)
