"""Dense disease: consolidation, masses and effusion that a threshold leaves out of the lung.

Each hemithorax is looked at along rays from its middle. The inner surface of the ribs is the first bone on each ray,
smooth over neighbouring rays and slices; on healthy rays the lung ends a few millimetres before it, and that distance
is the person's own. Where soft tissue much thicker than that lies between lung and ribs, it is pleural or lung disease.
What lies between lung and mediastinum, outside the zone where mediastinum can be, is dense lung too, if there is lung
below it. A side whose bottom is missing although the other side's goes on takes the other side's shape as prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from .morphology import bounding_box, close, component_sizes, components, dilate, open_mask
from .thorax import Thorax
from .types import LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray

__all__ = ["PleuralModel", "add_leftovers", "diaphragm_floors", "fill_missing_side", "pleural_lungs", "rib_surface"]

RIB_HU = 150.0
DENSE_HU = -150.0
FAT_HU = -25.0
PARTIAL_HU = -450.0
RAYS = 96
REACH_MM = 190.0

EXCESS_MM = 7.0
"""Soft tissue between lung and ribs beyond the person's own distance that counts as disease."""

MIN_DISEASE_ML, MIN_DISEASE_VOXELS = 8.0, 80

SIDE, BACK, FRONT = (-0.5, 0.5), (1.1, 2.2), -1.3
"""Angles of the rays that meet the lateral and the posterior recess, and of the first that are given a floor."""

DOME_PERCENT = 65.0

SEEN_FALL_MM, LEAST_FALL_MM, MOST_FALL_MM = 30.0, 57.0, 110.0
"""Fall of the diaphragm from dome to posterior recess (adult) that shows a recess with air (33 to 97 in three real
scans), the one taken where neither side shows any, and the largest that one side takes over from the other."""

TRUSTED_FALL = 0.5
"""A recess with air and at least this share of the other side's fall is normal: only gaps of twice the height count."""

FLOOR_MISSING_MM, FLOOR_NEAR_MM = 16.0, 4.0
FLOOR_MISSING_STEP, FLOOR_NEAR_STEP = 1.3, 0.25
FLOOR_MISSING_ML = 50.0
"""How far above the expected floor a lung must end (mm, and in slices) to count as cut short by dense disease, how far
at such a place's edge, and how large the whole place must be."""


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


def pleural_lungs(
    volume: FloatArray, lungs: LabelArray, body: BoolArray, thorax: Thorax, zone: BoolArray, keep_out: BoolArray
) -> tuple[LabelArray, dict[int, PleuralModel], dict[int, npt.NDArray[np.float64]]]:
    """Lungs with their dense disease and pleural fluid; the chest wall model and the diaphragm's floor of each side.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: closed aerated lungs, 1 right and 2 left.
        body: bool, same shape.
        thorax: landmarks of the same grid.
        zone: where mediastinum may be, ``central_zone``.
        keep_out: bool, voxels that are never lung (airways).
    """
    dense = (volume > DENSE_HU) & body & (lungs == 0) & ~keep_out
    free = dense & ~zone
    # Half a thick slice of air over half a slice of disease is as little dense as this.
    partial = (volume > PARTIAL_HU) & body & (lungs == 0) & ~keep_out & ~zone
    out, models = lungs.copy(), {}
    for label in (RIGHT_LUNG, LEFT_LUNG):
        own = lungs == label
        if own.any():
            models[label] = rib_surface(volume, own, thorax, label)
    # An apex without air hides on its side where the rays begin to see ribs, not on the other.
    first = min((model.top for model in models.values()), default=0)
    models = {label: replace(model, top=first) for label, model in models.items()}
    floors = diaphragm_floors(lungs, models, thorax)
    for label, model in models.items():
        own = lungs == label
        add = _between_lung_and_ribs(model) & free & (volume > FAT_HU)
        above = _above_diaphragm(own, floors[label], model, thorax, label)
        add |= above & free
        add = _keep_large(open_mask(add, 3.0, thorax.spacing), own, thorax.spacing)
        if not add.any():
            continue
        add |= dilate(add, 1.0, (1.0, 1.0, 1.0)) & above & partial
        add |= _up_to_bone(volume, add, thorax) & free
        joined = close(own | add, 5.0, thorax.spacing)
        grown = joined & (out == 0) & ~zone & ~keep_out & _inside_wall(model)
        out[grown | add] = label
        out[_beside_mediastinum(out, own, dense & zone, thorax, label)] = label
    return out, models, floors


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
    floors: dict[int, npt.NDArray[np.float64]],
    keep_out: BoolArray,
) -> LabelArray:
    """Give the lung what the mediastinum did not take of the soft tissue inside the ribs, beside the spine."""
    out = labels.copy()
    free = (volume > FAT_HU) & body & (labels == 0) & ~keep_out
    beside = thorax.before_spine(labels.shape[1]) < 30.0
    for label, model in models.items():
        own = labels == label
        floor = np.maximum(_lowest(own), floors[label])
        add = _above_diaphragm(own, floor, model, thorax, label) & free & (beside | _inside_lung_hull(model, thorax))
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
    return PleuralModel(centre, radius, ray, angles, wall, outermost, person, first, step)


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
    limit = np.where(np.isnan(model.wall), np.inf, model.wall - _dense_gap(model))
    limit[: model.top] = 0.0
    return model.radius[None] <= limit[:, model.ray]


def _dense_gap(model: PleuralModel) -> float:
    """The distance from pleura to ribs where what lies inside is dense: the mean of lung and rib passes for bone later
    than that of fluid and rib, by up to a pixel."""
    return max(0.0, model.gap - 0.75 * model.pixel)


def _inside_lung_hull(model: PleuralModel, thorax: Thorax) -> BoolArray:
    """Voxels that the lung of neighbouring slices and rays encloses: a grey closing of its outermost points."""
    reach = np.nan_to_num(model.lung, nan=0.0)
    size = (2 * max(1, round(30.0 / thorax.spacing[0])) + 1, 15)
    pad = [(size[0], size[0]), (size[1], size[1])]
    wrapped = np.pad(np.pad(reach, [(0, 0), pad[1]], mode="wrap"), [pad[0], (0, 0)], mode="constant")
    limit = ndi.grey_closing(wrapped, size=size)[size[0] : -size[0], size[1] : -size[1]]
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


def _above_diaphragm(
    lung: BoolArray, floor: npt.NDArray[np.float64], model: PleuralModel, thorax: Thorax, label: int
) -> BoolArray:
    """Tissue inside the ribs of its side over the floor of that side: over the diaphragm, so not liver."""
    below = np.arange(lung.shape[0])[:, None, None] <= floor
    across = thorax.from_midline(lung.shape[2]) * (-1.0 if label == RIGHT_LUNG else 1.0)
    # In front the ribs are cartilage, which no threshold finds: there the lung itself must lie before the tissue.
    first = np.where(lung.any(axis=1), lung.argmax(axis=1), lung.shape[1])
    before = np.arange(lung.shape[1])[None, :, None] >= first[:, None]
    bony = (model.angles > -0.5)[model.ray][None] & ~np.isnan(model.wall)[:, model.ray]
    enclosed = bony | before | _inside_lung_hull(model, thorax)
    return below & (across > 18.0 * thorax.scale) & enclosed & _inside_wall(model)


def _lowest(lung: BoolArray) -> npt.NDArray[np.float64]:
    """Lowest slice with lung of every (row, column), -1 where there is none, [H, W]."""
    return np.where(lung.any(axis=0), lung.shape[0] - 1.0 - lung[::-1].argmax(axis=0), -1.0)


def diaphragm_floors(
    lungs: LabelArray, models: dict[int, PleuralModel], thorax: Thorax
) -> dict[int, npt.NDArray[np.float64]]:
    """Lowest slice of each pleural cavity for every (row, column), [H, W]; -1 where there is none.

    The air-filled lung's own lowest point, or a dome where that lies much lower. The dome falls from its top with the
    square of the share of the way to the ribs, by as much as on this side or the other, whichever is more, and at the
    back at least as far as in any deep breath.

    Args:
        lungs: closed aerated lungs, 1 right and 2 left.
        models: chest wall of each side.
        thorax: landmarks of the same grid.
    """
    dz = thorax.spacing[0]
    lowest = {label: _lowest(lungs == label) for label in models}
    shares = {label: _share_of_way(model, thorax) for label, model in models.items()}
    seen = {label: _dome_and_falls(lowest[label], shares[label], model) for label, model in models.items()}
    usual = SEEN_FALL_MM * thorax.scale / dz
    # Both recesses reach down to about the same rib, however different the domes.
    base = np.fmax.reduce([dome + behind for dome, _, behind in seen.values()] or [np.nan])
    if not any(behind >= usual for _, _, behind in seen.values()):
        base = np.fmax.reduce([base] + [dome + LEAST_FALL_MM * thorax.scale / dz for dome, _, _ in seen.values()])
    floors = {}
    for label, model in models.items():
        share, (dome, lateral, own) = shares[label], seen[label]
        behind = min(base - dome, MOST_FALL_MM / dz)
        trusted = own >= max(usual, TRUSTED_FALL * behind)
        behind = own if trusted else behind
        fall = np.interp(model.angles, (0.0, BACK[0]), (min(np.fmax(lateral, 0.0), behind), behind))[model.ray]
        level = dome + fall * share**2
        level[(share > 1.05) | ~((model.angles > FRONT) & (model.angles < 2.8))[model.ray]] = -1.0
        missing = (level - lowest[label]) * dz
        short = _cut_short(missing, lowest[label] >= 0, thorax, 2.0 if trusted else 1.0)
        floors[label] = np.where(short, level + 0.5, lowest[label])
    return floors


def _cut_short(missing: FloatArray, footprint: BoolArray, thorax: Thorax, strict: float) -> BoolArray:
    """Columns, [H, W], in which the lung ends well above the expected floor, over an area and volume that matter."""
    dz, pixel = thorax.spacing[0], thorax.spacing[1] * thorax.spacing[2]
    near = missing > strict * max(FLOOR_NEAR_MM, FLOOR_NEAR_STEP * dz)
    seeds = missing > max(strict * FLOOR_MISSING_MM, FLOOR_MISSING_STEP * dz)
    labels, count = components(near, connectivity=4)
    counts = np.bincount(labels[seeds], minlength=count + 1)
    depth = np.where(footprint, missing, np.minimum(missing, 30.0))
    volume = np.bincount(labels.ravel(), weights=np.maximum(depth, 0.0).ravel(), minlength=count + 1) * pixel / 1000.0
    large = (counts * pixel > 1000.0) & (volume > strict * FLOOR_MISSING_ML)
    large[0] = False
    return large[labels]


def _dome_and_falls(
    lowest: npt.NDArray[np.float64], share: npt.NDArray[np.float64], model: PleuralModel
) -> tuple[float, float, float]:
    """Slice of the diaphragm's top beside the heart, and the slices by which it falls to the side and to the back."""

    def ring(angles: tuple[float, float], low: float, high: float) -> BoolArray:
        sector = ((model.angles > angles[0]) & (model.angles < angles[1]))[model.ray]
        return sector & (share > low) & (share < high) & (lowest >= 0)

    # Away from the heart, and from the back where fluid and airless lung lie.
    top = lowest[ring((-0.9, 0.4), 0.0, 0.6)]
    dome = float(np.percentile(top, DOME_PERCENT)) if top.size >= 5 else np.nan
    falls = []
    for angles in (SIDE, BACK):
        area = ring(angles, 0.55, 1.0)
        falls.append(float(np.median((lowest[area] - dome) / share[area] ** 2)) if area.sum() >= 8 else np.nan)
    return dome, falls[0], falls[1]


def _share_of_way(model: PleuralModel, thorax: Thorax) -> npt.NDArray[np.float64]:
    """Distance from the ray origin over that of the ribs near the lung's base, [H, W]."""
    base = slice(int(thorax.top + 0.6 * (thorax.bottom - thorax.top)), thorax.bottom + 1)
    known = np.where(np.isnan(model.wall[base]), model.lung[base], model.wall[base] - model.gap)
    edge = _upper_quartile(known)
    edge = np.where(np.isnan(edge), np.inf, np.maximum(edge, 1.0))
    return model.radius / edge[model.ray]


def _upper_quartile(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """75th percentile of every column's known values, [N, M] to [M]; `numpy.nanpercentile` takes 20 times as long."""
    ordered = np.sort(values, axis=0)  # NaN last
    place = 0.75 * np.maximum((~np.isnan(ordered)).sum(axis=0) - 1, 0)
    low, columns = place.astype(np.intp), np.arange(values.shape[1])
    below = ordered[low, columns]
    above = ordered[np.ceil(place).astype(np.intp), columns]
    return below + (above - below) * (place - low)


def _beside_mediastinum(
    labels: LabelArray, air: BoolArray, candidate: BoolArray, thorax: Thorax, label: int
) -> BoolArray:
    """The part of dense disease that reaches into the mediastinum's zone.

    Where dense disease meets the zone the lung's medial border is taken from the rows and slices around it in which
    air-filled lung shows it.
    """
    sign = -1.0 if label == RIGHT_LUNG else 1.0
    across = thorax.from_midline(labels.shape[2]) * sign
    far = np.float32(1e3)
    border = np.where(air, across, far).min(axis=2)
    disease = (labels == label) & ~air
    medial = np.where(disease, across, far).min(axis=2)
    seeds = (medial < far) & (medial < border)
    known = (border < far) & ~seeds
    if not seeds.any() or not known.any():
        return np.zeros_like(air)
    level = _from_known(border, known, thorax)
    # Rows beside them whose air begins much further out are hidden by the same disease.
    rows = (labels == label).any(axis=2)
    wanted = ndi.binary_propagation(seeds, mask=seeds | (rows & (np.minimum(border, medial) > level + 12.0)))
    if (wanted & known).any():
        level = _from_known(border, known & ~wanted, thorax)
    inner = np.where(wanted, level, far)[:, :, None]
    outer = np.where(wanted, np.minimum(border, medial), -far)[:, :, None]
    add = candidate & (across > inner) & (across < outer)
    return open_mask(add | disease, 3.0, thorax.spacing) & add


def _from_known(border: FloatArray, known: BoolArray, thorax: Thorax) -> FloatArray:
    """The border in every (slice, row) as the mean of the known ones around it; far away where none is near."""
    sigma = (25.0 / thorax.spacing[0], 25.0 / thorax.spacing[1])
    weight = ndi.gaussian_filter(known.astype(np.float32), sigma, mode="nearest", truncate=3.0)
    level = ndi.gaussian_filter(np.where(known, border, 0.0).astype(np.float32), sigma, mode="nearest", truncate=3.0)
    return np.where(weight > 0.01, level / np.maximum(weight, 1e-6), np.float32(1e3)).astype(np.float32)


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
    least = max(MIN_DISEASE_ML * 1000.0 / float(np.prod(spacing)), MIN_DISEASE_VOXELS)
    large = component_sizes(labels, count) > least
    touching = np.zeros(count + 1, dtype=bool)
    touching[np.unique(labels[dilate(lung, max(spacing), spacing)])] = True
    return (large & touching)[labels]
