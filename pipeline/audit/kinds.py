"""What can be put into a scan: kinds with their sizes, densities and labels, read from ``kinds.csv``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from ..errors import ConfigError, did_you_mean

__all__ = ["KINDS", "Kind", "Wish", "parse_wish"]


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Attributes:
        name: such as ``nodule``.
        group: ``lesion`` (belongs into an organ), ``confounder`` (seen, and no finding) or ``acquisition`` (of the
            whole scan).
        place: where it goes, in words.
        default_mm: usual size; None for what has none.
        least_mm: smallest.
        most_mm: largest.
        hu: density, or strength of a change of acquisition; None for what has none.
        labels: whose logit should rise.
    """

    name: str
    group: str
    place: str
    default_mm: float | None
    least_mm: float | None
    most_mm: float | None
    hu: float | None
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """A kind and the size that is wanted."""

    kind: Kind
    size_mm: float | None

    def __str__(self) -> str:
        return self.kind.name if self.size_mm is None else f"{self.kind.name}:{self.size_mm:g}mm"


def _read() -> dict[str, Kind]:
    text = (files(__package__) / "kinds.csv").read_text(encoding="utf-8")

    def number(cell: str) -> float | None:
        return float(cell) if cell else None

    return {
        row["kind"]: Kind(
            name=row["kind"],
            group=row["group"],
            place=row["place"],
            default_mm=number(row["default_mm"]),
            least_mm=number(row["least_mm"]),
            most_mm=number(row["most_mm"]),
            hu=number(row["hu"]),
            labels=tuple(row["labels"].split()),
        )
        for row in csv.DictReader(text.splitlines())
    }


KINDS = _read()


def parse_wish(text: str) -> Wish:
    """``nodule``, ``nodule:8`` or ``nodule:8mm``.

    Raises:
        ConfigError: for an unknown kind, or a size that is no number or none that the kind can have.

    Example:
        >>> str(parse_wish("nodule:8mm")), str(parse_wish("effusion")), str(parse_wish("noise"))
        ('nodule:8mm', 'effusion:30mm', 'noise')
    """
    name, colon, size = text.strip().partition(":")
    if name not in KINDS:
        msg = f"--insert {text}: unknown kind '{name}': {did_you_mean(name, KINDS)}"
        raise ConfigError(msg)
    kind = KINDS[name]
    if not colon:
        return Wish(kind, kind.default_mm)
    try:
        wanted = float(size.strip().removesuffix("mm"))
    except ValueError:
        wanted = float("nan")
    if kind.least_mm is None or kind.most_mm is None:
        msg = f"--insert {text}: {name} has no size"
        raise ConfigError(msg)
    if not kind.least_mm <= wanted <= kind.most_mm:
        sizes = f"{kind.least_mm:g} to {kind.most_mm:g} mm, such as {name}:{kind.default_mm:g}mm"
        msg = f"--insert {text}: a {name} has {sizes}"
        raise ConfigError(msg)
    return Wish(kind, wanted)
