"""The grid that a phantom is painted on, and shapes with soft edges.

Frame: (z, y, x) in millimetres along the network frame (inferior, posterior, patient left). Every shape gives the
fraction of each voxel that it covers ("coverage"), from its signed distance to the voxel's centre over the voxel's
extent along the normal: the partial-volume effect of CT without supersampling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tree import cross

__all__ = ["AIR", "Box", "Canvas", "Grid", "cover", "ellipsoid", "splat", "tube", "tube_distance"]

Array = NDArray[np.float32]
Box = tuple[slice, slice, slice]
Point = tuple[float, float, float]
AIR = -1000.0
"""HU outside the body."""

GOLDEN_ANGLE = np.float32(np.pi * (3 - np.sqrt(5)))


@dataclass(frozen=True)
class Grid:
    """A regular grid in the phantom's frame.

    Attributes:
        shape: voxels along (z, y, x).
        spacing: millimetres along (z, y, x).
        origin: millimetres of the centre of voxel (0, 0, 0).
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    def axis(self, axis: int) -> NDArray[np.float64]:
        """Voxel centres along one axis, mm."""
        return np.asarray(self.origin[axis] + self.spacing[axis] * np.arange(self.shape[axis]), np.float64)

    def affine(self) -> NDArray[np.float64]:
        """Voxel index (z, y, x) to RAS+ world millimetres: inferior, posterior and left are the negative directions."""
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = (-s for s in self.spacing)
        affine[:3, 3] = [-self.origin[2], -self.origin[1], -self.origin[0]]
        affine[3, 3] = 1
        return affine

    def slabs(self, voxels: int) -> Iterator[tuple[int, Grid]]:
        """Cut along z into grids of at most about ``voxels`` voxels; yields (first slice, grid)."""
        step = max(1, voxels // max(1, self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], step):
            stop = min(start + step, self.shape[0])
            origin = (self.origin[0] + start * self.spacing[0], *self.origin[1:])
            yield start, Grid((stop - start, *self.shape[1:]), self.spacing, origin)


class Canvas:
    """HU of one slab while it is painted, with the coverage of lungs and mediastinum kept beside it.

    Attributes:
        grid: where the voxels lie.
        z, y, x: voxel centres as an open mesh, shapes ``[D, 1, 1]``, ``[1, H, 1]``, ``[1, 1, W]``.
        hu: ``[D, H, W]`` float32.
        lung: coverage of both pleural cavities, lesions and vessels in them included.
        mediastinum: coverage of heart and mediastinum.
        bronchi: coverage of the small airways' lumina inside the lungs, which stay open in consolidation.
        lesions: ``[D, H, W]`` uint16, 0 or the value of the lesion painted last.
    """

    def __init__(self, grid: Grid, air: float = AIR) -> None:
        self.grid = grid
        self.z = grid.axis(0).astype(np.float32)[:, None, None]
        self.y = grid.axis(1).astype(np.float32)[None, :, None]
        self.x = grid.axis(2).astype(np.float32)[None, None, :]
        self.hu: Array = np.full(grid.shape, air, np.float32)
        self.lung: Array = np.zeros(grid.shape, np.float32)
        self.mediastinum: Array = np.zeros(grid.shape, np.float32)
        self.bronchi: Array = np.zeros(grid.shape, np.float32)
        self.lesions: NDArray[np.uint16] = np.zeros(grid.shape, np.uint16)

    def crop(self, low: Point, high: Point) -> Canvas | None:
        """The part of the canvas within a millimetre box, sharing its memory; None where the grid misses the box."""
        box = self.box(low, high)
        if box is None:
            return None
        part = object.__new__(Canvas)
        origin = tuple(o + s * b.start for o, s, b in zip(self.grid.origin, self.grid.spacing, box, strict=True))
        shape = tuple(b.stop - b.start for b in box)
        part.grid = Grid(shape, self.grid.spacing, origin)
        part.z, part.y, part.x = self.mesh(box)
        part.hu, part.lung, part.mediastinum = self.hu[box], self.lung[box], self.mediastinum[box]
        part.bronchi, part.lesions = self.bronchi[box], self.lesions[box]
        return part

    def box(self, low: Point, high: Point) -> Box | None:
        """Index box of all voxels that touch the millimetre box, or None where it misses the grid."""
        slices = []
        for axis in range(3):
            spacing, origin = self.grid.spacing[axis], self.grid.origin[axis]
            start = max(0, math.floor((low[axis] - origin) / spacing))
            stop = min(self.grid.shape[axis], math.ceil((high[axis] - origin) / spacing) + 1)
            if start >= stop:
                return None
            slices.append(slice(start, stop))
        return slices[0], slices[1], slices[2]

    def mesh(self, box: Box) -> tuple[Array, Array, Array]:
        """Open mesh of a box's voxel centres."""
        return self.z[box[0]], self.y[:, box[1]], self.x[:, :, box[2]]

    def blend(self, box: Box, coverage: Array, value: float | Array) -> None:
        """Paint: the covered fraction of each voxel takes ``value`` (HU)."""
        view = self.hu[box]
        change = value - view
        change *= coverage
        view += change

    def organ(self, box: Box, coverage: Array, value: float | Array) -> None:
        """Paint a part of heart or mediastinum, which takes its room from the lungs."""
        self.blend(box, coverage, value)
        lung = self.lung[box]
        lung -= lung * coverage
        mediastinum = self.mediastinum[box]
        np.maximum(mediastinum, coverage, out=mediastinum)

    def outside(self, box: Box, coverage: Array, value: float | Array) -> None:
        """Paint what belongs to no organ (bone), and take its room from lungs and mediastinum."""
        self.blend(box, coverage, value)
        for organ in (self.lung, self.mediastinum):
            organ[box] -= organ[box] * coverage

    def mark(self, box: Box, coverage: Array, value: int, least: float = 0.5) -> int:
        """Enter a lesion into the label map where at least a share of the voxel is covered.

        Returns:
            Number of voxels marked.
        """
        marked = coverage >= least
        self.lesions[box][marked] = value
        return int(marked.sum())


def cover(distance: Array, extent: float | Array) -> Array:
    """Coverage from signed distance (negative inside) and the voxel's extent along the normal, both in mm."""
    share = np.multiply(distance, -1 / np.asarray(extent, np.float32))
    share += np.float32(0.5)
    np.minimum(share, 1, out=share)
    return np.maximum(share, 0, out=share)


def ellipsoid(
    canvas: Canvas, centre: Point, axes: Point, rotation: NDArray[np.float64] | None = None
) -> tuple[Box, Array] | None:
    """Coverage of an ellipsoid in its own box.

    Args:
        canvas: the grid.
        centre: (z, y, x) mm.
        axes: half axes, mm.
        rotation: ``[3, 3]``, rows are the directions of the axes; None for (z, y, x).

    Returns:
        (box, coverage) or None where the grid does not reach it.
    """
    spacing = np.asarray(canvas.grid.spacing)
    if rotation is None:
        reach = np.asarray(axes) + spacing
        box = canvas.box(tuple(np.subtract(centre, reach)), tuple(np.add(centre, reach)))
        if box is None:
            return None
        units = [(m - c) / a for m, c, a in zip(canvas.mesh(box), centre, axes, strict=True)]
        slopes = [u * (s / a) for u, s, a in zip(units, canvas.grid.spacing, axes, strict=True)]
    else:
        matrix = rotation / np.asarray(axes)[:, None]
        reach = np.sqrt(((rotation * np.asarray(axes)[:, None]) ** 2).sum(0)) + spacing
        box = canvas.box(tuple(centre - reach), tuple(centre + reach))
        if box is None:
            return None
        offsets = [m - c for m, c in zip(canvas.mesh(box), centre, strict=True)]
        units = [_dot(row, offsets) for row in matrix.tolist()]
        slopes = [_dot(row, units) for row in (matrix * spacing).T.tolist()]
    radius = np.sqrt(_squares(units))
    # The voxel's extent along the gradient of the relative radius: slices are often three times as thick as pixels.
    extent = np.sqrt(_squares(slopes)) / np.maximum(radius, 1e-3) + np.float32(1e-3)
    return box, cover(radius - 1, extent)


def _dot(row: Sequence[float], parts: Sequence[Array]) -> Array:
    return row[0] * parts[0] + row[1] * parts[1] + row[2] * parts[2]


def _squares(parts: Sequence[Array]) -> Array:
    return parts[0] * parts[0] + parts[1] * parts[1] + parts[2] * parts[2]


def tube(
    canvas: Canvas, start: Point, stop: Point, radius: float, end_radius: float | None = None
) -> tuple[Box, Array] | None:
    """Coverage of a capsule (round-ended tube) in its own box; the radius may taper. Points and radii in mm."""
    shape = tube_distance(canvas, start, stop, radius, end_radius)
    return None if shape is None else (shape[0], cover(shape[1], shape[2]))


def tube_distance(
    canvas: Canvas, start: Point, stop: Point, radius: float, end_radius: float | None = None
) -> tuple[Box, Array, float] | None:
    """Box, signed distance (mm) from a capsule, and the voxel's mean extent across it (mm)."""
    last = radius if end_radius is None else end_radius
    spacing = canvas.grid.spacing
    reach = [max(radius, last) + s for s in spacing]
    low = tuple(min(a, b) - r for a, b, r in zip(start, stop, reach, strict=True))
    box = canvas.box(low, tuple(max(a, b) + r for a, b, r in zip(start, stop, reach, strict=True)))  # type: ignore[arg-type]
    if box is None:
        return None
    z, y, x = (m - float(b) for m, b in zip(canvas.mesh(box), start, strict=True))
    dz, dy, dx = (float(b - a) for a, b in zip(start, stop, strict=True))
    length2 = dz * dz + dy * dy + dx * dx
    along = (z * (dz / length2) + y * (dy / length2)) + x * (dx / length2)
    near = np.minimum(along, 1)
    np.maximum(near, 0, out=near)
    # |offset - near * axis|^2, expanded so that only two products run over the whole box.
    along *= -2
    along += near
    along *= near
    along *= length2
    along += (z * z + y * y) + x * x
    distance = np.sqrt(np.maximum(along, 0, out=along), out=along)
    if last == radius:
        distance -= radius
    else:
        distance -= radius + (last - radius) * near
    extent2 = sum(s * s * (1 - d * d / length2) for s, d in zip(spacing, (dz, dy, dx), strict=True)) / 2
    return box, distance, math.sqrt(extent2)


def splat(canvas: Canvas, start: Array, stop: Array, radius: Array) -> tuple[Box, Array] | None:
    """Coverage of many thin tubes at once, volume-true even where they are thinner than a voxel.

    Each tube is filled with points at three quarters of a pixel's distance, and every point gives its volume to the
    voxel it lies in, which tends to the exact box average.

    Args:
        canvas: the grid.
        start: ``[N, 3]`` mm.
        stop: ``[N, 3]`` mm.
        radius: ``[N]`` mm.

    Returns:
        (box, coverage in [0, 1]) or None where no tube meets the grid.
    """
    grid = canvas.grid
    reach = radius + np.float32(grid.spacing[0])
    near = (np.minimum(start[:, 0], stop[:, 0]) - reach < canvas.z[-1, 0, 0]) & (
        np.maximum(start[:, 0], stop[:, 0]) + reach > canvas.z[0, 0, 0]
    )
    points, volumes = _fill_tubes(start[near], stop[near], radius[near], 0.75 * min(grid.spacing[1:]))
    index = []
    inside = np.ones(len(volumes), bool)
    for place, origin, spacing, size in zip(points, grid.origin, grid.spacing, grid.shape, strict=True):
        number = np.rint((place - origin) * (1 / spacing)).astype(np.int32)
        inside &= (number >= 0) & (number < size)
        index.append(number)
    if not inside.all():
        index, volumes = [number[inside] for number in index], volumes[inside]
    if len(volumes) == 0:
        return None
    low = [int(number.min()) for number in index]
    size_z, size_y, size_x = (int(number.max()) - first + 1 for number, first in zip(index, low, strict=True))
    flat = ((index[0] - low[0]) * size_y + (index[1] - low[1])) * size_x + (index[2] - low[2])
    total = np.bincount(flat, volumes, minlength=size_z * size_y * size_x).astype(np.float32)
    total *= 1 / math.prod(grid.spacing)
    z, y, x = (slice(first, first + n) for first, n in zip(low, (size_z, size_y, size_x), strict=True))
    return (z, y, x), np.minimum(total, 1, out=total).reshape(size_z, size_y, size_x)


def _fill_tubes(start: Array, stop: Array, radius: Array, step: float) -> tuple[list[Array], Array]:
    """Points that fill tubes evenly (a sunflower pattern in each cross-section), and the volume each stands for.

    Returns:
        Coordinates ``[N]`` along z, y and x, and volumes ``[N]``, mm^3.
    """
    axis = stop - start
    length = np.maximum(np.sqrt((axis * axis).sum(1)), np.float32(1e-3))
    across = np.maximum(1, np.ceil(np.pi * radius**2 / step**2)).astype(np.int32)
    along = np.maximum(1, np.ceil(length / step)).astype(np.int32)
    count = across * along
    which = np.repeat(np.arange(len(start), dtype=np.int32), count)
    number = np.arange(len(which), dtype=np.int32) - np.repeat(np.cumsum(count, dtype=np.int32) - count, count)
    each = across[which]
    place = number // each
    ring = (number - place * each).astype(np.float32)
    share = (place + np.float32(0.5)) / along.astype(np.float32)[which]
    points = [start[which, a] + axis[which, a] * share for a in range(3)]
    wide = np.flatnonzero(each > 1)
    if len(wide):
        unit = axis / length[:, None]
        helper = np.where(np.abs(unit[:, :1]) < 0.8, np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[1:2])
        first = cross(unit, helper)
        first /= np.sqrt((first * first).sum(1, keepdims=True))
        second = cross(unit, first)
        tube_of, ring = which[wide], ring[wide]
        distance = radius[tube_of] * np.sqrt((ring + np.float32(0.5)) / each[wide].astype(np.float32))
        angle = ring * GOLDEN_ANGLE
        cosine, sine = distance * np.cos(angle), distance * np.sin(angle)
        for a in range(3):
            points[a][wide] += cosine * first[tube_of, a] + sine * second[tube_of, a]
    volume = (np.pi * radius**2 * length / count).astype(np.float32)
    return points, volume[which]
