"""The published label tables as data: 83 abnormalities, 51 locations, and the 80 region labels made of them.

From Draelos and Carin, "Explainable multiple abnormality classification of chest CT volumes" (AxialNet), and the
vocabulary of their report labeler SARLE. Names are exactly those of the RAD-ChestCT label files.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from organcam.errors import DataError, did_you_mean

__all__ = [
    "ORGANS",
    "OTHER_DISEASE",
    "OTHER_LOCATION",
    "REGION_LOCATIONS",
    "Abnormality",
    "Location",
    "RegionLabel",
    "abnormalities",
    "locations",
    "parse_cell",
    "region_labels",
]

ORGANS: tuple[str, str, str] = ("right_lung", "left_lung", "heart_mediastinum")
"""Order of the organ bits; in a label map the value of organ ``i`` is ``i + 1``."""

OTHER_DISEASE = "other_disease"
"""Row of the label matrix for a disease outside the 83."""

OTHER_LOCATION = "other_location"
"""Column of the label matrix for a finding whose place is unknown or implausible."""

Organs = Literal["heart_mediastinum", "both_lungs", "stated_lungs"]

REGION_LOCATIONS: dict[str, tuple[str, ...]] = {
    "h_great_vessel": ("aorta", "svc", "ivc", "pulmonary_artery", "pulmonary_vein"),
    "h_mediastinum": ("mediastinum", "hilum"),
    "heart": ("heart", "mitral_valve", "aortic_valve", "tricuspid_valve", "pulmonary_valve"),
    "left_lung": ("left_upper", "left_mid", "left_lower", "left_lung"),
    "right_lung": ("right_upper", "right_mid", "right_lower", "right_lung"),
}
"""Location columns that make up each region of the 80 labels (``left_lung`` and ``right_lung`` fold to ``lung``)."""


@dataclass(frozen=True)
class Abnormality:
    """One of the 83 abnormalities.

    Attributes:
        name: as in the RAD-ChestCT label files.
        kind: ``lung`` and ``heart`` findings occur there only; ``generic`` ones anywhere.
        in_lung: whether the published tables allow it in a lung.
        in_heart: the same for the heart.
        in_great_vessel: the same for the great vessels.
        in_mediastinum: the same for mediastinum and hilum.
    """

    name: str
    kind: Literal["lung", "heart", "generic"]
    in_lung: bool
    in_heart: bool
    in_great_vessel: bool
    in_mediastinum: bool


@dataclass(frozen=True)
class Location:
    """One of the 51 locations: its organ group and, for lung and side columns, its side (else an empty string)."""

    name: str
    organ: Literal["lung", "heart", "great_vessel", "mediastinum", "other"]
    side: Literal["right", "left", ""]


@dataclass(frozen=True)
class RegionLabel:
    """One of the 80 outputs of AxialNet: an abnormality in a region, and where its evidence may lie.

    Attributes:
        name: ``<region>_<abnormality>``, in the published output order.
        region: ``h_great_vessel``, ``h_mediastinum``, ``heart`` or ``lung``.
        abnormality: one of the 83.
        organs: ``heart_mediastinum``, ``both_lungs`` (lung-specific) or ``stated_lungs`` (generic, may be one-sided).
        extent: ``focal`` or ``diffuse``.
        origin: ``biological`` or ``intervention``.
        at_base: whether it makes lung airless or is fluid, so that its evidence may hide under the back of the lung's
            base (not in the published tables).
    """

    name: str
    region: str
    abnormality: str
    organs: Organs
    extent: Literal["focal", "diffuse"]
    origin: Literal["biological", "intervention"]
    at_base: bool


@cache
def abnormalities() -> tuple[Abnormality, ...]:
    """The 83 abnormalities in the order of the label files."""
    return tuple(
        Abnormality(row["name"], row["kind"], *(row[f"in_{o}"] == "1" for o in _ORGAN_FLAGS))  # type: ignore[arg-type]
        for row in _read("abnormalities.csv")
    )


@cache
def locations() -> tuple[Location, ...]:
    """The 51 locations in the order of the label files."""
    return tuple(Location(**row) for row in _read("locations.csv"))  # type: ignore[arg-type]


def parse_cell(name: str) -> tuple[str, str]:
    """Abnormality and location of a column of the label matrix; catch-alls are spelt differently in the papers' files.

    Raises:
        DataError: for a name that is no ``abnormality*location`` pair, with the nearest legal word.

    Example:
        >>> parse_cell("nodule*left_upper"), parse_cell("other_path*lung")
        (('nodule', 'left_upper'), ('other_disease', 'lung'))
    """
    abnormality, star, location = name.partition("*")
    if not star:
        msg = f"column '{name}' is no abnormality*location pair, for example 'nodule*left_upper'"
        raise DataError(msg)
    abnormality = OTHER_DISEASE if abnormality.startswith("other") else abnormality
    location = OTHER_LOCATION if location.startswith("other") else location
    known = [entry.name for entry in abnormalities()], [entry.name for entry in locations()]
    for word, legal in ((abnormality, [*known[0], OTHER_DISEASE]), (location, [*known[1], OTHER_LOCATION])):
        if word not in legal:
            msg = f"column '{name}': unknown '{word}'; {did_you_mean(word, legal)}"
            raise DataError(msg)
    return abnormality, location


@cache
def region_labels() -> tuple[RegionLabel, ...]:
    """The 80 region labels in the published output order."""
    return tuple(
        RegionLabel(**{**row, "at_base": row["at_base"] == "1"})  # type: ignore[arg-type]
        for row in _read("region_labels.csv")
    )


_ORGAN_FLAGS = ("lung", "heart", "great_vessel", "mediastinum")


def _read(name: str) -> list[dict[str, str]]:
    with (files("organcam.catalogue") / name).open(encoding="utf-8") as table:
        return list(csv.DictReader(table))
