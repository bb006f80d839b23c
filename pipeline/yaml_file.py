"""Small YAML files as plain data, with one way to say what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError

__all__ = ["parse_yaml", "problems_error", "read_yaml"]


def read_yaml(path: str | Path, source: str) -> Any:
    """The content of a YAML file; ``source`` names it in the error.

    Raises:
        ConfigError: if the file is missing, no text or no YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{source}: {error.strerror or error}"
        raise ConfigError(msg) from None
    except UnicodeDecodeError:
        msg = f"{source}: not a text file"
        raise ConfigError(msg) from None
    return parse_yaml(text, source)


def parse_yaml(text: str, source: str) -> Any:
    """Plain data of YAML text (nothing is evaluated); ``source`` names it in the error.

    Raises:
        ConfigError: with line and column.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        msg = f"{source}{where}: not readable as YAML: {getattr(error, 'problem', None) or error}"
        raise ConfigError(msg) from None


def problems_error(source: str, problems: Sequence[str]) -> ConfigError:
    """All mistakes of a file as one error."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return ConfigError("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in problems)]))
