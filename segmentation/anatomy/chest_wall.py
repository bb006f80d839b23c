"""One side's chest wall in polar form: the inner surface of the ribs, seen along rays from the hemithorax's middle."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..morphology import dilate, open_mask
from ..types import RIGHT_LUNG, BoolArray, FloatArray
from .thorax import Thorax

__all__ = ["RIB_HU", "PleuralModel", "rib_sector", "rib_surface", "thick_bone"]

RIB_HU = 150.0
RAYS = 96
REACH_MM = 190.0

ORGAN_HU, THICKER_THAN_RIB_MM = 100.0, 8.0
"""Half the thickness from which something that may be as dense as bone is no rib: spleen and kidney with contrast."""

BETWEEN_MM, BETWEEN_RAYS = 12.0, 2.0
"""How far the chest wall is believed to go on smoothly where no rib is seen, as in voxels of 4 mm."""


@dataclass(frozen=True)
class PleuralModel:
    """One side's chest wall in polar form.

    Attributes:
        centre: row and column of the rays' origin, the same for all slices.
        radius: mm from the origin of every (row, column), [H, W]; ``ray``: the number of its ray.
        angles: radians from lateral (0) over posterior (pi / 2) to medial (pi), [RAYS]; anterior is negative.
        wall: inner surface of the chest wall on each ray, mm, [D, RAYS]; NaN where no rib is near.
        lung: outermost lung on each ray, mm, [D, RAYS]; NaN where the ray meets none.
        gap: this person's distance from lung to ribs where both touch, mm.
        pixel: step along the rays, mm.
        step: millimetres between slices.
        top: first slice in which the rays start inside the chest; the apex above it is too narrow for them.
    """

    centre: tuple[float, float]
    radius: FloatArray
    ray: npt.NDArray[np.intp]
    angles: npt.NDArray[np.float64]
    wall: npt.NDArray[np.float64]
    lung: npt.NDArray[np.float64]
    gap: float
    top: int
    pixel: float
    step: float

    def within(self, limit: npt.NDArray[np.float64]) -> BoolArray:
        """Voxels, [D, H, W], no further from the origin than the limit of their slice and ray, [D, RAYS]; NaN: none."""
        narrowed = limit.astype(np.float32)
        narrowed[narrowed > limit] = np.nextafter(narrowed[narrowed > limit], np.float32(-np.inf))
        out = np.empty((len(limit), *self.radius.shape), dtype=bool)
        for k, own in enumerate(narrowed):  # slice by slice, so that what is looked up stays in the cache
            np.less_equal(self.radius, own.take(self.ray), out=out[k])
        return out

    @cached_property
    def known(self) -> BoolArray:
        """Voxels, [D, H, W], on rays and slices with a wall."""
        return ~np.isnan(self.wall).take(self.ray, axis=1)

    @cached_property
    def inside_wall(self) -> BoolArray:
        """Voxels nearer to the ray origin than the wall less the person's distance; all where no wall is known.

        None above the slices that the rays can see."""
        limit = np.where(np.isnan(self.wall), np.inf, self.wall - self._dense_gap)
        limit[: self.top] = 0.0
        return self.within(limit)

    @property
    def _dense_gap(self) -> float:
        """The distance from pleura to ribs where what lies inside is dense: the mean of lung and rib passes for bone
        later than that of fluid and rib, by up to a pixel."""
        return max(0.0, self.gap - 0.75 * self.pixel)

    @cached_property
    def inside_hull(self) -> BoolArray:
        """Voxels that the lung of neighbouring slices and rays encloses: a grey closing of its outermost points."""
        reach = np.nan_to_num(self.lung, nan=0.0)
        size = (2 * max(1, round(30.0 / self.step)) + 1, 15)
        pad = [(size[0], size[0]), (size[1], size[1])]
        wrapped = np.pad(np.pad(reach, [(0, 0), pad[1]], mode="wrap"), [pad[0], (0, 0)], mode="constant")
        limit = ndi.grey_closing(wrapped, size=size)[size[0] : -size[0], size[1] : -size[1]]
        limit[: self.top] = 0.0
        return self.within(limit)


def thick_bone(volume: FloatArray, thorax: Thorax) -> BoolArray:
    """What is as dense as bone and too thick for a rib: kidney, spleen or stomach with contrast, vertebrae."""
    return dilate(open_mask(volume > ORGAN_HU, THICKER_THAN_RIB_MM, thorax.spacing), 4.0, thorax.spacing)


def rib_surface(volume: FloatArray, lung: BoolArray, thick: BoolArray, thorax: Thorax, label: int) -> PleuralModel:
    """Rays from the middle of one hemithorax to its ribs.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lung: bool, same shape, the side's air-filled lung.
        thick: ``thick_bone`` of the same grid, which is no rib where ribs are looked for.
        thorax: landmarks of the same grid.
        label: the side.
    """
    _, height, width = volume.shape
    spacing = thorax.spacing
    centre = _ray_origin(lung, thorax, label)
    angles = np.linspace(-np.pi, np.pi, RAYS, endpoint=False)
    outward = -1.0 if label == RIGHT_LUNG else 1.0
    step = min(spacing[1], spacing[2])
    radii = np.arange(0.0, REACH_MM * thorax.scale, step)
    rows = centre[0] + np.sin(angles)[:, None] * radii / spacing[1]
    columns = centre[1] + outward * np.cos(angles)[:, None] * radii / spacing[2]
    inside = (rows > -0.5) & (rows < height - 0.5) & (columns > -0.5) & (columns < width - 0.5)
    i = np.clip(rows + 0.5, 0, height - 1).astype(np.intp)
    j = np.clip(columns + 0.5, 0, width - 1).astype(np.intp)
    own = lung[:, i, j] & inside
    outermost = np.where(own.any(axis=2), radii[radii.size - 1 - own[:, :, ::-1].argmax(axis=2)], np.nan)
    beyond = radii[None, None] > np.where(np.isnan(outermost), 0.0, outermost)[:, :, None]
    bone = (volume[:, i, j] > RIB_HU) & inside & beyond
    ribs = rib_sector(angles)
    bone[:, ribs] &= ~thick[:, i[ribs], j[ribs]]
    wall = np.where(bone.any(axis=2), radii[bone.argmax(axis=2)], np.nan)
    wall = _between_known(_smooth_wall(wall, thorax), thorax)
    gap = wall - outermost
    usual = gap[(np.abs(gap) < 12.0) & ribs[None]]
    person = float(np.clip(np.median(usual), 0.0, 8.0)) if usual.size > 20 else 3.0
    dy = (np.arange(height)[:, None] - centre[0]) * spacing[1]
    dx = (np.arange(width)[None] - centre[1]) * spacing[2] * outward
    radius = np.hypot(dy, dx).astype(np.float32)
    ray = np.rint((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * RAYS).astype(np.intp) % RAYS
    lateral = np.nan_to_num(outermost[:, np.abs(angles) < 0.6].max(axis=1), nan=0.0) > 12.0
    # Two steps further down: there a low percentile over neighbouring slices sees ribs, not the shoulder.
    first = int(lateral.argmax()) + int(np.ceil(8.0 / spacing[0])) if lateral.any() else thorax.bottom
    return PleuralModel(centre, radius, ray, angles, wall, outermost, person, first, step, spacing[0])


def _ray_origin(lung: BoolArray, thorax: Thorax, label: int) -> tuple[float, float]:
    """Middle of one hemithorax: half-way from midline to lateral wall, and from front to back of the chest."""
    columns = np.flatnonzero(lung.any(axis=(0, 1)))
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    lateral = float(columns[0] if label == RIGHT_LUNG else columns[-1])
    middle = float(np.median(thorax.midline[thorax.top : thorax.bottom + 1]))
    return 0.5 * float(rows[0] + rows[-1]), 0.5 * (middle + lateral)


def rib_sector(angles: npt.NDArray[np.float64]) -> BoolArray:
    """Rays that meet bony ribs: from a little before lateral to the back, up to the spine."""
    return (angles > -0.5) & (angles < 2.2)


def _smooth_wall(wall: npt.NDArray[np.float64], thorax: Thorax) -> npt.NDArray[np.float64]:
    """Low percentile over neighbouring rays and slices: between two ribs a ray goes on to the shoulder blade."""
    reach = max(1, round(16.0 / thorax.spacing[0]))
    far = np.where(np.isnan(wall), 1e6, wall)
    wrapped = np.concatenate([far[:, -2:], far, far[:, :2]], axis=1)
    low = ndi.percentile_filter(wrapped, 33, size=(2 * reach + 1, 5), mode="nearest")[:, 2:-2]
    return np.where(low > 1e5, np.nan, low)


def _between_known(wall: npt.NDArray[np.float64], thorax: Thorax) -> npt.NDArray[np.float64]:
    """The wall where thin ribs were averaged away, as the mean of what is known around it on the rays of ribs."""
    known = ~np.isnan(wall)
    sigma = (BETWEEN_MM / thorax.spacing[0], BETWEEN_RAYS)
    weight = ndi.gaussian_filter(known.astype(np.float64), sigma, mode=("nearest", "wrap"), truncate=2.0)
    level = ndi.gaussian_filter(np.where(known, wall, 0.0), sigma, mode=("nearest", "wrap"), truncate=2.0)
    angles = np.linspace(-np.pi, np.pi, RAYS, endpoint=False)
    fill = ~known & (weight > 0.05) & rib_sector(angles)
    return np.where(fill, level / np.maximum(weight, 1e-6), wall)
