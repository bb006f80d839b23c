"""YAML as plain data: the one reader of every workflow, vocabulary, profile and label table.

A file is text that somebody else may have written. Nothing in it is evaluated, and nothing in it costs more than its
size: depth, nodes and what aliases would multiply to are counted while the text is scanned, before anything is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError

__all__ = [
    "DEEPEST",
    "LARGEST_BYTES",
    "MOST_NODES",
    "compose_yaml",
    "parse_yaml",
    "problems_error",
    "read_text",
    "read_yaml",
]

LARGEST_BYTES = 8 << 20
DEEPEST = 50
"""Lists and mappings inside each other. The deepest of our own files has 6."""
MOST_NODES = 250_000
"""Values of a file, those that aliases repeat included. The largest of our own vocabularies has 5,000."""
LONGEST_NUMBER = 40
"""Characters of a whole number; 64 bits have 20."""

# libyaml reads a vocabulary in a tenth of the time; the pure Python loader is the fallback.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map", "merge")


class _PlainLoader(_Base):
    """Safe loader of nothing but plain data.

    It differs from PyYAML's: a key that appears twice is refused instead of dropped, a date stays the words it was
    written in (`2001-99-99` has no other reading), and sets, bytes and ordered pairs are no data of ours.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, pattern) for tag, pattern in found if tag.removeprefix(_TAG) in _PLAIN]
        for first, found in _Base.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: build for tag, build in _Base.yaml_constructors.items() if tag is None or tag.removeprefix(_TAG) in _PLAIN
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag == f"{_TAG}int" and len(str(node.value)) > LONGEST_NUMBER:
            raise _refused(f"a whole number of {len(node.value)} characters", node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):  # !!int abc
            kind = node.tag.removeprefix(_TAG)
            raise _refused(f"cannot be read as {kind}: {str(node.value)[:40]!r}", node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _refused(f"the key {key.value[:40]!r} appears twice", key.start_mark)
                seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_yaml(path: str | Path, source: str) -> Any:
    """The content of a YAML file; ``source`` names it in the error.

    Raises:
        ConfigError: if the file is missing, no text, too large or no YAML.
    """
    return parse_yaml(read_text(path, source), source)


def read_text(path: str | Path, source: str) -> str:
    """The text of a small UTF-8 file, with or without a byte order mark.

    Raises:
        ConfigError: if the file is missing, no text or too large.
    """
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
        msg = f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(msg) from None
    if len(content) > LARGEST_BYTES:
        msg = f"{source}: more than {LARGEST_BYTES:,} bytes"
        raise ConfigError(msg)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        msg = f"{source}: not a text file"
        raise ConfigError(msg) from None


def parse_yaml(text: str, source: str) -> Any:
    """Plain data of YAML text: null, true and false, numbers, words, lists and mappings.

    Args:
        text: one document.
        source: names it in the error.

    Raises:
        ConfigError: with line and column; also for a key that appears twice, and for more than `DEEPEST` levels,
            `MOST_NODES` values or `LARGEST_BYTES`.

    Example:
        >>> parse_yaml("train: {epochs: 3}", "mine.yaml")
        {'train': {'epochs': 3}}
    """
    if len(text) > LARGEST_BYTES:
        msg = f"{source}: more than {LARGEST_BYTES:,} bytes"
        raise ConfigError(msg)
    try:
        _check_size(text)
        return yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, UnicodeError) as error:
        where = _place(getattr(error, "problem_mark", None), getattr(error, "context_mark", None), text)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        msg = f"{source}{where}: not valid YAML: {' '.join(str(problem).split())}"
        raise ConfigError(msg) from None


def _place(mark: Any, context: Any, text: str) -> str:
    """Line and column; of what ends with the text unclosed, where it began."""
    lines = len(text.splitlines())
    if mark and mark.line >= lines and context:
        mark = context
    if not mark:
        return ""
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark.line < lines else f", line {max(lines, 1)}"


def compose_yaml(path: str | Path) -> yaml.Node | None:
    """The nodes of a file that `read_yaml` has read, which know their lines."""
    return yaml.compose(read_text(path, str(path)), Loader=_Base)


def problems_error(source: str, problems: Sequence[str]) -> ConfigError:
    """All mistakes of a file as one error."""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return ConfigError("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in problems)]))


def _check_size(text: str) -> None:
    """Refuse what is deep or multiplies, from the events of the text alone.

    Raises:
        YAMLError: at the place where a limit is passed.
    """
    sizes: dict[str, int] = {}  # of what each anchor stands for
    open_anchors: list[str | None] = []
    open_sizes = [0]
    for event in yaml.parse(text, Loader=_Base):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(open_anchors) == DEEPEST:
                raise _refused(f"nested more than {DEEPEST} levels deep", event.start_mark)
            open_anchors.append(anchor)
            open_sizes.append(1)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, name = open_sizes.pop(), open_anchors.pop()
            if name is not None:
                sizes[name] = size
            open_sizes[-1] += size
        elif isinstance(event, yaml.AliasEvent):
            if anchor in open_anchors:
                raise _refused(f"the alias *{anchor} stands inside what it names", event.start_mark)
            open_sizes[-1] += sizes.get(str(anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            if anchor is not None:
                sizes[anchor] = 1
            open_sizes[-1] += 1
        if open_sizes[-1] > MOST_NODES:
            raise _refused(f"more than {MOST_NODES:,} nodes, those that aliases repeat included", event.start_mark)


def _refused(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
