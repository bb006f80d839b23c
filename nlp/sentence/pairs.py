"""Places each with a size of its own: "nodules, e.g. RML 6 mm, lingula 9 mm", "LUL 22 mm, LLL 9 mm nodules"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..language.trie import Hit
from .measurements import Measured, Size
from .phrases import Phrase

__all__ = ["pairs_of"]


class _Pair(NamedTuple):
    phrase: Phrase
    size: Size
    before: Size | None
    """An earlier size of the same, in parentheses or after a comma."""
    last: int


def pairs_of(
    words: Sequence[str],
    finding: Hit,
    findings: Sequence[Hit],
    own: Sequence[Phrase],
    phrases: Sequence[Phrase],
    sizes: Sequence[Size],
    lists: Mapping[str, frozenset[str]],
) -> list[tuple[Phrase, Measured]]:
    """Two or more places of a finding, each with the size that follows it; none where places and sizes are no pairs.

    Args:
        words: the sentence.
        finding: the finding.
        findings: all of the sentence.
        own: the places attached to the finding.
        phrases: all places.
        sizes: all measurements.
        lists: word lists of the language.
    """
    between = lists["clause_joins"] | lists["and"] | lists["articles"]
    run: list[_Pair] = []
    for pair in _all_pairs(words, phrases, sizes):
        if run and not between.issuperset(words[run[-1].last : pair.phrase.first]):
            if any(p.phrase in own for p in run):
                break
            run = []
        run.append(pair)
    if len(run) < 2 or not any(pair.phrase in own for pair in run):
        return []
    inside = any(run[0].phrase.first <= other.first < run[-1].last for other in findings)
    apart = run[-1].last != finding.first and finding.last > run[0].phrase.first
    return [] if inside or apart else [(p.phrase, Measured(p.size, p.before)) for p in run]


def _all_pairs(words: Sequence[str], phrases: Sequence[Phrase], sizes: Sequence[Size]) -> list[_Pair]:
    """Every place with the current size right after it."""
    found = []
    for phrase, following in pairwise([*phrases, None]):
        assert phrase is not None
        end = following.first if following is not None else len(words)
        inside = [size for size in sizes if phrase.last <= size.first < end]
        if not inside or inside[0].prior or [w for w in words[phrase.last : inside[0].first] if w != "("]:
            continue
        before = next((size for size in inside[1:] if size.prior), None)
        last = (before or inside[0]).last
        closed = words.index(")", last) if ")" in words[last : last + 2] else -1
        if closed >= 0 and words[last] in (",", ")"):  # "(5 mm, image 33)" without its image
            last = closed + 1
        found.append(_Pair(phrase, inside[0], before, last))
    return found
