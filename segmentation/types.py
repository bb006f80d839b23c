"""What a segmentation is: the label map, what was measured on the way, and the flags that say how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from organcam.catalogue.tables import ORGANS

__all__ = [
    "BACKGROUND",
    "HEART_MEDIASTINUM",
    "LEFT_LUNG",
    "ORGANS",
    "RIGHT_LUNG",
    "BoolArray",
    "Flag",
    "FloatArray",
    "LabelArray",
    "OrganSegmentation",
    "Quality",
]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float32]
LabelArray = npt.NDArray[np.uint8]

BACKGROUND, RIGHT_LUNG, LEFT_LUNG, HEART_MEDIASTINUM = 0, 1, 2, 3


@dataclass(frozen=True)
class Flag:
    """One reason to doubt a segmentation.

    Attributes:
        name: machine name, a column value of ``quality.csv``.
        measurement: the measured number.
        limit: the limit that it broke.
        sentence: what a person should know, with the measurement in it.
        severity: ``bad`` (the masks should not be used as they are) or ``note`` (they hold, but look at them).
    """

    name: str
    measurement: float
    limit: float
    sentence: str
    severity: str = "bad"


@dataclass(frozen=True)
class Quality:
    """Flags and measurements of one scan.

    Attributes:
        flags: every flag that was raised, worst first.
        measures: named numbers (ml, mm, fractions); the columns of ``quality.csv``.
    """

    flags: tuple[Flag, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether no flag says that the masks should not be used."""
        return not any(flag.severity == "bad" for flag in self.flags)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the flags."""
        return tuple(flag.name for flag in self.flags)

    def in_words(self) -> tuple[str, ...]:
        """Volumes, then a sentence for every flag: what a person reads under a picture or on a terminal."""
        named = (
            ("right lung", "right_lung_ml"),
            ("left lung", "left_lung_ml"),
            ("heart and mediastinum", "heart_mediastinum_ml"),
        )
        volumes = ", ".join(f"{name} {self.measures[key]:.0f} ml" for name, key in named if key in self.measures)
        return (volumes, *(f"{'BAD' if flag.severity == 'bad' else 'note'}: {flag.sentence}" for flag in self.flags))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: ok, flags with measurement and sentence, measures."""
        return {
            "ok": self.ok,
            "flags": [vars(flag) for flag in self.flags],
            "measures": {name: round(float(value), 4) for name, value in self.measures.items()},
        }


@dataclass(frozen=True)
class OrganSegmentation:
    """Organs of one chest CT on the grid of the input.

    Attributes:
        labels: uint8, shape of the input: 0 background, 1 right lung, 2 left lung, 3 heart and mediastinum. The
            lungs are the pleural lungs: dense disease that belongs to the lung or its pleural space is inside.
        quality: flags and measurements.
        landmarks: named positions and surfaces in millimetres along the network frame (I, P, L), counted from the
            centre of its first voxel, e.g. ``carina_mm`` (how far below the first slice).
        aerated: uint8, same shape: 1 and 2 where the lung holds air (what a threshold finds, holes and vessels
            closed); None for methods that do not tell the two apart.
        rough: whether ``labels`` are fallback boxes, because the organs could not be found.
        parts: uint8, same shape: 1 airways, 2 descending aorta, 3 heart; None where not asked for.
    """

    labels: LabelArray
    quality: Quality
    landmarks: dict[str, Any] = field(default_factory=dict)
    aerated: LabelArray | None = None
    rough: bool = False
    parts: LabelArray | None = None
