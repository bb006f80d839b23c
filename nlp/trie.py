"""Longest match of many terms over tokens: a dictionary of dictionaries, one step per token."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["Hit", "Trie"]

_END = ""  # no token is empty


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

    def scan(self, words: Sequence[str]) -> list[Hit]:
        """All terms of a sentence. Example: ``right upper lobe nodule`` gives a side, a place and a finding."""
        root = self._root
        if root.keys().isdisjoint(words):
            return []
        hits = []
        size = len(words)
        done = 0
        for position, word in enumerate(words):
            if position < done or word not in root:
                continue
            node = root[word]
            best = node.get(_END)
            last = reach = position + 1
            while reach < size:
                node = node.get(words[reach])
                if node is None:
                    break
                reach += 1
                if _END in node:
                    best, last = node[_END], reach
            if best is not None:
                hits.append(Hit(best[0], best[1], position, last))
                done = last
        return hits
