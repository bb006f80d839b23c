"""What can go wrong in a way that a person can mend; each of these is shown as one message, never as a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = ["ConfigError", "DataError", "OrganCamError", "did_you_mean", "is_out_of_memory", "some_of"]


class OrganCamError(Exception):
    """Base of every error whose message is meant for the person at the keyboard (exit code 1)."""

    exit_code = 1


class ConfigError(OrganCamError, ValueError):
    """A workflow file, option or argument is wrong (exit code 2)."""

    exit_code = 2


class DataError(OrganCamError, ValueError):
    """A scan, report or table cannot be used; the message names it (exit code 1, or a row of failures.csv)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a want of memory: NumPy raises MemoryError, ITK and torch RuntimeError."""
    text = str(error)
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)


_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "can't allocate memory", "Cannot allocate memory")


def some_of(names: Sequence[str], most: int) -> str:
    """The first of some names, and how many more there are.

    Example:
        >>> some_of(["a", "b", "c"], 2), some_of(["a"], 2)
        ('a, b and 1 more', 'a')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def did_you_mean(word: str, legal: Iterable[str]) -> str:
    """The tail of an error message: the nearest legal word, and all of them.

    Example:
        >>> did_you_mean("hirescan", ["gradcam", "hirescam"])
        "did you mean 'hirescam'? Legal: gradcam, hirescam"
    """
    choices = sorted(legal)
    near = get_close_matches(word, choices, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Legal: {', '.join(choices)}"
