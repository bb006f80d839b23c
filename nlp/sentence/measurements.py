"""Sizes in a sentence: all dimensions, their unit, and whether they are the current or an earlier measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..language.trie import Hit

__all__ = ["NOT_MEASURED", "SIGNS_OF_TIMES", "Measured", "Size", "SizeFinder", "sizes_of"]

_DIGITS = frozenset("0123456789")  # not str.isdigit, which is true of superscripts
_NEAR_SIZES = 6
SIGNS_OF_TIMES = frozenset(("\u00d7", "*"))


class Size(NamedTuple):
    """A measurement at tokens ``first <= i < last``.

    Attributes:
        dimensions: millimetres, in the order of the text.
        prior: an earlier measurement, not the current one.
        below: an upper bound only ("less than 1 cm").
        now: the text says that this one replaces an earlier one ("has grown to 12 mm").
        several: the numbers are sizes of several of a kind ("15 and 21 mm") and no dimensions of one.
    """

    first: int
    last: int
    dimensions: tuple[float, ...]
    prior: bool
    below: bool
    now: bool
    several: bool = False

    def millimetres(self, *, short_axis: bool) -> float:
        """The dimension that counts: the smallest of a lymph node, the largest of anything else."""
        return min(self.dimensions) if short_axis and not self.several else max(self.dimensions)


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


class SizeFinder:
    """Finds the measurements of sentences.

    Args:
        units: millimetres of each unit.
        lists: word lists of the language.
    """

    def __init__(self, units: Mapping[str, float], lists: Mapping[str, frozenset[str]]) -> None:
        self._units = units
        self._lists = lists
        self._times = lists["times"] | SIGNS_OF_TIMES
        self._ranges = lists["ranges"]
        self._of_size = lists["prepositions"] | lists["articles"] | lists["measures"]

    def find(self, words: Sequence[str]) -> list[Size]:
        """The measurements of a sentence, in order."""
        sizes: list[Size] = []
        lists, done, unit_before, compared = self._lists, 0, 0.0, False
        for index, word in enumerate(words):
            if word[0] not in _DIGITS or index < done:
                continue
            end, values, unit, several = self._read(words, index)
            if not unit and self._is_prior(words, index):  # "measured 21, now 8 mm", "now 5 mm, was 9"
                unit = self._unit_of_next(words, end) or (unit_before if end - done < _NEAR_SIZES else 0.0)
            unit_before = unit or unit_before
            # "6 mm in the previous examination", after which "was observed as 7 mm" is the current one
            of_study = bool(unit) and self._of_prior_study(words, end)
            prior = of_study or (not compared and self._is_prior(words, index))
            prior = prior or self._is_set_against(words, index, end, sizes)
            compared = compared or of_study
            if unit and lists["distances"].isdisjoint(words[end : end + 1]):
                before = words[max(0, index - 2) : index]
                led = bool(before) and before[-1] in lists["now"] and lists["finite"].isdisjoint(before[-1:])
                sizes.append(
                    Size(
                        index,
                        end,
                        tuple(value * unit for value in values),
                        prior=prior,
                        below=not lists["limits"].isdisjoint(words[max(0, index - 3) : index]),
                        now=led and not prior and lists["up_to"].isdisjoint(before) and index > 2,
                        several=several,
                    )
                )
            done = end
        return sizes

    def _read(self, words: Sequence[str], index: int) -> tuple[int, list[float], float, bool]:
        """Numbers joined by x, by or a dash, up to their unit; whether they are sizes of several things."""
        values: list[float] = []
        unit, several = 0.0, False
        while index < len(words) and words[index][0] in _DIGITS:
            values.append(float(words[index].replace(",", ".")))
            index += 1
            if index < len(words) and words[index] in self._units:
                unit = self._units[words[index]]
                index += 1
            number_next = index + 1 < len(words) and words[index + 1][0] in _DIGITS
            if number_next and words[index] in self._times:
                index += 1
                continue
            further = number_next and not unit and words[index] in self._ranges
            if further and words[index + 2 : index + 3] and words[index + 2] in self._units:  # "of 6 and 5 mm"
                index += 1
                several = True
                continue
            joined = index < len(words) and not unit and words[index][0] in _DIGITS
            if not joined:
                break
        return index, values, unit, several

    def _unit_of_next(self, words: Sequence[str], index: int) -> float:
        """The unit of the current size that follows an earlier one without any, or 0."""
        for position in range(index, min(index + 4, len(words))):
            if words[position][0] in _DIGITS:
                linked = not self._lists["now"].isdisjoint(words[index:position])
                return self._read(words, position)[2] if linked else 0.0
        return 0.0

    def _is_set_against(self, words: Sequence[str], index: int, end: int, sizes: Sequence[Size]) -> bool:
        """Whether a size is the earlier one that the current one before it is compared with ("24 mm vs 31 mm")."""
        if not sizes or sizes[-1].prior or sizes[-1].last != index - 1:
            return False
        return words[index - 1] in self._lists["versus"] and self._lists["now"].isdisjoint(words[end : end + 2])

    def _of_prior_study(self, words: Sequence[str], end: int) -> bool:
        """Whether an earlier examination is named right after a size."""
        for word in words[end : end + 5]:
            if word in self._lists["prior_studies"]:
                return True
            if word not in self._of_size:
                return False
        return False

    def _is_prior(self, words: Sequence[str], index: int) -> bool:
        lists = self._lists
        for word in reversed(words[max(0, index - 4) : index]):
            if word in lists["now"] or word in (",", ";"):
                return False
            if word in lists["prior"]:
                return word not in lists["past_tense"] or self._sets_against(words, index)
        return False

    def _sets_against(self, words: Sequence[str], index: int) -> bool:
        """Whether a sentence sets the past against the present: by its words, or by a size before this one."""
        return not self._lists["contrasts"].isdisjoint(words) or any(word in self._units for word in words[:index])
