"""Clauses of a sentence: the ranges of tokens beyond which a cue does not reach and a place is not shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .text import Token
from .trie import Hit

__all__ = ["split_clauses"]


def split_clauses(
    tokens: Sequence[Token], hits: Sequence[Hit], words: Mapping[str, frozenset[str]]
) -> list[tuple[int, int]]:
    """Token ranges of the clauses of a sentence.

    A clause ends at a semicolon, before a word of contrast (but, while), and at a comma or "and" after which a new
    statement begins: something with its own verb after something with its own verb, or "there is".

    Args:
        tokens: the sentence.
        hits: its findings and places.
        words: word lists of the language (``finite``, ``openers``, ``hard_breaks``).
    """
    finite, openers, breaks = words["finite"], words["openers"], words["hard_breaks"]
    findings = {position for hit in hits if hit.kind == "finding" for position in range(hit.first, hit.last)}
    bounds, start, has_verb, negated = [], 0, False, False
    for index, token in enumerate(tokens):
        word = token.word
        if word == ";" or (word in breaks and index > start):
            cut = True
        elif word in (",", "and") and index > start and index + 1 < len(tokens):
            following = tokens[index + 1].word
            if word == "," and following == "and":
                continue
            if following == "there":
                cut = True
            elif has_verb or (negated and following in openers):
                cut = _new_statement(tokens, index + 1, finite, findings, strict=following not in openers)
            else:
                cut = False
        else:
            cut = False
        if cut:
            bounds.append((start, index))
            start, has_verb, negated = index, False, False
        elif word in finite:
            has_verb = True
        elif word in ("no", "not", "without"):
            negated = True
    bounds.append((start, len(tokens)))
    return bounds


def _new_statement(
    tokens: Sequence[Token], index: int, finite: frozenset[str], findings: set[int], *, strict: bool
) -> bool:
    """Whether a verb comes before the next comma, or after more members of a list of findings."""
    found = False
    for position in range(index, len(tokens)):
        word = tokens[position].word
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
