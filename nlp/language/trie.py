"""Longest match of many terms over tokens: a dictionary of dictionaries, one step per token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["Hit", "Trie"]

_END = ""  # no token is empty
_NO_WORD = " "  # no token is a space


class Hit(NamedTuple):
    """A term found in tokens ``first <= i < last``; ``kind`` and ``name`` say what it is."""

    kind: str
    name: str
    first: int
    last: int


class Trie:
    """Terms by their words; ``scan`` finds the longest term at each position, left to right, without overlap."""

    def __init__(self) -> None:
        self._root: dict[str, Any] = {}

    def add(self, words: Sequence[str], kind: str, name: str, *, replace: bool = True) -> tuple[str, str] | None:
        """Enter a term. Returns the entry that was there before, if any (kept when ``replace`` is False)."""
        node = self._root
        for word in words:
            node = node.setdefault(word, {})
        before: tuple[str, str] | None = node.get(_END)
        if replace or before is None:
            node[_END] = (kind, name)
        return before

    def update(self, entries: Iterable[tuple[Sequence[str], str, str]]) -> None:
        """Enter many terms; of two equal ones the first stays."""
        for words, kind, name in entries:
            self.add(words, kind, name, replace=False)

    def starts(self, word: str) -> bool:
        """Whether any term begins with a word."""
        return word in self._root

    def scan(self, words: Sequence[str]) -> list[Hit]:
        """All terms of a sentence. Example: ``right upper lobe nodule`` gives a side, a place and a finding."""
        root = self._root
        starts = [index for index, word in enumerate(words) if word in root]
        if not starts:
            return []
        hits: list[Hit] = []
        make = tuple.__new__  # the class's own call takes twice as long, and there are several in every sentence
        padded = [*words, _NO_WORD]
        done = 0
        for position in starts:
            if position < done:
                continue
            node = root[padded[position]]
            best = node.get(_END)
            last = reach = position + 1
            while padded[reach] in node:
                node = node[padded[reach]]
                reach += 1
                if _END in node:
                    best, last = node[_END], reach
            if best is not None:
                hits.append(make(Hit, (*best, position, last)))
                done = last
        return hits
