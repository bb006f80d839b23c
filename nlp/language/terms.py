"""Terms with slots: one pattern for all the orders and variants in which reports put a phrase."""

from __future__ import annotations

from itertools import product
from math import prod

from organcam.errors import ConfigError

__all__ = ["expand_term"]

MOST = 500
"""Phrases of one pattern; more are a slip of the pen."""


def expand_term(term: str, where: str) -> tuple[str, ...]:
    """The phrases that a term stands for.

    ``a|b`` is one word or the other, ``(a)`` a word that may be missing, ``(a|b)`` both.

    Args:
        term: words with or without slots.
        where: place in the file, for the message.

    Raises:
        ConfigError: for parentheses that do not close, an empty alternative, or too many phrases.

    Example:
        >>> expand_term("thickening (of) bronchial|airway wall", "")[:2]
        ('thickening of bronchial wall', 'thickening of airway wall')
    """
    if "|" not in term and "(" not in term and ")" not in term:
        return (term,)
    slots = []
    for word in term.split():
        optional = word.startswith("(") and word.endswith(")")
        choices = (word[1:-1] if optional else word).split("|")
        if not all(choices) or any(mark in choice for choice in choices for mark in "()"):
            msg = f"{where}: {word!r} is no slot: write a|b for one word or the other, (a) for one that may be missing"
            raise ConfigError(msg)
        slots.append([*choices, ""] if optional else choices)
    if prod(map(len, slots)) > MOST:
        msg = f"{where}: {term!r} stands for {prod(map(len, slots))} phrases, more than {MOST}"
        raise ConfigError(msg)
    phrases = (" ".join(filter(None, words)) for words in product(*slots))
    return tuple(phrase for phrase in phrases if phrase)
