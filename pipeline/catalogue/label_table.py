"""Labels that a user defines: which organs each may lie in, and which reported findings make it present.

A label table is YAML, one label a key::

    lung_tumour:
      organs: [right_lung, left_lung]
      cells: [cancer, mass*right_upper]   # abnormality, or abnormality*location
    pneumonia: [right_lung, left_lung]    # short: the label is an abnormality of the catalogue

A stated side is kept: with both lungs among the organs, a finding stated on one side only is looked for in that lung.
``sides: ignore`` turns that off for a label.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from organcam.errors import ConfigError, did_you_mean
from organcam.yaml_file import problems_error, read_yaml

from .tables import ORGANS, OTHER_DISEASE, OTHER_LOCATION, abnormalities, locations, region_labels

__all__ = ["OwnLabel", "check_label_table", "read_label_table"]

KEYS = ("organs", "cells", "sides")
SIDES = ("keep", "ignore")
RESERVED = ("all", "predicted", "present")
"""Words that stand for labels in a workflow."""


@dataclass(frozen=True)
class OwnLabel:
    """One label of a user's table.

    Attributes:
        name: of the network's output.
        organs: where it may lie.
        cells: ``abnormality`` or ``abnormality*location`` entries, any of which makes it present.
        keep_side: whether a side that the report states narrows two lungs to one.
    """

    name: str
    organs: tuple[str, ...]
    cells: tuple[str, ...]
    keep_side: bool = True

    @property
    def bits(self) -> tuple[int, int, int]:
        """0/1 for right lung, left lung, heart and mediastinum."""
        right, left, heart = (int(organ in self.organs) for organ in ORGANS)
        return right, left, heart


def read_label_table(path: str | Path) -> dict[str, OwnLabel]:
    """Read and check a label table.

    Raises:
        ConfigError: if the file is missing, is no YAML, or does not fit; all mistakes are named together.
    """
    return check_label_table(read_yaml(path, f"label table {path}"), f"label table {path}")


def check_label_table(document: Any, source: str = "label table") -> dict[str, OwnLabel]:
    """Check a label table that is plain data already; ``source`` names it in the error.

    Raises:
        ConfigError: with every mistake, its label and key, and the nearest legal word.

    Example:
        >>> check_label_table({"pneumonia": ["left_lung"]})["pneumonia"].bits
        (0, 1, 0)
    """
    if not isinstance(document, Mapping) or not document:
        msg = f"{source}: expected labels with their organs, such as 'pneumonia: [right_lung, left_lung]'"
        raise ConfigError(msg)
    problems = [problem for name, entry in document.items() for problem in _problems(name, entry)]
    if problems:
        raise problems_error(source, problems)
    return {name: _own_label(name, entry) for name, entry in document.items()}


def _own_label(name: str, entry: Any) -> OwnLabel:
    full = entry if isinstance(entry, Mapping) else {"organs": entry}
    cells = tuple(full.get("cells", (name,)))
    return OwnLabel(name, tuple(full["organs"]), cells, full.get("sides", "keep") == "keep")


def _problems(name: Any, entry: Any) -> Iterator[str]:
    """What is wrong with one label."""
    if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
        yield f"label '{name}': a name becomes a column and part of file names: use letters, digits, '_' and '-'"
        return
    if name.casefold() in RESERVED:
        yield f"label '{name}': stands for labels in a workflow ({', '.join(RESERVED)}); choose another name"
    if name in _taken():
        yield f"label '{name}': is one of the catalogue's own region labels; choose another name"
    full = entry if isinstance(entry, Mapping) else {"organs": entry}
    for key in full:
        if key not in KEYS:
            yield f"label '{name}': no such key '{key}', {did_you_mean(str(key), KEYS)}"
    for organ in (yield from _entries(name, "organs", full.get("organs"))):
        if organ not in ORGANS:
            yield f"label '{name}', organs: unknown '{organ}'; {did_you_mean(str(organ), ORGANS)}"
    if "cells" in full:
        yield from _cell_problems(name, full["cells"])
    elif not _is_abnormality(name):
        yield f"label '{name}' needs 'cells', the findings that make it present: it is no abnormality of the catalogue"
    if full.get("sides", "keep") not in SIDES:
        yield f"label '{name}', sides: unknown '{full['sides']}'; {did_you_mean(str(full['sides']), SIDES)}"


def _entries(name: str, key: str, values: Any) -> Generator[str, None, Sequence[Any]]:
    """The entries of a list; what is wrong with it as a list is yielded."""
    if isinstance(values, (list, tuple)) and values:
        return values
    found = "nothing" if values in (None, [], ()) else f"'{values}'"
    yield f"label '{name}': '{key}' must be a list with at least one entry, found {found}"
    return ()


def _cell_problems(name: str, cells: Any) -> Iterator[str]:
    for cell in (yield from _entries(name, "cells", cells)):
        abnormality, star, location = str(cell).partition("*")
        legal = [entry.name for entry in abnormalities()]
        if not _is_abnormality(abnormality):
            yield f"label '{name}', cell '{cell}': unknown '{abnormality}'; {did_you_mean(abnormality, legal)}"
        known = [entry.name for entry in locations()]
        if star and location not in {*known, OTHER_LOCATION}:
            yield f"label '{name}', cell '{cell}': unknown '{location}'; {did_you_mean(location, known)}"


@cache
def _taken() -> frozenset[str]:
    return frozenset(label.name for label in region_labels())


def _is_abnormality(name: str) -> bool:
    return name in {OTHER_DISEASE, *(entry.name for entry in abnormalities())}
