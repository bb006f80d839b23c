"""Dense disease: consolidation, masses and effusion that a threshold leaves out of the lung.

Each hemithorax is looked at along rays from its middle. The inner surface of the ribs is the first bone on each ray,
smooth over neighbouring rays and slices; on healthy rays the lung ends a few millimetres before it, and that distance
is the person's own. Where soft tissue much thicker than that lies between lung and ribs, it is pleural or lung disease.
What lies between lung and mediastinum, outside the zone where mediastinum can be, is dense lung too, if there is lung
below it. A side whose bottom is missing although the other side's goes on takes the other side's shape as prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from ..morphology import bounding_box, close, component_sizes, components, dilate, lowest_slices, open_mask
from ..types import LEFT_LUNG, RIGHT_LUNG, BoolArray, FloatArray, LabelArray
from .chest_wall import RIB_HU, PleuralModel, rib_sector, rib_surface, thick_bone
from .diaphragm import Floor, diaphragm_floors
from .fluid import behind_front, blood_density, fluid_at_floor, fluid_beside, organ_density, under_lung
from .thorax import Thorax

__all__ = ["add_leftovers", "fill_missing_side", "hemithoraces", "pleural_lungs"]

DENSE_HU = -150.0
FAT_HU, PURE_FAT_HU = -25.0, -90.0
PARTIAL_HU = -450.0

EXCESS_MM = 7.0
"""Soft tissue between lung and ribs beyond the person's own distance that counts as disease."""

MOST_ADDED = 5.0
"""How many times its own size a piece of disease may be continued into the mediastinum's zone: 12 ml of muscle brought
in 116 ml of liver in a real scan; with 1 instead, a tenth less of the phantoms' consolidations is found."""

MIN_DISEASE_ML, MIN_DISEASE_VOXELS = 8.0, 80


def hemithoraces(
    volume: FloatArray, lungs: LabelArray, thorax: Thorax
) -> tuple[dict[int, PleuralModel], dict[int, Floor]]:
    """The chest wall and the lower end of each side that has air-filled lung.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: closed aerated lungs, 1 right and 2 left.
        thorax: landmarks of the same grid.
    """
    models, thick = {}, thick_bone(volume, thorax)
    for label in (RIGHT_LUNG, LEFT_LUNG):
        own = lungs == label
        if own.any():
            models[label] = rib_surface(volume, own, thick, thorax, label)
    # An apex without air hides on its side where the rays begin to see ribs, not on the other.
    first = min((model.top for model in models.values()), default=0)
    models = {label: replace(model, top=first) for label, model in models.items()}
    return models, diaphragm_floors(lungs, models, thorax)


def pleural_lungs(
    volume: FloatArray,
    lungs: LabelArray,
    body: BoolArray,
    thorax: Thorax,
    zone: BoolArray,
    keep_out: BoolArray,
    models: dict[int, PleuralModel],
    floors: dict[int, Floor],
) -> tuple[LabelArray, BoolArray]:
    """Lungs with their dense disease and pleural fluid, and the organs that reach up beside fluid.

    Args:
        volume: HU on the working grid, [D, H, W] in the frame (I, P, L).
        lungs: closed aerated lungs, 1 right and 2 left.
        body: bool, same shape.
        thorax: landmarks of the same grid.
        zone: where mediastinum may be, ``central_zone``.
        keep_out: bool, voxels that are never lung (airways).
        models: chest wall of each side, ``hemithoraces``.
        floors: lower end of each side.
    """
    dense = (volume > DENSE_HU) & body & (lungs == 0) & ~keep_out
    free = dense & ~zone & (volume > PURE_FAT_HU)
    # Half a thick slice of air over half a slice of disease is as little dense as this.
    partial = (volume > PARTIAL_HU) & body & (lungs == 0) & ~keep_out & ~zone
    out, organ_beside = lungs.copy(), np.zeros(lungs.shape, dtype=bool)
    sides, organs = {}, []
    for label, model in models.items():
        own = lungs == label
        add = _between_lung_and_ribs(model) & free & (volume > FAT_HU)
        above = _above_diaphragm(own, floors[label].level, model, thorax, label)
        add |= above & free
        add = _keep_large(open_mask(add, 3.0, thorax.spacing), own, thorax.spacing)
        inside = _beyond_midline(thorax, label, own.shape[2]) & model.inside_wall & model.known
        seen = under_lung(volume, own, add, floors[label], inside & free, inside & dense & zone, thorax)
        inside &= free
        sides[label] = own, add, above, inside, seen
        organs += [seen.organ] if seen is not None else []
    everywhere = organ_density(np.concatenate(organs), thorax) if organs else np.nan
    for label, (own, found, above, inside, seen) in sides.items():
        add = found
        if seen is not None:
            density = organ_density(seen.organ, thorax)
            # A person's organs are about equally dense: what the liver shows helps where the stomach lies.
            density = everywhere if np.isnan(density) else density
            if not np.isnan(density):
                fluid, organ = fluid_at_floor(seen, density, own, found, floors[label], inside, thorax)
                add = (found & ~organ) | fluid
                organ_beside |= organ
        if not add.any():
            continue
        add |= dilate(add, 1.0, (1.0, 1.0, 1.0)) & above & partial
        add |= _up_to_bone(volume, add, thorax) & free & ~organ_beside
        joined = close(own | add, 5.0, thorax.spacing)
        grown = joined & (out == 0) & ~zone & ~keep_out & models[label].inside_wall & ~organ_beside
        out[grown | add] = label
        out[_beside_mediastinum(out, own, dense & zone, thorax, label)] = label
        central = dense & zone & ~organ_beside & (out == 0) & _beyond_midline(thorax, label, own.shape[2], 0.0)
        blood_hu = blood_density(volume, dense & zone, thorax)
        out[fluid_beside(volume, (out == label) & ~own, central, blood_hu, thorax)] = label
    return out, organ_beside


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
    count = component_sizes(lungs, LEFT_LUNG)
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
    floors: dict[int, Floor],
    keep_out: BoolArray,
) -> LabelArray:
    """Give the lung what the mediastinum did not take of the soft tissue inside the ribs, beside the spine."""
    out = labels.copy()
    free = (volume > FAT_HU) & body & (labels == 0) & ~keep_out
    beside = thorax.before_spine(labels.shape[1]) < 30.0
    for label, model in models.items():
        own = labels == label
        floor = np.maximum(lowest_slices(own), floors[label].level)
        add = _above_diaphragm(own, floor, model, thorax, label) & free & (beside | model.inside_hull)
        add = _keep_large(open_mask(add, 3.0, thorax.spacing), own, thorax.spacing)
        out[add | (_up_to_bone(volume, add, thorax) & free)] = label
    return out


def _between_lung_and_ribs(model: PleuralModel) -> BoolArray:
    """Voxels beyond the lung's outermost point and before the ribs, on rays with too much between them."""
    limit = model.wall - model.gap
    excess = (limit - model.lung > EXCESS_MM) & rib_sector(model.angles)[None]
    excess[: model.top] = False
    out = np.zeros((len(limit), *model.radius.shape), dtype=bool)
    for k in np.flatnonzero(excess.any(axis=1)):
        start = np.where(excess[k], model.lung[k], np.inf).take(model.ray)
        stop = np.where(excess[k], limit[k], -np.inf).take(model.ray)
        out[k] = (model.radius > start) & (model.radius <= stop)
    return out


def _above_diaphragm(
    lung: BoolArray, floor: npt.NDArray[np.float64], model: PleuralModel, thorax: Thorax, label: int
) -> BoolArray:
    """Tissue inside the ribs of its side over the floor of that side: over the diaphragm, so not liver."""
    side = _beyond_midline(thorax, label, lung.shape[2])[:, 0]
    used = np.flatnonzero(side.any(axis=0))
    out = np.zeros(lung.shape, dtype=bool)
    if used.size == 0:
        return out
    columns = slice(int(used[0]), int(used[-1]) + 1)
    lowest = np.floor(np.clip(np.nan_to_num(floor[:, columns], nan=-1.0), -1.0, len(lung))).astype(np.int16)
    bony = (model.angles > -0.5)[model.ray][:, columns]
    for k in range(max(0, model.top), min(len(lung), int(lowest.max(initial=-1)) + 1)):
        # In front the ribs are cartilage, which no threshold finds: there the lung itself must lie before the tissue.
        enclosed = np.logical_or.accumulate(lung[k, :, columns], axis=0)
        enclosed |= bony & model.known[k, :, columns]
        enclosed |= model.inside_hull[k, :, columns]
        out[k, :, columns] = enclosed & (lowest >= k) & side[k, columns] & model.inside_wall[k, :, columns]
    return out


def _beyond_midline(thorax: Thorax, label: int, width: int, least_mm: float = 18.0) -> BoolArray:
    """Columns of one side so far (adult) from the midline, by default those that are no spine, [D, 1, W]."""
    return thorax.from_midline(width) * (-1.0 if label == RIGHT_LUNG else 1.0) > least_mm * thorax.scale


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
    add: BoolArray = candidate & (across > inner) & (across < outer) & behind_front(disease)
    # The diaphragm: under the lowest air-filled lung of a row lies none of it beside the mediastinum.
    depth = air.shape[0]
    bottom = depth - 1 - np.asarray(air.any(axis=2))[::-1].argmax(axis=0)
    add &= np.arange(depth)[:, None, None] <= bottom[:, None]
    add &= open_mask(add | disease, 3.0, thorax.spacing)
    return _not_far_larger_than(add, disease)


def _not_far_larger_than(add: BoolArray, disease: BoolArray) -> BoolArray:
    """What is added beside pieces of disease that are not much smaller: a little muscle must not bring in the liver."""
    labels, count = components(add | disease)
    added = np.bincount(labels[add], minlength=count + 1)
    own = np.bincount(labels[disease], minlength=count + 1)
    return add & (added <= MOST_ADDED * own)[labels]


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
    out = np.zeros_like(mask)
    box = bounding_box(mask, tuple(int(max(spacing) / mm) + 2 for mm in spacing))
    labels, count = components(mask[box])
    if count == 0:
        return out
    least = max(MIN_DISEASE_ML * 1000.0 / float(np.prod(spacing)), MIN_DISEASE_VOXELS)
    large = component_sizes(labels, count) > least
    touching = np.zeros(count + 1, dtype=bool)
    touching[labels[dilate(lung[box], max(spacing), spacing)]] = True
    touching[0] = False
    out[box] = (large & touching)[labels]
    return out
