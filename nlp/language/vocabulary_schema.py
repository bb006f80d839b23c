"""What the keys of a vocabulary file may hold; the format is described in ``docs/how-to/new-vocabulary.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from organcam.errors import ConfigError, did_you_mean

from .terms import expand_term
from .yaml_data import string_list, string_map

__all__ = ["SECTIONS", "TOP", "term_list", "wrong_entries"]

Check = Callable[[object], object]
"""Raises a ``ConfigError`` that says what is wrong with a value."""


def term_list(value: object, where: str) -> tuple[str, ...]:
    """A list of terms with their slots filled."""
    return tuple(phrase for term in string_list(value, where) for phrase in expand_term(term, where))


def _word(value: object) -> None:
    if value is not None and not isinstance(value, str):
        msg = f": must be a word, got {value!r} (quote words such as no and on)"
        raise ConfigError(msg)


def _choice(value: object, legal: tuple[str, ...]) -> None:
    if value is not None and value not in legal:
        msg = f": must be {' or '.join(legal)}, got {value!r}"
        raise ConfigError(msg)


def _flag(value: object) -> None:
    if value is not None and not isinstance(value, bool):
        msg = f": must be true or false, got {value!r}"
        raise ConfigError(msg)


def _mapping(value: object) -> Mapping[object, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        msg = f": must be a mapping, got {type(value).__name__}"
        raise ConfigError(msg)
    return value


def _lists(value: object, legal: tuple[str, ...] = ()) -> None:
    """Lists of words by word."""
    for key, words in _mapping(value).items():
        _word(key)
        if legal and key not in legal:
            msg = f": unknown key {key!r}; {did_you_mean(str(key), legal)}"
            raise ConfigError(msg)
        string_list(words, "")


def _sizes(value: object) -> None:
    for size, words in _mapping(value).items():
        if isinstance(size, bool) or not isinstance(size, (int, float)):
            msg = f": must be lists of labels by millimetres, got {size!r} for a number"
            raise ConfigError(msg)
        string_list(words, "")


_words: Check = partial(string_list, where="")
_terms: Check = partial(term_list, where="")
_map: Check = partial(string_map, where="")

TOP: dict[str, Check] = {
    **dict.fromkeys(("name", "description", "language", "modality", "extends", "unplaced"), _word),
    **dict.fromkeys(("labels", "locations"), _words),
    "uncertain": partial(_choice, legal=("positive", "negative")),
}
SECTIONS: dict[str, Check] = {
    **dict.fromkeys(("concepts", "places"), _mapping),
    **dict.fromkeys(("families", "forbidden", "rollup"), _lists),
    "sides": partial(_lists, legal=("right", "left", "both")),
    "roles": partial(_lists, legal=("whole", "level", "near", "position")),
    "levels": _map,
}
_CONCEPT: dict[str, Check] = {
    **dict.fromkeys(("terms", "drop_terms"), _terms),
    **dict.fromkeys(("labels", "within", "otherwise", "yields_to", "elsewhere"), _words),
    **dict.fromkeys(("home", "note"), _word),
    **dict.fromkeys(("short_axis", "persistent", "mention", "of_degree", "lasting"), _flag),
    "when": _lists,
    "size_over_mm": _sizes,
}
_PLACE: dict[str, Check] = {
    **dict.fromkeys(("terms", "drop_terms"), _terms),
    "part_of": _words,
    **dict.fromkeys(("location", "right", "left", "group", "mentioned", "note"), _word),
    **dict.fromkeys(("both", "weak", "of_context", "side_too", "both_sides", "apart", "alone"), _flag),
}


def wrong_entries(content: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    """Every key and value that the format does not allow, with its dotted key."""
    yield from _wrong(content, TOP | SECTIONS, "")
    for section, allowed in (("concepts", _CONCEPT), ("places", _PLACE)):
        entries = content.get(section)
        for name, entry in entries.items() if isinstance(entries, Mapping) else ():
            if isinstance(name, str):
                yield from _wrong(entry, allowed, f"{section}.{name}")
            else:
                yield section, f"must be named by words, got {name!r} (quote words such as no and on)"


def _wrong(entry: object, allowed: Mapping[str, Check], where: str) -> Iterator[tuple[str, str]]:
    if not isinstance(entry, Mapping):
        yield where, f"must be a mapping, got {type(entry).__name__}"
        return
    for key, value in entry.items():
        dotted = f"{where}.{key}".removeprefix(".")
        if key not in allowed:
            yield dotted, f"unknown key {key!r}; {did_you_mean(str(key), list(allowed))}"
            continue
        try:
            allowed[key](value)
        except ConfigError as error:
            yield dotted, str(error).removeprefix(": ")
