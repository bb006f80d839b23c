"""Where findings of 2D images are known to lie: tables of boxes, and PASCAL VOC's annotations and masks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..errors import ConfigError, DataError
from . import voc
from .discover import read_table
from .image_labels import NO_FINDING, label_name
from .images import without_image_ending

__all__ = ["Box", "KnownPlaces", "read_known_places"]

FORMS: tuple[tuple[str, str, tuple[str, str, str, str], bool], ...] = (
    ("scan_id", "label", ("x_min", "y_min", "x_max", "y_max"), False),
    ("image_id", "class_name", ("x_min", "y_min", "x_max", "y_max"), False),
    ("Image Index", "Finding Label", ("Bbox [x", "y", "w", "h]"), True),
)
"""Columns of the id, the label and the box of each form of table: our own, VinDr-CXR's and ChestX-ray14's, the last of
which tells width and height instead of the far corner."""


@dataclass(frozen=True)
class Box:
    """A box in pixels of the image file: columns are x, rows are y, both edges belong to it.

    Attributes:
        label: what lies in it.
        corners: x_min, y_min, x_max, y_max.
    """

    label: str
    corners: tuple[float, float, float, float]

    def draw(self, mask: NDArray[np.bool_]) -> bool:
        """Fill its pixels in ``[H, W]``; False where it lies outside.

        A pixel belongs to it if its index lies between the edges, both included (the rule of PYLON's point accuracy); a
        box too thin to hold one has the nearest.
        """
        (first_x, last_x), (first_y, last_y) = (_span(self.corners[axis], self.corners[axis + 2]) for axis in range(2))
        height, width = mask.shape
        inside = last_x >= 0 and last_y >= 0 and first_x < width and first_y < height
        if inside:
            mask[max(first_y, 0) : last_y + 1, max(first_x, 0) : last_x + 1] = True
        return inside


def _span(low: float, high: float) -> tuple[int, int]:
    first, last = math.ceil(low), math.floor(high)
    return (first, last) if first <= last else (round((low + high) / 2),) * 2


class KnownPlaces:
    """What is known of the places of findings, image by image.

    Args:
        told: image -> its boxes, or the file of PASCAL VOC that tells of it.
        labels: all that are told of.
    """

    def __init__(self, told: Mapping[str, Sequence[Box] | Path], labels: Sequence[str]) -> None:
        self._told = told
        self.labels = tuple(labels)

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._told

    def masks(self, scan_id: str, size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
        """Label -> bool ``[H, W]`` in pixels of the image file, all its boxes together.

        Args:
            scan_id: an image that is told of.
            size: rows and columns of the image file.

        Raises:
            DataError: for a box outside of the image, a mask of another size, or a damaged file.
        """
        told = self._told[scan_id]
        if not isinstance(told, Path):
            return _drawn(scan_id, told, size)
        if told.suffix.lower() == ".xml":
            return _drawn(scan_id, [Box(*found) for found in voc.read_objects(told)], size)
        return _classes(told, size)


def read_known_places(path: Path) -> KnownPlaces:
    """Boxes of a table, or objects of a folder of PASCAL VOC's ``Annotations`` or ``SegmentationClass``.

    Args:
        path: a CSV with ``scan_id, label, x_min, y_min, x_max, y_max``; VinDr-CXR's ``annotations_*.csv``, of which all
            readers' boxes are taken; ChestX-ray14's ``BBox_List_2017.csv``; or one of the folders.

    Raises:
        ConfigError: if it is missing, of no known form, or a box is none; the line is named.
    """
    if path.is_dir():
        return KnownPlaces({file.stem: file for file in voc.files(path)}, voc.CLASSES)
    table = read_table(path, [], "data.lesions")
    boxes: dict[str, list[Box]] = {}
    for line, name, box in _rows(path, table):
        if isinstance(box, str):
            msg = f"data.lesions: {path}, line {line}: {box}"
            raise ConfigError(msg)
        boxes.setdefault(name, []).append(box)
    labels = dict.fromkeys(box.label for found in boxes.values() for box in found)
    return KnownPlaces(boxes, list(labels))


def _rows(path: Path, table: pd.DataFrame) -> Iterator[tuple[int, str, Box | str]]:
    """Line, image and box of each row, or what is wrong with it."""
    form = next((form for form in FORMS if {form[0], form[1], *form[2]} <= set(table.columns)), None)
    if form is None:
        found = ", ".join(str(name)[:40] for name in table.columns[:10])
        msg = (
            f"data.lesions: {path}: no table of boxes, its columns are {found}; legal are {', '.join(FORMS[0][:2])}, "
            f"{', '.join(FORMS[0][2])}, or the tables of VinDr-CXR and ChestX-ray14 as they are"
        )
        raise ConfigError(msg)
    identity, label, sides, has_size = form
    for line, row in enumerate(table.to_dict("records"), start=2):
        name = label_name(row[label])
        if name != NO_FINDING:
            yield line, without_image_ending(row[identity]), _box(name, [row[side] for side in sides], has_size)


def _box(label: str, values: Sequence[str], has_size: bool) -> Box | str:
    try:
        x, y, far_x, far_y = (float(value) for value in values)
    except ValueError:
        return (
            f"the box of '{label[:40]}' is no four numbers ({', '.join(value[:20] or 'nothing' for value in values)})"
        )
    if has_size:
        far_x, far_y = x + far_x, y + far_y
    if not all(map(math.isfinite, (x, y, far_x, far_y))):
        return f"the box of '{label[:40]}' holds NaN or infinity"
    if far_x <= x or far_y <= y:
        return f"the box of '{label[:40]}' has no area ({x:g}, {y:g} to {far_x:g}, {far_y:g})"
    return Box(label, (x, y, far_x, far_y)) if label else "a box has no label"


def _drawn(name: str, boxes: Sequence[Box], size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
    masks: dict[str, NDArray[np.bool_]] = {}
    for box in boxes:
        if not box.draw(masks.setdefault(box.label, np.zeros(size, dtype=np.bool_))):
            msg = (
                f"a box of {box.label} lies outside of the image {name}, which has {size[1]} x {size[0]} pixels "
                f"({', '.join(f'{value:g}' for value in box.corners)})"
            )
            raise DataError(msg)
    return masks


def _classes(path: Path, size: tuple[int, int]) -> dict[str, NDArray[np.bool_]]:
    values = voc.read_mask(path)
    if values.shape != size:
        told = " x ".join(map(str, values.shape))
        msg = f"{path}: has {told} pixels, its image {size[0]} x {size[1]}"
        raise DataError(msg)
    return {voc.CLASSES[value - 1]: values == value for value in np.unique(values) if value}
