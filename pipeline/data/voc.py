"""PASCAL VOC 2012 on disk: objects as XML beside the images, and masks as PNG with a palette.

SBD (the Semantic Boundaries Dataset, which extends VOC's training part) keeps its masks in MATLAB files. They are not
read here: a MATLAB file may declare any amount of compressed data, and its readers look at no limit before they take
the memory. Written as PNG masks (values as VOC's) they are read as VOC's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ConfigError, DataError, did_you_mean
from .images import read_image_size

__all__ = ["CLASSES", "VocObject", "files", "ids", "labels", "read_mask", "read_objects"]

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The 20 classes; in a mask the value of class ``i`` is ``i + 1``, 0 is background and 255 is not judged."""

VOID = 255
LARGEST_XML = 1 << 20
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocObject(NamedTuple):
    """An object of an image: its class and its box in pixels, as written (VOC counts from 1)."""

    label: str
    box: tuple[float, float, float, float]


def ids(folder: Path) -> list[str]:
    """The images that a folder of annotations or masks tells of; errors as of `files`."""
    return [path.stem for path in files(folder)]


def labels(folder: Path) -> dict[str, frozenset[str]]:
    """Image -> classes of its objects, difficult and truncated ones included.

    Raises:
        ConfigError: as `files`.
        DataError: naming the file that cannot be read.
    """
    return {path.stem: frozenset(_classes_of(path)) for path in files(folder)}


def read_objects(path: Path) -> list[VocObject]:
    """The objects of one XML file.

    Document types are refused before the text is parsed: they are what entities that grow without end, and files of
    elsewhere, come in by.

    Raises:
        DataError: if the file is missing, too large, no XML, or an object has no class of VOC or no box.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= LARGEST_XML else ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path}: cannot be read as text ({type(error).__name__})"
        raise DataError(msg) from None
    if size > LARGEST_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
        msg = f"{path}: is no annotation of PASCAL VOC (larger than {LARGEST_XML:,} bytes, or with a document type)"
        raise DataError(msg)
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError) as error:
        msg = f"{path}: is no readable XML ({error})"
        raise DataError(msg) from None
    return [_object(path, found) for found in root.iter("object")]


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Class values ``[H, W]`` of one mask; what is not judged is 0.

    Raises:
        DataError: if it is no PNG with a palette, or holds values of no class.
    """
    read_image_size(path)
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode not in {"P", "L"}:
                msg = f"{path}: is no mask of classes (its pixels are {image.mode}, a palette or one channel is needed)"
                raise DataError(msg)
            values = np.asarray(image).copy()
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        msg = f"{path}: unreadable or truncated ({type(error).__name__})"
        raise DataError(msg) from None
    values[values == VOID] = 0
    if values.max() > len(CLASSES):
        msg = f"{path}: holds the value {values.max()}; classes have 1 to {len(CLASSES)}, {VOID} is not judged"
        raise DataError(msg)
    return values


def files(folder: Path) -> list[Path]:
    """The annotations (``.xml``) of a folder, or its masks (``.png``).

    Raises:
        ConfigError: if it holds neither, or SBD's MATLAB files.
    """
    for ending in (".xml", ".png"):
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ending)
        if found:
            return found
    if any(path.suffix.lower() == ".mat" for path in folder.iterdir()):
        msg = f"{folder}: holds MATLAB files of SBD, which are not read; write their masks as PNG with VOC's values"
        raise ConfigError(msg)
    msg = f"{folder}: holds no annotation of PASCAL VOC (.xml) and no mask of classes (.png)"
    raise ConfigError(msg)


def _classes_of(path: Path) -> Iterator[str]:
    if path.suffix.lower() == ".xml":
        yield from (found.label for found in read_objects(path))
    else:
        yield from (CLASSES[value - 1] for value in np.unique(read_mask(path)) if value)


def _object(path: Path, found: ET.Element) -> VocObject:
    label = (found.findtext("name") or "").strip().lower()
    if label not in CLASSES:
        msg = f"{path}: unknown class '{label[:40]}'; {did_you_mean(label, CLASSES)}"
        raise DataError(msg)
    try:
        x_min, y_min, x_max, y_max = (float(found.findtext(f"bndbox/{corner}") or "") for corner in CORNERS)
    except ValueError:
        msg = f"{path}: a {label} has no box ({', '.join(CORNERS)})"
        raise DataError(msg) from None
    return VocObject(label, (x_min, y_min, x_max, y_max))
