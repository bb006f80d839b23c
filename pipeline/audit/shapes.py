"""Shapes that cover voxels in part, by looking at a few points of each: the partial-volume effect of a CT."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Inside", "box_around", "capsules", "coverage_of", "ellipsoid", "ragged"]

Box = tuple[slice, slice, slice]
Inside = Callable[[NDArray, NDArray, NDArray], NDArray[np.bool_]]
"""Millimetres along (z, y, x) from the shape's centre, an open mesh, to whether a point lies inside."""

FINEST_MM = 0.7
MOST_POINTS = 6


def box_around(
    centre: tuple[float, float, float],
    reach_mm: tuple[float, float, float],
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
) -> Box | None:
    """Index box of the voxels within a distance of a centre (in voxels); None outside the volume."""
    spans = []
    for at, reach, step, size in zip(centre, reach_mm, spacing, shape, strict=True):
        start = max(0, int(np.floor(at - reach / step)))
        stop = min(size, int(np.ceil(at + reach / step)) + 1)
        if start >= stop:
            return None
        spans.append(slice(start, stop))
    return spans[0], spans[1], spans[2]


def coverage_of(
    inside: Inside, box: Box, centre: tuple[float, float, float], spacing: tuple[float, ...]
) -> NDArray[np.float32]:
    """Share of each voxel of the box that a shape covers, from a lattice of points in it.

    Args:
        inside: the shape.
        box: of voxels.
        centre: of the shape, in voxels.
        spacing: mm.
    """
    counts = [int(np.clip(np.ceil(step / FINEST_MM), 2, MOST_POINTS)) for step in spacing]
    total = np.zeros(tuple(part.stop - part.start for part in box), np.float32)
    offsets = [(np.arange(count) + 0.5) / count - 0.5 for count in counts]
    axes = [np.arange(part.start, part.stop) for part in box]
    for dz in offsets[0]:
        for dy in offsets[1]:
            for dx in offsets[2]:
                z, y, x = (
                    ((axis + shift - at) * step).astype(np.float32)
                    for axis, shift, at, step in zip(axes, (dz, dy, dx), centre, spacing, strict=True)
                )
                total += inside(z[:, None, None], y[None, :, None], x[None, None, :])
    return total / np.float32(np.prod(counts))


def ellipsoid(axes: tuple[float, float, float]) -> Inside:
    """Half axes in mm."""
    return lambda z, y, x: (z / axes[0]) ** 2 + (y / axes[1]) ** 2 + (x / axes[2]) ** 2 <= 1


def ragged(radius: float, rng: np.random.Generator) -> Inside:
    """A ball whose border goes in and out by a quarter of its radius."""
    number = rng.standard_normal((6, 3)) * 2 / radius
    phase = rng.uniform(0, 2 * np.pi, 6)

    def inside(z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.bool_]:
        waves = sum(np.sin(n[0] * z + n[1] * y + n[2] * x + p) for n, p in zip(number, phase, strict=True))
        found: NDArray[np.bool_] = np.sqrt(z**2 + y**2 + x**2) <= radius * (0.87 + 0.1 * waves)
        return found

    return inside


def capsules(points: NDArray, radius: float) -> Inside:
    """Round-ended pieces between points ``[N, 3]`` (mm from the centre)."""

    def inside(z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.bool_]:
        found = np.zeros(np.broadcast_shapes(z.shape, y.shape, x.shape), bool)
        for start, stop in pairwise(points):
            axis = stop - start
            length = float(axis @ axis) or 1.0
            offset = [m - a for m, a in zip((z, y, x), start, strict=True)]
            along = np.clip(sum(o * a for o, a in zip(offset, axis, strict=True)) / length, 0, 1)
            found |= sum((o - along * a) ** 2 for o, a in zip(offset, axis, strict=True)) <= radius**2
        return found

    return inside
