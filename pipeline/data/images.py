"""2D images: radiographs as PNG, JPEG or single DICOM files, and photographs.

An image goes through the pipeline as a volume of one slice: its rows run along the second axis of the array and its
columns along the third, as those of an axial slice in the network's axes do. That is a place to put pixels and says
nothing of the patient: directions of a PNG are not known. Stored for training it is ``[C, H, W]`` of the network's size
on one scale of grey, C being 1, or 3 for colour: a network of slabs with C slices takes it as an image of C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError
from .formats import picture, radiograph
from .grey import WHITE, Grey
from .readers import SPACING_MM, guarded, volume_suffix
from .volume import Volume

__all__ = [
    "IMAGE_SUFFIXES",
    "Picture",
    "as_one_slice",
    "grey_limits",
    "image_affine",
    "is_image_file",
    "read_image",
    "read_image_size",
    "to_stored_image",
    "without_image_ending",
]

PICTURES, RADIOGRAPHS = (".png", ".jpg", ".jpeg"), (".dcm", ".dicom")
IMAGE_SUFFIXES = (*PICTURES, *RADIOGRAPHS)
"""File name endings that `read_image` knows."""

MAX_PIXELS = 2**27
"""Twice the largest mammogram; what declares more is refused before it is decoded."""
SMALLEST_SIDE = 8
PERCENTILES = (1.0, 99.0)
LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as every tool turns colours into grey."""


@dataclass(frozen=True)
class Picture:
    """An image in memory.

    Attributes:
        array: ``[C, H, W]``, one channel of grey or three of colour; integers as the file holds them, a DICOM's
            rescaled and with high values white.
        spacing: mm between rows and between columns; 1 where the file tells none.
        depth: values of black and white by the file's number of bits.
    """

    array: NDArray
    spacing: tuple[float, float]
    depth: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """As a volume of one slice, (1, H, W)."""
        return 1, *self.array.shape[1:]

    @property
    def affine(self) -> NDArray[np.float64]:
        """Voxel index (0, row, column) to millimetres, see `image_affine`."""
        return image_affine(self.spacing)


def image_affine(spacing: tuple[float, float]) -> NDArray[np.float64]:
    """The place of an image as a slice of 1 mm in the network's axes, its first pixel at the origin.

    Args:
        spacing: mm between rows and between columns.
    """
    rows, columns = spacing
    return np.array([[0, 0, -columns, 0], [0, -rows, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def is_image_file(path: Path) -> bool:
    """Whether a file's name ends as one of an image."""
    return volume_suffix(path) in IMAGE_SUFFIXES


def without_image_ending(name: str) -> str:
    """A name less the ending of an image file, which tables may or may not write, and blanks around it.

    Example:
        >>> without_image_ending("00000001_000.png"), without_image_ending("2008_000002")
        ('00000001_000', '2008_000002')
    """
    name = name.strip()
    ending = volume_suffix(name)
    return name[: -len(ending)] if ending in IMAGE_SUFFIXES else name


def read_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read one image.

    Args:
        path: ``.png``, ``.jpg``, ``.jpeg``, or a DICOM file of one frame (``.dcm``, ``.dicom``).
        max_pixels: a file that declares more, or more than `MAX_PIXELS`, is refused before memory is taken for it.

    Raises:
        DataError: if the file is missing, damaged, cut short, of another kind, too large, or too small to show
            anything; the message names the file.
        MemoryError: if the machine has not the memory for it.
    """
    path = Path(path)
    height, width = read_image_size(path, max_pixels)
    if min(height, width) < SMALLEST_SIDE:
        msg = f"{path}: {height} x {width} pixels; at least {SMALLEST_SIDE} along each side are needed"
        raise DataError(msg)
    found = guarded(path, lambda: _read(path))
    if not np.isfinite(found.array).all():
        msg = f"{path}: holds pixels that are NaN or infinite"
        raise DataError(msg)
    return found


def read_image_size(path: str | Path, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Rows and columns of an image, by its header alone.

    Raises:
        DataError: as `read_image`, for what a header tells.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: no such file"
        raise DataError(msg)
    if not is_image_file(path):
        msg = f"{path}: not an image file. Legal: {', '.join(IMAGE_SUFFIXES)}"
        raise DataError(msg)
    if volume_suffix(path) in RADIOGRAPHS:
        height, width = guarded(path, lambda: radiograph.read_header(path).size)
    else:
        height, width = guarded(path, lambda: picture.read_size(path))
    limit = min(max_pixels, MAX_PIXELS)
    if height * width > limit:
        msg = f"{path}: declares {height} x {width} pixels, more than {limit:,}"
        raise DataError(msg)
    return height, width


def _read(path: Path) -> Picture:
    if volume_suffix(path) not in RADIOGRAPHS:
        pixels, white = picture.read_picture(path)
        return Picture(pixels, (1.0, 1.0), (0.0, float(white)))
    pixels, header = radiograph.read_radiograph(path)
    least, most = SPACING_MM
    down, across = (step if np.isfinite(step) and least <= step <= most else 1.0 for step in header.spacing)
    return Picture(pixels, (down, across), (header.lowest, header.highest))


def grey_limits(image: Picture, grey: Grey) -> tuple[float, float]:
    """The values that become black and white.

    Args:
        image: as `read_image` gives it.
        grey: ``depth`` (what the file's number of bits can hold), ``percentile`` (the 1st and 99th of this image), or
            two values.

    Raises:
        DataError: if the image has no contrast between them.
    """
    if grey == "depth":
        return image.depth
    if grey == "percentile":
        low, high = np.percentile(image.array, PERCENTILES)
        if low == high:  # a few marks on an even ground
            low, high = image.array.min(), image.array.max()
        if low == high:
            msg = f"all its pixels have the value {low:g}"
            raise DataError(msg)
        return float(low), float(high)
    return float(grey[0]), float(grey[1])


def to_stored_image(image: Picture, shape: tuple[int, int, int], limits: tuple[float, float]) -> Volume:
    """The image as it is stored: of the network's size, 0 to `WHITE`, int16.

    The whole image is resized, whatever its sides, as the publications do (bicubic, and averaged where it gets smaller,
    so that fine lines do not alias). Three channels lie one behind the other within the image's one slice.

    Args:
        image: as `read_image` gives it.
        shape: (C, H, W), C of `organcam.data.grey.CHANNELS`. Where the image has other channels, colours are turned to
            grey, and grey is repeated.
        limits: values of black and white.
    """
    channels, height, width = shape
    black, white = limits
    values = image.array.astype(np.float32)
    if channels == 1 and len(values) > 1:
        values = np.tensordot(np.asarray(LUMA, np.float32), values, 1)[None]
    scaled = (values - np.float32(black)) * np.float32(WHITE / (white - black))
    resized = [np.asarray(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC)) for one in scaled]
    stored = np.clip(np.rint(np.stack(resized)), 0, WHITE).astype(np.int16)
    stored = np.ascontiguousarray(np.broadcast_to(stored, shape))
    steps = np.array([1 / channels, *(np.array(image.shape[1:]) / (height, width))])
    finer = np.diag([*steps, 1.0])
    finer[:3, 3] = (steps - 1) / 2  # the outer edges stay where they are
    return Volume(stored, image.affine @ finer)


def as_one_slice(stored: Volume) -> Volume:
    """A stored image with its channels as one: what is drawn under a map."""
    channels = len(stored.array)
    thicker = np.diag([channels, 1.0, 1.0, 1.0])
    thicker[0, 3] = (channels - 1) / 2
    return Volume(np.rint(stored.array.mean(axis=0, keepdims=True)).astype(np.int16), stored.affine @ thicker)
