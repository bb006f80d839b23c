"""A montage of one segmentation: axial, coronal and sagittal slices with the organs' contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
import numpy.typing as npt

from ..grid import to_frame
from ..morphology import bounding_box, dilate
from ..types import ORGANS, BoolArray, LabelArray

__all__ = ["COLOURS", "draw_contours", "grey_tile", "montage", "save_montage", "spread", "tile_places"]

COLOURS = {1: (235, 70, 60), 2: (60, 200, 80), 3: (250, 210, 50)}
"""RGB of right lung, left lung, heart and mediastinum."""

LUNG_HU, MEDIASTINUM_HU = (-1000.0, 300.0), (-160.0, 240.0)
"""Ends of the two windows, the usual ones of a lung (-350, width 1300) and of soft tissue (40, width 400)."""

TILE_MM, BAR_MM = 380.0, 50.0
INK = (235, 235, 235)

LINE_PIXELS, LETTER_PIXELS, LETTER_SIZE = 18, 8, 14
"""Height of a line of words under a montage, usual width of a letter, and size of the font."""

HEAD_PIXELS, PATCH_PIXELS = 46, 28
"""Height of the title's line, and width of a colour's patch in it."""

SIDES = {0: ("R", "L"), 1: ("R", "L"), 2: ("A", "P")}
"""What the left and the right edge of a tile show, by the axis that it is cut across."""

PLANES = ("axial", "coronal", "sagittal")


def montage(
    volume_hu: npt.NDArray[np.generic],
    labels: LabelArray,
    *,
    affine: npt.ArrayLike | None = None,
    spacing: Sequence[float] | None = None,
    axial: int = 12,
    columns: int = 6,
    pixel_mm: float = 1.6,
) -> npt.NDArray[np.uint8]:
    """RGB picture: ``axial`` axial slices over the organs, then three coronal and three sagittal ones.

    Each slice is shown in the lung's window and beside it in that of the mediastinum, with its number, the sides and a
    bar of 50 mm. Slices are counted from 1 at the head, the front and the patient's right.

    Args:
        volume_hu: HU, any orientation.
        labels: organ labels on the same grid.
        affine: 4x4 to RAS+ millimetres, or ``spacing`` for arrays in the frame (I, P, L).
        spacing: millimetres for each axis.
        axial: number of axial slices.
        columns: tiles in a row.
        pixel_mm: size of a pixel of the picture.

    Returns:
        uint8 [rows, columns, 3]; patient right is at the left, as radiologists look.

    Raises:
        ValueError: if the labels do not have the shape of the volume.
    """
    if volume_hu.shape != labels.shape:
        msg = f"labels have shape {labels.shape}, the volume has {volume_hu.shape}"
        raise ValueError(msg)
    frame, mm = to_frame(volume_hu, affine)
    organs, _ = to_frame(labels, affine)
    if spacing is not None:
        mm = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    box = bounding_box(organs > 0)
    if box[0].stop == box[0].start:
        box = tuple(slice(0, n) for n in frame.shape)
    cuts = [(0, k) for k in spread(box[0], axial)]
    cuts += [(1, k) for k in spread(box[1], 5)[1:4]] + [(2, k) for k in spread(box[2], 5)[1:4]]
    tiles = []
    for axis, k in cuts:
        plane, organ = np.take(frame, k, axis=axis), np.take(organs, k, axis=axis)
        sides = [mm[a] for a in range(3) if a != axis]
        for window in (LUNG_HU, MEDIASTINUM_HU):
            tile = _tile(plane, organ, sides, pixel_mm, window)
            tiles.append(_written(tile, axis, f"{PLANES[axis]} {k + 1} of {frame.shape[axis]}", pixel_mm))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows, axis=0)


def save_montage(
    path: str | Path,
    picture: npt.NDArray[np.uint8],
    title: str = "",
    more: Mapping[str, Sequence[int]] | None = None,
    words: Sequence[str] = (),
) -> None:
    """Write a montage as PNG with a title and the colours' names.

    Args:
        path: of the PNG.
        picture: uint8 [rows, columns, 3].
        title: above it, in ASCII, as scan ids are.
        more: further names with their RGB.
        words: lines below it, such as volumes and flags (`Quality.in_words`).
    """
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  needed for pictures only

    height, width = picture.shape[:2]
    lines = [part for line in words for part in wrap(line, max(20, width // LETTER_PIXELS))]
    below = len(lines) * LINE_PIXELS + (12 if lines else 0)
    page = Image.new("RGB", (width, HEAD_PIXELS + height + below), "white")
    page.paste(Image.fromarray(picture), (0, HEAD_PIXELS))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(LETTER_SIZE)
    middle, edge = HEAD_PIXELS // 2, round(0.01 * width)
    organs = [name.replace("heart_", "heart_and_").replace("_", " ") for name in ORGANS]
    named = {name: COLOURS[value] for value, name in enumerate(organs, start=1)} | dict(more or {})
    right = float(width - edge)
    for name, colour in reversed(named.items()):
        right -= draw.textlength(name, font=font)
        draw.text((right, middle), name, fill="black", font=font, anchor="lm")
        draw.rectangle((right - PATCH_PIXELS - 8, middle - 5, right - 8, middle + 5), fill=tuple(colour))
        right -= PATCH_PIXELS + 32
    draw.text((edge, middle), title, fill="black", font=font, anchor="lm")
    for row, line in enumerate(lines):
        draw.text((edge, HEAD_PIXELS + height + 6 + row * LINE_PIXELS), line, fill="black", font=font)
    # The next better compression takes twice the time for two percent.
    page.save(path, compress_level=3)


def spread(extent: slice, count: int) -> list[int]:
    """Evenly spread indices inside a slice, ends included."""
    return np.linspace(extent.start, extent.stop - 1, count).round().astype(int).tolist()


def _written(tile: npt.NDArray[np.uint8], axis: int, name: str, pixel_mm: float) -> npt.NDArray[np.uint8]:
    """The tile with its name, its sides and a bar of 50 mm."""
    from PIL import Image, ImageDraw  # noqa: PLC0415  needed for pictures only

    image = Image.fromarray(tile)
    draw = ImageDraw.Draw(image)
    size = image.width
    draw.text((4, 2), name, fill=INK)
    for letter, anchor, x in zip(SIDES[axis], ("lm", "rm"), (4, size - 4), strict=True):
        draw.text((x, size // 2), letter, fill=INK, anchor=anchor)
    bar = round(BAR_MM / pixel_mm)
    draw.line((size - 6 - bar, size - 6, size - 6, size - 6), fill=INK, width=2)
    draw.text((size - 6, size - 9), f"{BAR_MM:.0f} mm", fill=INK, anchor="rb")
    return np.asarray(image)


def _tile(
    plane: npt.NDArray[np.generic],
    organ: LabelArray,
    sides: Sequence[float],
    pixel_mm: float,
    window: tuple[float, float],
) -> npt.NDArray[np.uint8]:
    """One slice as a square RGB tile with contours, nearest pixels, centred."""
    size = int(TILE_MM / pixel_mm)
    places = [tile_places(n, mm, size, pixel_mm) for n, mm in zip(plane.shape, sides, strict=True)]
    rgb = grey_tile(plane, places, window)
    draw_contours(rgb, organ, places)
    return rgb


def tile_places(n: int, mm: float, size: int, pixel_mm: float) -> npt.NDArray[np.float64]:
    """Voxel edges' coordinate (0 to n) of each pixel of a tile along one axis of ``n`` voxels, the middle centred."""
    return np.asarray((np.arange(size) - size / 2) * pixel_mm / mm + n / 2)


def grey_tile(
    plane: npt.NDArray[np.generic],
    places: Sequence[npt.NDArray[np.float64]],
    window: tuple[float, float] = LUNG_HU,
) -> npt.NDArray[np.uint8]:
    """A slice in a window as RGB, black beyond its border."""
    low, high = window
    values, inside = _nearest(plane, places)
    grey = (np.clip(values.astype(np.float32), low, high) - low) / (high - low) * 255
    return np.repeat(np.where(inside, grey, 0)[:, :, None], 3, axis=2).astype(np.uint8)


def draw_contours(rgb: npt.NDArray[np.uint8], organ: LabelArray, places: Sequence[npt.NDArray[np.float64]]) -> None:
    """Outline the organs of a slice in their colours, in place."""
    values, inside = _nearest(organ, places)
    shown = np.where(inside, values, 0)
    for value, colour in COLOURS.items():
        mask = shown == value
        rgb[mask & dilate(~mask, 1.0, (1.0, 1.0))] = colour


def _nearest(
    plane: npt.NDArray[np.generic], places: Sequence[npt.NDArray[np.float64]]
) -> tuple[npt.NDArray[np.generic], BoolArray]:
    index, valid = [], []
    for n, place in zip(plane.shape, places, strict=True):
        valid.append((place >= 0) & (place < n))
        index.append(np.clip(place.astype(int), 0, n - 1))
    return plane[np.ix_(*index)], valid[0][:, None] & valid[1][None]
