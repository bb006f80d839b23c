"""One picture of one plane: CT in a window, the signed map over it, contours, edge letters and a scale bar.

Drawn pixel by pixel instead of with matplotlib, which takes 0.2 s a panel; a scan's page has about fifty.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from .planes import Plane

__all__ = [
    "COLOURS",
    "WINDOWS",
    "Layers",
    "Window",
    "colour_ramp",
    "data_uri",
    "overlay",
    "png_bytes",
    "render_panel",
    "stacked",
]

MARGIN = 4
OPACITY = 0.72  # of the strongest evidence, so that anatomy shows through it

COLOURS = {
    "organ": (64, 224, 160),
    "other_organ": (150, 150, 150),
    "cells": (255, 255, 255),
    "lesion": (255, 90, 255),
    "confounder": (255, 160, 0),
    "mark": (255, 255, 0),
}
"""RGB of the lines. They also differ in kind (full, dotted, thin), so that nothing hangs on telling colours apart."""

_STEPS = 512
_WARM = np.array([(255, 214, 92), (255, 140, 20), (222, 36, 16)], dtype=np.float32)
_COOL = np.array([(150, 226, 255), (56, 158, 255), (36, 66, 220)], dtype=np.float32)


@dataclass(frozen=True)
class Window:
    """A CT display window in HU."""

    name: str
    level: float
    width: float

    @property
    def limits(self) -> tuple[float, float]:
        """HU shown black and HU shown white."""
        return self.level - self.width / 2, self.level + self.width / 2


WINDOWS = {"lung": Window("lung", -600, 1500), "mediastinum": Window("mediastinum", 40, 400)}
"""The two usual chest windows, level and width in HU."""


@dataclass(frozen=True)
class Layers:
    """What a panel shows, all ``[rows, columns]`` of the same plane.

    Attributes:
        hu: the CT.
        spacing: mm between rows and between columns.
        attention: raw signed map, or None for the CT alone.
        organs: organs in which the label may lie.
        other_organs: the other segmented organs.
        cells: allowed cells.
        lesion: known lesion.
        confounder: something known that goes with the label and is no sign of it.
        mark: row and column of the point where the three planes meet.
    """

    hu: NDArray
    spacing: tuple[float, float]
    attention: NDArray[np.float32] | None = None
    organs: NDArray[np.bool_] | None = None
    other_organs: NDArray[np.bool_] | None = None
    cells: NDArray[np.bool_] | None = None
    lesion: NDArray[np.bool_] | None = None
    confounder: NDArray[np.bool_] | None = None
    mark: tuple[int, int] | None = None


def render_panel(layers: Layers, plane: Plane, slices: int, window: Window, scale: float, pixel_mm: float) -> NDArray:
    """Draw one plane.

    Args:
        layers: what to draw.
        plane: gives the edge letters and the slice number.
        slices: number of slices along the plane's axis.
        window: for the CT.
        scale: value of the map that gets the strongest colour, above 0.
        pixel_mm: side of a pixel of the picture.

    Returns:
        uint8 ``[rows, columns, 3]``; rows and columns follow the patient's size in mm, whatever the voxels are.
    """
    rows, columns = (
        max(1, round(count * step / pixel_mm)) for count, step in zip(layers.hu.shape, layers.spacing, strict=True)
    )
    black, white = window.limits
    grey = np.clip((_resized(layers.hu, rows, columns) - black) / (white - black), 0, 1) * 255
    picture = np.repeat(grey[..., None], 3, axis=2)
    if layers.attention is not None:
        colour, alpha = overlay(_resized(layers.attention, rows, columns), scale)
        picture += (colour - picture) * alpha[..., None]
    _draw_lines(picture, layers, rows, columns)
    image = Image.fromarray(np.rint(picture).astype(np.uint8))
    _draw_mark(image, layers, rows, columns)
    if any(plane.edges):  # a 2D image has no directions, one slice, and no scale: it may be a projection
        _write_texts(image, plane, slices, pixel_mm)
    return np.asarray(image)


def overlay(attention: NDArray[np.float32], scale: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colour ``[..., 3]`` and opacity ``[...]`` of signed values: warm above zero, cool below, clear at zero."""
    strength = np.clip(np.asarray(attention, dtype=np.float32) / np.float32(scale), -1, 1)
    colours, opacities = _ramp()
    place = np.rint(strength * _STEPS).astype(np.int16) + _STEPS
    return colours[place], opacities[place]


@cache
def _ramp() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours and opacities from -1 to 1."""
    strength = np.linspace(-1, 1, 2 * _STEPS + 1)
    stops = np.linspace(0, 1, len(_WARM))
    sides = [
        np.stack([np.interp(np.abs(strength), stops, channel) for channel in anchors.T], axis=-1)
        for anchors in (_WARM, _COOL)
    ]
    colours = np.where(strength[:, None] >= 0, *sides)
    return colours.astype(np.float32), (OPACITY * np.abs(strength) ** 0.75).astype(np.float32)


def colour_ramp(width: int, height: int) -> NDArray[np.uint8]:
    """The colours of a map from ``-scale`` (left) to ``+scale`` (right) over a mid-grey CT."""
    values = np.linspace(-1, 1, width, dtype=np.float32)[None].repeat(height, axis=0)
    colour, alpha = overlay(values, 1.0)
    grey = np.full_like(colour, 96.0)
    return np.rint(grey + (colour - grey) * alpha[..., None]).astype(np.uint8)


def stacked(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures one below the other, centred on black, with a thin gap."""
    width = max(picture.shape[1] for picture in pictures)
    height = sum(picture.shape[0] for picture in pictures) + MARGIN * (len(pictures) - 1)
    sheet = np.full((height, width, 3), 255, dtype=np.uint8)
    top = 0
    for picture in pictures:
        rows, columns, _ = picture.shape
        left = (width - columns) // 2
        sheet[top : top + rows] = 0
        sheet[top : top + rows, left : left + columns] = picture
        top += rows + MARGIN
    return sheet


def png_bytes(picture: NDArray[np.uint8]) -> bytes:
    """A PNG file; the same picture gives the same bytes."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(
        stream, format="PNG", compress_level=3
    )  # as small as level 6 on CT, in two thirds of the time
    return stream.getvalue()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as an address that needs no second file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _draw_lines(picture: NDArray, layers: Layers, rows: int, columns: int) -> None:
    """Contours, the weightier ones last."""
    checker = np.add.outer(np.arange(rows) // 2, np.arange(columns) // 2) % 2 == 0
    dashes = np.add.outer(np.arange(rows), np.arange(columns)) // 4 % 2 == 0
    for name, mask, part in (
        ("other_organ", layers.other_organs, checker),
        ("cells", layers.cells, checker),
        ("organ", layers.organs, True),
        ("confounder", layers.confounder, dashes),
        ("lesion", layers.lesion, True),
    ):
        if mask is not None and mask.any():
            smooth = name != "cells"
            line = _contour(mask, rows, columns, smooth)
            if name in ("lesion", "confounder"):
                picture[ndimage.binary_dilation(line)] = 0
            picture[line & part] = COLOURS[name]


def _contour(mask: NDArray[np.bool_], rows: int, columns: int, smooth: bool) -> NDArray[np.bool_]:
    """One-pixel line just inside the border of a mask, at the picture's size."""
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    inside = np.pad(np.asarray(image.resize((columns, rows), method)) >= 128, 1)
    core = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    return inside[1:-1, 1:-1] & ~core


def _resized(plane: NDArray, rows: int, columns: int) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(image.resize((columns, rows), Image.Resampling.BILINEAR))


def _draw_mark(image: Image.Image, layers: Layers, rows: int, columns: int) -> None:
    """Ticks at the picture's edges where the other two planes cut it, and a small open cross at the point."""
    if layers.mark is None:
        return
    y = (layers.mark[0] + 0.5) * rows / layers.hu.shape[0]
    x = (layers.mark[1] + 0.5) * columns / layers.hu.shape[1]
    pen, colour = ImageDraw.Draw(image), COLOURS["mark"]
    reach, gap = max(6, columns // 28), max(3, columns // 70)
    for line in (
        (x, 0, x, reach),
        (x, rows - reach, x, rows),
        (0, y, reach, y),
        (columns - reach, y, columns, y),
        (x - gap - reach / 2, y, x - gap, y),
        (x + gap, y, x + gap + reach / 2, y),
        (x, y - gap - reach / 2, x, y - gap),
        (x, y + gap, x, y + gap + reach / 2),
    ):
        pen.line(line, fill=colour, width=1)


def _write_texts(image: Image.Image, plane: Plane, slices: int, pixel_mm: float) -> None:
    """Edge letters, slice number and a 5 cm bar, each on a dark plate so that white tissue does not hide it."""
    columns, rows = image.size
    left, right, top, bottom = plane.edges
    letter, small = _font(15), _font(12)
    texts = [
        (6, rows / 2, left, "lm", letter),
        (columns - 6, rows / 2, right, "rm", letter),
        (columns / 2, 5, top, "mt", letter),
        (columns / 2, rows - 5, bottom, "mb", letter),
        (6, 5, f"{plane.name} {plane.slice + 1}/{slices}", "lt", small),
    ]
    bar = round(50 / pixel_mm)
    if bar < columns / 2:
        texts.append((columns - 8, rows - 12, "5 cm", "rb", small))
    pen = ImageDraw.Draw(image, "RGBA")
    for x, y, text, anchor, font in texts:
        box = pen.textbbox((x, y), text, anchor=anchor, font=font)
        pen.rectangle((box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3), fill=(0, 0, 0, 150))
    for x, y, text, anchor, font in texts:
        pen.text((x, y), text, anchor=anchor, font=font, fill=(255, 255, 255))
    if bar < columns / 2:
        pen.rectangle((columns - 9 - bar, rows - 9, columns - 7, rows - 5), fill=(0, 0, 0, 150))
        pen.line((columns - 8 - bar, rows - 7, columns - 8, rows - 7), fill=(255, 255, 255), width=2)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
