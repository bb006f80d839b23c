"""YAML data files: safe loading with duplicate keys refused, and the one place where allowed keys are checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from organcam.errors import ConfigError, did_you_mean

__all__ = ["check_keys", "load_yaml", "string_list"]

# libyaml reads the vocabularies in a tenth of the time; the pure Python loader is the fallback.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_Base):
    """Safe loader that refuses a mapping with the same key twice (YAML would silently keep the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                msg = f"line {key_node.start_mark.line + 1}: the key {key_node.value!r} appears twice"
                raise ConfigError(msg)
            seen.add(key_node.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def load_yaml(path: Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping.

    Raises:
        ConfigError: if the file cannot be read, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read ({error})"
        raise ConfigError(msg) from error
    except yaml.YAMLError as error:
        msg = f"{path}: not valid YAML ({' '.join(str(error).split())})"
        raise ConfigError(msg) from error
    except ConfigError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error
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
