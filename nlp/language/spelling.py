"""Typing errors in long words: one letter wrong, missing, doubled or in the wrong order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

__all__ = ["LONG", "Speller"]

LONG = 9
"""Shorter words have too many neighbours that are words themselves (septal and sepal, hilar and hilum)."""
_KNOWN = 20_000


class Speller:
    """Corrects words to those of a vocabulary.

    Two words are neighbours if one edit (a letter inserted, left out, changed, or swapped with the next) leads from one
    to the other; found through the words less one letter each, of which such neighbours share one. The first letter
    must be right, and no other word of the vocabulary may be as near.

    Args:
        words: words of the vocabulary.
        never: words that are no typing errors, however near they are to one of the vocabulary ("lobulated").
    """

    def __init__(self, words: Iterable[str], never: Iterable[str] = ()) -> None:
        self._words = frozenset(word for word in words if len(word) >= LONG - 1 and word.isalpha())
        self._found: dict[str, str] = dict.fromkeys(never, "")
        self._shorter: dict[str, list[str]] = {}

    def correct(self, word: str) -> str:
        """The word of the vocabulary that is meant, or the word itself."""
        found = self._found.get(word)
        if found is None:
            if len(self._found) >= _KNOWN:
                self._found.clear()
            found = self._found[word] = self._search(word)
        return found or word

    def _search(self, word: str) -> str:
        if word in self._words or not word.isalpha():
            return ""
        if not self._shorter:
            index: dict[str, list[str]] = defaultdict(list)
            for known in self._words:
                for less in (known, *_less_one(known)):
                    index[less].append(known)
            self._shorter = dict(index)
        near = {known for less in (word, *_less_one(word)) for known in self._shorter.get(less, ())}
        near = {known for known in near if known[0] == word[0] and _one_edit(word, known)}
        return near.pop() if len(near) == 1 else ""


def _less_one(word: str) -> Iterator[str]:
    return (word[:i] + word[i + 1 :] for i in range(1, len(word)))


def _one_edit(word: str, other: str) -> bool:
    """Whether one edit leads from one word to the other."""
    start = next((i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), min(len(word), len(other)))
    a, b = word[start:], other[start:]
    swapped = len(a) == len(b) and a[:2] == b[1::-1] and a[2:] == b[2:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or swapped
