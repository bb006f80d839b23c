"""The regions of one scan as a few bitmaps on a feature grid, from which the region of every label is put together.

A label may lie in one organ or in several together. Cells count as allowed where the organs of the label cover enough
of them *together*, so every set of organs has its own bitmap; the thirds of the lungs follow if they are wanted, and
the cells that only the unsure base under a lung adds to it. The order is that of ``REGION_NAMES``: set number
``code - 1`` for the organs whose bits make up ``code`` (1 right lung, 2 left lung, 4 heart and mediastinum), the six
``LUNG_THIRDS``, the two ``LUNG_BASES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from organcam.errors import did_you_mean

from ..types import HEART_MEDIASTINUM, ORGANS, BoolArray, FloatArray, LabelArray
from .base import LUNG_BASES, lung_bases
from .occupancy import LUNG_THIRDS, GridLike, lung_thirds, organ_occupancy, rough_regions
from .shrink import REFERENCE_MODES, dilate_cells, reference_regions

__all__ = [
    "ORGAN_SETS",
    "REGION_NAMES",
    "REGISTRATIONS",
    "THIRD_SHARE",
    "Registration",
    "bitmaps_of_occupancy",
    "organ_regions",
    "pack_bitmaps",
    "rough_bitmaps",
    "unpack_bitmaps",
]

Registration = Literal["network", "reference"]
REGISTRATIONS = get_args(Registration)

ORGAN_SETS = tuple(tuple(organ for bit, organ in enumerate(ORGANS) if code >> bit & 1) for code in range(1, 8))
REGION_NAMES: tuple[str, ...] = (*("+".join(organs) for organs in ORGAN_SETS), *LUNG_THIRDS, *LUNG_BASES)
"""Names of the bitmaps; the thirds or the bases are missing where they were not wanted."""

THIRD_SHARE = 0.25
"""A cell of a lung belongs to each of its thirds that holds this share of the lung in the cell. Under 1/3, so that the
three together are the lung."""

THIRDS_WITH_HEART = (1, 2, 3, 4, 5, 6, 7)
BASES = (8, 16)
"""Values of the bases in a map that holds organs or thirds too; bits of their own keep ``organ_occupancy`` fast."""


def organ_regions(
    labels: LabelArray,
    grid: GridLike,
    *,
    threshold: float = 0.1,
    registration: Registration = "network",
    mode: str = "nearest",
    dilate: int = 0,
    thirds: bool = False,
    base_slices: int = 0,
) -> BoolArray:
    """The bitmaps of one scan.

    Args:
        labels: organ labels in the network frame; ``grid.input_shape``, or with ``reference`` any shape, which is then
            padded and cropped to it as the CT is.
        grid: the network's feature grid; ``reference`` takes from it the number of cells only.
        threshold: least share of a cell's box that the organs must cover; 0 means any contact. Unused by ``reference``.
        registration: ``network`` places the cells by stride and offset; ``reference`` shrinks the masks to as many
            tiles of the image as the published code does.
        mode: ``nearest``, ``area`` or ``trilinear``, of ``reference`` only.
        dilate: how often to grow the regions by a 3 x 3 x 3 box of cells.
        thirds: whether the thirds of the lungs are wanted too.
        base_slices: how many slices of ``labels`` the unsure base reaches under each lung (``lung_bases``); 0 leaves
            its bitmaps out, and ``reference`` knows none.

    Returns:
        bool ``[R, S, h, w]`` in the order of ``REGION_NAMES``: 7 sets of organs, 6 thirds if wanted, 2 bases if wanted.

    Raises:
        ValueError: for an unknown registration or mode, bases with ``reference``, or labels of another shape.
    """
    _validate(threshold, registration, mode, dilate, base_slices)
    parts = _with_heart(labels) if thirds else labels
    if registration == "network":
        values = THIRDS_WITH_HEART if thirds else (1, 2, 3)
        if base_slices:
            parts = parts | (lung_bases(labels, base_slices) << 3).astype(np.uint8)
        shares = organ_occupancy(parts, grid, (*values, *BASES) if base_slices else values)
        own, bases = shares[: len(values)], shares[len(values) :] if base_slices else None
        if not thirds:
            return bitmaps_of_occupancy(own, threshold, bases=bases, dilate=dilate)
        organs = np.stack([own[0:3].sum(axis=0), own[3:6].sum(axis=0), own[6]])
        return bitmaps_of_occupancy(organs, threshold, own[:6], bases, dilate)
    small = reference_regions(labels, mode, dilate, input_shape=grid.input_shape, cells=grid.shape)
    sets = _unions(small)
    if not thirds:
        return sets
    if not labels.any():
        return np.concatenate([sets, np.repeat(small[:2], 3, axis=0)])
    thirds_alone = reference_regions(
        parts, mode, dilate, input_shape=grid.input_shape, cells=grid.shape, values=THIRDS_WITH_HEART[:6]
    )
    return np.concatenate([sets, thirds_alone])


def bitmaps_of_occupancy(
    occupancy: FloatArray,
    threshold: float,
    thirds: FloatArray | None = None,
    bases: FloatArray | None = None,
    dilate: int = 0,
) -> BoolArray:
    """Bitmaps from the share of each cell that each organ covers.

    Args:
        occupancy: ``[3, S, h, w]`` of ``organ_occupancy``.
        threshold: least share; 0 means any contact.
        thirds: ``[6, S, h, w]``, shares of the thirds of the lungs.
        bases: ``[2, S, h, w]``, shares of the unsure bases under the lungs.
        dilate: see ``organ_regions``.

    Returns:
        bool ``[R, S, h, w]``, R = 7, with 6 more for thirds and 2 more for bases.
    """
    bits = np.array([[code >> bit & 1 for bit in range(3)] for code in range(1, 8)], dtype=np.float32)
    covered = np.einsum("ro,o...->r...", bits, occupancy.astype(np.float32))
    # A share summed in float32 may miss the threshold by a rounding error.
    out = (covered >= threshold - 1e-6) & (covered > 0)
    if thirds is not None:
        lung = np.repeat(occupancy[:2], 3, axis=0)
        own = np.repeat(out[:2], 3, axis=0) & (thirds >= THIRD_SHARE * lung - 1e-6) & (thirds > 0)
        out = np.concatenate([out, own])
    out = dilate_cells(out, dilate)
    if bases is None:
        return out
    together = dilate_cells((occupancy[:2] + bases >= threshold - 1e-6) & (bases > 0), dilate)
    return np.concatenate([out, together & ~out[:2]])


def rough_bitmaps(grid: GridLike, thirds: bool = False, bases: bool = False) -> BoolArray:
    """Bitmaps of a scan whose organs are unknown (``rough_regions``): thirds are whole lungs, bases add nothing."""
    rough = rough_regions(grid)
    parts = [_unions(rough)]
    parts += [np.repeat(rough[:2], 3, axis=0)] if thirds else []
    parts += [np.zeros_like(rough[:2])] if bases else []
    return np.concatenate(parts)


def pack_bitmaps(masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Bits of ``[R, S, h, w]`` masks, eight to a byte, ``[R, bytes]``."""
    return np.packbits(np.ascontiguousarray(masks).reshape(len(masks), -1), axis=1)


def unpack_bitmaps(packed: npt.NDArray[np.uint8], shape: Sequence[int]) -> BoolArray:
    """Inverse of ``pack_bitmaps``; ``shape`` is that of one mask, (S, h, w)."""
    bits = np.unpackbits(packed, axis=1, count=int(np.prod(shape)))
    return bits.astype(bool).reshape(len(packed), *shape)


def _unions(organs: BoolArray) -> BoolArray:
    """Every set of organs, ``[3, ...]`` to ``[7, ...]``."""
    return np.stack(
        [np.logical_or.reduce([organs[bit] for bit in range(3) if code >> bit & 1]) for code in range(1, 8)]
    )


def _with_heart(labels: LabelArray) -> LabelArray:
    parts = lung_thirds(labels)
    parts[labels == HEART_MEDIASTINUM] = THIRDS_WITH_HEART[-1]
    return parts


def _validate(threshold: float, registration: str, mode: str, dilate: int, base_slices: int) -> None:
    if not 0 <= threshold <= 1:
        msg = f"threshold is a share of a cell and must lie in [0, 1], got {threshold}"
        raise ValueError(msg)
    if registration not in REGISTRATIONS:
        msg = f"unknown registration {registration!r}; {did_you_mean(str(registration), REGISTRATIONS)}"
        raise ValueError(msg)
    if mode not in REFERENCE_MODES:
        msg = f"unknown mode {mode!r}; {did_you_mean(str(mode), REFERENCE_MODES)}"
        raise ValueError(msg)
    if dilate < 0 or int(dilate) != dilate:
        msg = f"dilate counts steps of one cell: a whole number, 0 or more, got {dilate!r}"
        raise ValueError(msg)
    if base_slices < 0 or int(base_slices) != base_slices:
        msg = f"base_slices counts slices: a whole number, 0 or more, got {base_slices!r}"
        raise ValueError(msg)
    if base_slices and registration == "reference":
        msg = "base_slices: the published shrinking (registration='reference') knows no base under the lungs; use 0"
        raise ValueError(msg)
