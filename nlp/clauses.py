"""Clauses of a sentence: the ranges of tokens beyond which a cue does not reach and a place is not shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .trie import Hit

__all__ = ["split_clauses"]

_NEGATIONS = frozenset(("no", "not", "without"))


def split_clauses(
    words: Sequence[str], hits: Sequence[Hit], lists: Mapping[str, frozenset[str]]
) -> list[tuple[int, int]]:
    """Token ranges of the clauses of a sentence.

    A clause ends at a semicolon, before a word of contrast (but, while), and at a comma or "and" after which a new
    statement begins: something with its own verb after something with its own verb, or "there is".

    Args:
        words: the sentence.
        hits: its findings and places.
        lists: word lists of the language (``finite``, ``openers``, ``hard_breaks``).
    """
    finite, openers, breaks = lists["finite"], lists["openers"], lists["hard_breaks"]
    if not _may_split(words, finite, breaks):
        return [(0, len(words))]
    findings = {position for hit in hits if hit.kind == "finding" for position in range(hit.first, hit.last)}
    bounds, start, has_verb, negated = [], 0, False, False
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if word == ";" or (word in breaks and index > start and following != "also"):
            cut = True
        elif word in (",", "and") and index > start and index + 1 < len(words):
            if word == "," and following == "and":
                continue
            if following == "there":
                cut = True
            elif has_verb or (negated and following in openers):
                cut = _new_statement(words, index + 1, finite, findings, strict=following not in openers)
            else:
                cut = False
        else:
            cut = False
        if cut:
            bounds.append((start, index))
            start, has_verb, negated = index, False, False
        elif word in finite:
            has_verb = True
        elif word in _NEGATIONS:
            negated = True
    bounds.append((start, len(words)))
    return bounds


def _may_split(words: Sequence[str], finite: frozenset[str], breaks: frozenset[str]) -> bool:
    """A quick look: without a second verb, a negation, a semicolon or a word of contrast nothing can be split."""
    if not breaks.isdisjoint(words) or ";" in words or "there" in words:
        return True
    if "," not in words and "and" not in words:
        return False
    verbs = sum(word in finite for word in words)
    return verbs > 1 or (verbs == 1 and not _NEGATIONS.isdisjoint(words))


def _new_statement(
    words: Sequence[str], index: int, finite: frozenset[str], findings: set[int], *, strict: bool
) -> bool:
    """Whether a verb comes before the next comma, or after more members of a list of findings."""
    found = False
    for position in range(index, len(words)):
        word = words[position]
        if word in finite:
            return not strict or position > index
        if word == ";":
            return False
        if word == "," and strict and not found:
            return False
        if position in findings:
            found = True
        if word == ",":
            found = False
    return False
