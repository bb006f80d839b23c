"""Dense disease: consolidation, masses and effusion that a threshold leaves out of the lung.

Each hemithorax is looked at along rays from its middle. The inner surface of the ribs is the first bone on each ray,
smooth over neighbouring rays and slices; on healthy rays the lung ends a few millimetres before it, and that distance
is the person's own. Where soft tissue much thicker than that lies between lung and ribs, it is pleural or lung disease.
What lies between lung and mediastinum, outside the zone where mediastinum can be, is dense lung too, if there is lung
below it. A side whose bottom is missing although the other side's goes on takes the other side's shape as prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from .morphology import bounding_box, close, component_sizes, components, dilate, open_mask
from .thorax import Thorax
from .types import LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray

__all__ = ["PleuralModel", "add_leftovers", "fill_missing_side", "pleural_lungs", "rib_surface"]

RIB_HU = 150.0
DENSE_HU = -150.0
FAT_HU = -25.0
RAYS = 96
REACH_MM = 190.0
EXCESS_MM = 7.0
"""Soft tissue between lung and ribs beyond the person's own distance that counts as disease."""

MIN_DISEASE_ML = 8.0


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


def pleural_lungs(
    volume: FloatArray, lungs: LabelArray, body: BoolArray, thorax: Thorax, zone: BoolArray, keep_out: BoolArray
) -> tuple[LabelArray, dict[int, PleuralModel]]:
    """Lungs with their dense disease and pleural fluid, and the chest wall model of each side.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: closed aerated lungs, 1 right and 2 left.
        body: bool, same shape.
        thorax: landmarks of the same grid.
        zone: where mediastinum may be, ``central_zone``.
        keep_out: bool, voxels that are never lung (airways).
    """
    free = (volume > DENSE_HU) & body & ~zone & (lungs == 0) & ~keep_out
    out, models = lungs.copy(), {}
    for label in (RIGHT_LUNG, LEFT_LUNG):
        own = lungs == label
        if not own.any():
            continue
        model = models[label] = rib_surface(volume, own, thorax, label)
        add = _between_lung_and_ribs(model) & free & (volume > FAT_HU)
        add |= _above_diaphragm(own, model, thorax, label) & free
        add = _keep_large(open_mask(add, 3.0, thorax.spacing), own, thorax.spacing)
        if not add.any():
            continue
        add |= _up_to_bone(volume, add, thorax) & free
        joined = close(own | add, 5.0, thorax.spacing)
        grown = joined & (out == 0) & ~zone & ~keep_out & _inside_wall(model)
        out[grown | add] = label
    return out, models


def fill_missing_side(
    volume: FloatArray, lungs: LabelArray, body: BoolArray, thorax: Thorax, zone: BoolArray, keep_out: BoolArray
) -> LabelArray:
    """A white-out side by its mirror image: the dense tissue where the other lung's reflection lies.

    Done where one side holds less air-filled lung than 30 % of the other's and the reflection is mostly soft tissue.
    The result is a guess, and the scan is flagged for it.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: closed aerated lungs, 1 right and 2 left.
        body: bool, same shape.
        thorax: landmarks of the same grid.
        zone: where mediastinum may be, ``central_zone``.
        keep_out: bool, voxels that are never lung (airways).
    """
    out = lungs.copy()
    count = np.bincount(lungs.ravel(), minlength=3)
    missing, other = (RIGHT_LUNG, LEFT_LUNG) if count[RIGHT_LUNG] < count[LEFT_LUNG] else (LEFT_LUNG, RIGHT_LUNG)
    large = count[other] * float(np.prod(thorax.spacing)) > 400_000
    if not large or count[missing] > 0.3 * count[other]:
        return out
    image = _reflected(lungs == other, thorax)
    soft = image & body & (volume > DENSE_HU) & (volume < 250.0)
    if soft.sum() < 0.5 * image.sum():
        return out
    # The heart's zone is wide so that no heart is lost; half of it is left to the lung here.
    central = zone & (np.abs(thorax.from_midline(lungs.shape[2])) < 60.0 * thorax.scale)
    out[open_mask(soft & ~central & ~keep_out & (lungs == 0), 3.0, thorax.spacing)] = missing
    return out


def _reflected(mask: BoolArray, thorax: Thorax) -> BoolArray:
    """A mask reflected at the midline, slice by slice."""
    width = mask.shape[2]
    out = np.zeros_like(mask)
    for k in np.flatnonzero(mask.any(axis=(1, 2))):
        source = np.rint(2 * thorax.midline[k] - np.arange(width)).astype(np.intp)
        valid = (source >= 0) & (source < width)
        out[k][:, valid] = mask[k][:, source[valid]]
    return out


def add_leftovers(
    volume: FloatArray,
    labels: LabelArray,
    body: BoolArray,
    thorax: Thorax,
    models: dict[int, PleuralModel],
    keep_out: BoolArray,
) -> LabelArray:
    """Give the lung what the mediastinum did not take of the soft tissue inside the ribs, beside the spine."""
    out = labels.copy()
    free = (volume > FAT_HU) & body & (labels == 0) & ~keep_out & (thorax.before_spine(labels.shape[1]) < 30.0)
    for label, model in models.items():
        own = labels == label
        add = _above_diaphragm(own, model, thorax, label) & free
        add = _keep_large(open_mask(add, 3.0, thorax.spacing), own, thorax.spacing)
        out[add | (_up_to_bone(volume, add, thorax) & free)] = label
    return out


def rib_surface(volume: FloatArray, lung: BoolArray, thorax: Thorax, label: int) -> PleuralModel:
    """Rays from the middle of one hemithorax to its ribs."""
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
    wall = np.where(bone.any(axis=2), radii[bone.argmax(axis=2)], np.nan)
    wall = _smooth_wall(wall, thorax)
    gap = wall - outermost
    usual = gap[(np.abs(gap) < 12.0) & _rib_sector(angles)[None]]
    person = float(np.clip(np.median(usual), 0.0, 8.0)) if usual.size > 20 else 3.0
    dy = (np.arange(height)[:, None] - centre[0]) * spacing[1]
    dx = (np.arange(width)[None] - centre[1]) * spacing[2] * outward
    radius = np.hypot(dy, dx).astype(np.float32)
    ray = np.rint((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * RAYS).astype(np.intp) % RAYS
    lateral = np.nan_to_num(outermost[:, np.abs(angles) < 0.6].max(axis=1), nan=0.0) > 12.0
    # Two steps further down: there a low percentile over neighbouring slices sees ribs, not the shoulder.
    first = int(lateral.argmax()) + int(np.ceil(8.0 / spacing[0])) if lateral.any() else thorax.bottom
    return PleuralModel(centre, radius, ray, angles, wall, outermost, person, first)


def _ray_origin(lung: BoolArray, thorax: Thorax, label: int) -> tuple[float, float]:
    """Middle of one hemithorax: half-way from midline to lateral wall, and from front to back of the chest."""
    columns = np.flatnonzero(lung.any(axis=(0, 1)))
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    lateral = float(columns[0] if label == RIGHT_LUNG else columns[-1])
    middle = float(np.median(thorax.midline[thorax.top : thorax.bottom + 1]))
    return 0.5 * float(rows[0] + rows[-1]), 0.5 * (middle + lateral)


def _rib_sector(angles: npt.NDArray[np.float64]) -> BoolArray:
    """Rays that meet bony ribs: from a little before lateral to the back, up to the spine."""
    return (angles > -0.5) & (angles < 2.2)


def _smooth_wall(wall: npt.NDArray[np.float64], thorax: Thorax) -> npt.NDArray[np.float64]:
    """Low percentile over neighbouring rays and slices: between two ribs a ray goes on to the shoulder blade."""
    reach = max(1, round(16.0 / thorax.spacing[0]))
    far = np.where(np.isnan(wall), 1e6, wall)
    wrapped = np.concatenate([far[:, -2:], far, far[:, :2]], axis=1)
    low = ndi.percentile_filter(wrapped, 33, size=(2 * reach + 1, 5), mode="nearest")[:, 2:-2]
    return np.where(low > 1e5, np.nan, low)


def _inside_wall(model: PleuralModel) -> BoolArray:
    """Voxels nearer to the ray origin than the wall less the person's distance; all where no wall is known.

    None above the slices that the rays can see."""
    limit = np.where(np.isnan(model.wall), np.inf, model.wall - model.gap)
    limit[: model.top] = 0.0
    return model.radius[None] <= limit[:, model.ray]


def _between_lung_and_ribs(model: PleuralModel) -> BoolArray:
    """Voxels beyond the lung's outermost point and before the ribs, on rays with too much between them."""
    limit = model.wall - model.gap
    excess = (limit - model.lung > EXCESS_MM) & _rib_sector(model.angles)[None]
    excess[: model.top] = False
    start = np.where(excess, model.lung, np.inf)[:, model.ray]
    stop = np.where(excess, limit, -np.inf)[:, model.ray]
    return (model.radius[None] > start) & (model.radius[None] <= stop)


def _above_diaphragm(lung: BoolArray, model: PleuralModel, thorax: Thorax, label: int) -> BoolArray:
    """Tissue inside the ribs of its side with lung of that side below it: over the diaphragm, so not liver."""
    some = lung.any(axis=0)
    lowest = np.where(some, lung.shape[0] - 1 - lung[::-1].argmax(axis=0), -1)
    below = np.arange(lung.shape[0])[:, None, None] <= lowest
    across = thorax.from_midline(lung.shape[2]) * (-1.0 if label == RIGHT_LUNG else 1.0)
    # In front the ribs are cartilage, which no threshold finds: there the lung itself must lie before the tissue.
    first = np.where(lung.any(axis=1), lung.argmax(axis=1), lung.shape[1])
    before = np.arange(lung.shape[1])[None, :, None] >= first[:, None]
    bony = (model.angles > -0.5)[model.ray][None] & ~np.isnan(model.wall)[:, model.ray]
    return below & (across > 18.0 * thorax.scale) & (bony | before) & _inside_wall(model)


def _up_to_bone(volume: FloatArray, add: BoolArray, thorax: Thorax) -> BoolArray:
    """Soft tissue within 6 mm of dense disease in the gap between it and bone: parietal pleura is thinner than that."""
    out = np.zeros_like(add)
    box = bounding_box(add, tuple(int(15.0 / s) + 1 for s in thorax.spacing))
    if box[0].stop == box[0].start:
        return out
    bone, part = volume[box] > RIB_HU, add[box]
    gap = close(part | bone, 5.0, thorax.spacing) & dilate(part, 6.0, thorax.spacing)
    out[box] = gap & ~bone & (volume[box] > FAT_HU)
    return out


def _keep_large(mask: BoolArray, lung: BoolArray, spacing: Sequence[float]) -> BoolArray:
    """Components over 8 ml that touch the lung."""
    labels, count = components(mask)
    if count == 0:
        return mask
    large = component_sizes(labels, count) * float(np.prod(spacing)) / 1000.0 > MIN_DISEASE_ML
    touching = np.zeros(count + 1, dtype=bool)
    touching[np.unique(labels[dilate(lung, max(spacing), spacing)])] = True
    return (large & touching)[labels]
