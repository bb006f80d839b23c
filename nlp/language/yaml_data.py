"""YAML data files of the parser, and the one place where their allowed keys are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml

from organcam.errors import ConfigError, did_you_mean
from organcam.yaml_file import compose_yaml, read_yaml

__all__ = ["all_at_once", "check_keys", "load_yaml", "nearest", "string_list", "string_map"]

_FEW = 12


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping.

    Raises:
        ConfigError: if the file cannot be read, is not valid YAML, repeats a key, or is not a mapping.
    """
    content = read_yaml(path, str(path))
    if not isinstance(content, dict):
        msg = f"{path}: must be a mapping of keys to values, got {type(content).__name__}"
        raise ConfigError(msg)
    return content


def check_keys(entry: object, allowed: Iterable[str], where: str) -> Mapping[str, Any]:
    """The entry, if it is a mapping with allowed keys only.

    Raises:
        ConfigError: naming the place, the unknown key and the nearest allowed one.
    """
    if not isinstance(entry, Mapping):
        msg = f"{where}: must be a mapping, got {type(entry).__name__}"
        raise ConfigError(msg)
    allowed = tuple(allowed)
    for key in entry:
        if key not in allowed:
            msg = f"{where}: unknown key {key!r}; {did_you_mean(str(key), allowed)}"
            raise ConfigError(msg)
    return entry


def string_list(value: object, where: str) -> tuple[str, ...]:
    """A list of non-empty strings (a single string counts as a list of one; null as none).

    Raises:
        ConfigError: if it is something else.
    """
    if value is None:
        return ()
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) and item.strip() for item in values):
        msg = f"{where}: must be a list of words or phrases, got {value!r} (quote words such as no and on)"
        raise ConfigError(msg)
    return tuple(values)


def string_map(value: object, where: str) -> dict[str, str]:
    """A mapping of strings to strings (null as none).

    Raises:
        ConfigError: if it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(k, str) and isinstance(v, str) for k, v in value.items()):
        msg = f"{where}: must be a mapping of words to words (quote words such as no and on)"
        raise ConfigError(msg)
    return dict(value)


def nearest(word: str, legal: Iterable[str]) -> str:
    """The tail of an error message: the nearest legal word, and all of them where they are few."""
    choices = sorted(legal)
    if len(choices) <= _FEW:
        return did_you_mean(word, choices)
    near = get_close_matches(word, choices, n=1)
    return f"did you mean '{near[0]}'?" if near else f"it is none of the {len(choices)} legal names"


def all_at_once(path: Path, problems: Sequence[tuple[str, str]]) -> ConfigError:
    """All mistakes of a file as one error, in the order of their lines.

    Args:
        path: the file.
        problems: pairs of the dotted key and what is wrong there; the entries of a list are numbered from 1.
    """
    lines = _lines(path)
    told = []
    for key, what in problems:
        known = next((lines[k] for k in _outwards(key) if k in lines), 0)
        at = f"{path}, line {known}" if known else str(path)
        told.append((known, f"{at}: {key}: {what}" if key else f"{at}: {what}"))
    told.sort(key=itemgetter(0))
    return ConfigError("\n".join(dict.fromkeys(text for _, text in told)))


def _outwards(key: str) -> list[str]:
    """A dotted key and those that it lies in."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def _lines(path: Path) -> dict[str, int]:
    """The line of every dotted key of a file that is valid YAML."""
    found: dict[str, int] = {}

    def walk(node: yaml.Node | None, above: str) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                dotted = f"{above}{key.value}"
                found[dotted] = key.start_mark.line + 1
                walk(value, f"{dotted}.")
        elif isinstance(node, yaml.SequenceNode):
            for number, entry in enumerate(node.value, 1):
                found[f"{above}{number}"] = entry.start_mark.line + 1
                walk(entry, f"{above}{number}.")

    walk(compose_yaml(path), "")
    return found
