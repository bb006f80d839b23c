"""Clauses of a sentence: the ranges of tokens beyond which a cue does not reach and a place is not shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress, count

from ..language.trie import Hit

__all__ = ["joined_clauses", "split_clauses"]


def split_clauses(
    words: Sequence[str], hits: Sequence[Hit], lists: Mapping[str, frozenset[str]], cuts: frozenset[int] = frozenset()
) -> list[tuple[int, int]]:
    """Token ranges of the clauses of a sentence.

    A clause ends at a semicolon, before a word of contrast (but, while), and at a comma or "and" after which a new
    statement begins: something with its own verb after something with its own verb, or "there is".

    Args:
        words: the sentence.
        hits: its findings and places.
        lists: word lists of the language (``finite``, ``openers``, ``hard_breaks``).
        cuts: joints after which a statement is known to begin.
    """
    finite, openers, breaks = lists["finite"], lists["openers"], lists["hard_breaks"]
    continuations = lists["continuations"]
    if not cuts and not _may_split(words, lists):
        return [(0, len(words))]
    joining, joins = lists["clause_joins"], lists["and"]
    findings = {position for hit in hits if hit.kind == "finding" for position in range(hit.first, hit.last)}
    bounds, start, has_verb, negated = [], 0, False, False
    size = len(words)
    for index in compress(count(), map(lists["clause_words"].__contains__, words)):
        word = words[index]
        if word in finite:
            has_verb = True
            continue
        if word in lists["negations"]:
            negated = True
            continue
        following = words[index + 1] if index + 1 < size else ""
        cut = index in cuts or word == ";" or (word in breaks and index > start and following not in lists["also"])
        if (
            not cut
            and word in joining
            and word != ";"
            and index > start
            and following
            and not (word == "," and following in joins)
        ):
            if following in lists["existential"]:
                cut = True
            elif not continuations.isdisjoint(words[index + 1 : index + 4]):
                cut = False
            elif has_verb or (negated and following in openers):
                cut = _new_statement(words, index + 1, lists, findings, strict=following not in openers)
            elif following in lists["nothing"] and index + 2 < size and words[index + 2] in lists["prepositions"]:
                cut = True  # "on the right, none on the left"
            else:
                cut = word == "," and _denies_place(words, index + 1, lists, findings)
        if cut:
            bounds.append((start, index))
            start, has_verb, negated = index, False, False
    bounds.append((start, size))
    return bounds


def joined_clauses(
    words: Sequence[str], clauses: Sequence[tuple[int, int]], hits: Sequence[Hit], lists: Mapping[str, frozenset[str]]
) -> list[tuple[int, int]]:
    """Clauses with those that name no finding and no place joined to the one before.

    They go on to speak of it: "..., and there was mild regression". The first is joined to the one after it where it
    was cut in the middle of what it says: "no change was detected in the size | and appearance of the nodules".
    """
    joined: list[tuple[int, int]] = []
    for first, last in clauses:
        if joined and not any(first <= hit.first < last for hit in hits):
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    if len(joined) > 1 and not any(hit.first < joined[0][1] for hit in hits):
        after = joined[0][1]
        plain = words[after - 1] not in lists["finite"] and words[after - 1] not in lists["separators"]
        if words[after] in lists["and"] and plain:
            joined[:2] = [(joined[0][0], joined[1][1])]
    return joined


def _denies_place(words: Sequence[str], index: int, lists: Mapping[str, frozenset[str]], findings: set[int]) -> bool:
    """Whether a few words up to the next comma name a place and deny what was listed before: ", axillary none"."""
    for position in range(index, min(index + 4, len(words))):
        if position in findings or words[position] in lists["clause_joins"]:
            return False
        if words[position] in lists["nothing"]:
            return position > index and (position + 1 == len(words) or words[position + 1] in lists["clause_joins"])
    return False


def _may_split(words: Sequence[str], lists: Mapping[str, frozenset[str]]) -> bool:
    """A quick look: without a second verb, a negation, a semicolon or a word of contrast nothing can be split."""
    if not lists["clause_signs"].isdisjoint(words):
        return True
    if lists["clause_joins"].isdisjoint(words):
        return False
    verbs = sum(map(lists["finite"].__contains__, words))
    return verbs > 1 or (verbs == 1 and not lists["negations"].isdisjoint(words))


def _new_statement(
    words: Sequence[str], index: int, lists: Mapping[str, frozenset[str]], findings: set[int], *, strict: bool
) -> bool:
    """Whether a verb comes before the next comma, or after more members of a list of findings."""
    found = False
    finite, breaks = lists["finite"], lists["hard_breaks"]
    for position in range(index, len(words)):
        word = words[position]
        if word in finite:
            return not strict or position > index
        if word == ";" or word in breaks:
            return False
        if word == "," and strict and not found:
            return False
        if position in findings:
            found = True
        if word == ",":
            found = False
    return False
