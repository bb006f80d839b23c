"""Sizes in a sentence: all dimensions, their unit, and whether they are the current or an earlier measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .trie import Hit

__all__ = ["NOT_MEASURED", "Measured", "Size", "find_sizes", "sizes_of"]

_UNITS = {"mm": 1.0, "millimeter": 1.0, "milimeter": 1.0, "cm": 10.0, "centimeter": 10.0}
_DIGITS = frozenset("0123456789")  # not str.isdigit, which is true of superscripts
_TIMES = frozenset(("x", "by", "\u00d7", "*"))
_PRIOR = frozenset(
    ["previously", "prior", "previous", "formerly", "earlier", "was", "were", "measured", "from", "compared", "before"]
)
_PAST_TENSE = frozenset(("was", "were", "measured"))
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

    def millimetres(self, *, short_axis: bool) -> float:
        """The dimension that counts: the smallest of a lymph node, the largest of anything else."""
        return min(self.dimensions) if short_axis else max(self.dimensions)


class Measured(NamedTuple):
    """The current and the earlier size of a finding, where the text gives them."""

    now: Size | None
    before: Size | None

    def change(self, *, short_axis: bool) -> str:
        """What the two sizes say of the change; empty where one is missing. Half a millimetre is no change."""
        if self.now is None or self.before is None:
            return ""
        grown = self.now.millimetres(short_axis=short_axis) - self.before.millimetres(short_axis=short_axis)
        return "stable" if abs(grown) <= 0.5 else "larger" if grown > 0 else "smaller"


NOT_MEASURED = Measured(None, None)


def sizes_of(
    words: Sequence[str], findings: Sequence[Hit], sizes: Sequence[Size], lists: Mapping[str, frozenset[str]]
) -> list[Measured]:
    """The measurements of each finding: those right before it ("5 mm nodule"), else the first after it."""
    result: list[Measured] = [NOT_MEASURED] * len(findings)
    blocked = lists["between_size_and_finding"]
    for size in sizes:
        target = _measured_by(size, words, findings, blocked)
        if target < 0:
            continue
        known = result[target]
        if size.prior:
            result[target] = known._replace(before=size)
        elif known.now is None or size.now or (max(size.dimensions) > max(known.now.dimensions) and not known.now.now):
            result[target] = known._replace(now=size)
    return result


def _measured_by(size: Size, words: Sequence[str], findings: Sequence[Hit], blocked: frozenset[str]) -> int:
    """The number of the finding that a size belongs to, or -1."""
    own = next((i for i, hit in enumerate(findings) if hit.first == size.first), -1)
    if own >= 0:
        return own
    before = [i for i, hit in enumerate(findings) if hit.last <= size.first]
    after = [i for i, hit in enumerate(findings) if hit.first >= size.last]
    direct = bool(after) and not size.prior and blocked.isdisjoint(words[size.last : findings[after[0]].first])
    if not direct and (before or not after):
        return before[-1] if before else -1
    target = after[0]
    for number in after[1:]:  # "15 mm cavitating nodule": the noun is what was measured
        if not blocked.isdisjoint(words[findings[target].last : findings[number].first]):
            break
        target = number
    return target


def find_sizes(words: Sequence[str]) -> list[Size]:
    """The measurements of a sentence, in order."""
    sizes: list[Size] = []
    done = 0
    for index in [i for i, word in enumerate(words) if word[0] in _DIGITS]:
        if index < done:
            continue
        end, values, unit = _read(words, index)
        if not unit and _is_prior(words, index):
            unit = _unit_of_next(words, end)  # "measured 21, now 8 mm"
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


def _unit_of_next(words: Sequence[str], index: int) -> float:
    """The unit of the current size that follows an earlier one without any, or 0."""
    for position in range(index, min(index + 4, len(words))):
        if words[position][0] in _DIGITS:
            linked = not _NOW.isdisjoint(words[index:position])
            return _read(words, position)[2] if linked else 0.0
    return 0.0


def _is_prior(words: Sequence[str], index: int) -> bool:
    for word in reversed(words[max(0, index - 4) : index]):
        if word in _NOW or word in (",", ";"):
            return False
        if word in _PRIOR:
            return not (word in _PAST_TENSE and not _contrast(words))
    return False


def _contrast(words: Sequence[str]) -> bool:
    return any(word in ("now", "currently", "previously", "today") for word in words)


def _is_below(words: Sequence[str], index: int) -> bool:
    before = words[max(0, index - 3) : index]
    return not _LIMITS.isdisjoint(before)


def _short(words: Sequence[str], first: int, last: int) -> bool:
    around = words[max(0, first - 6) : last + 6]
    return "short" in around and ("axis" in around or "diameter" in around)
