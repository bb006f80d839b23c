"""One CT in, organs out: the order of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from organcam.errors import DataError, did_you_mean

from .anatomy.airways import Airways, airway_wall, find_airways
from .anatomy.body import inner_air, is_padded
from .anatomy.bowel import find_bowel_gas
from .anatomy.closing import close_lungs, fill_small_holes
from .anatomy.diaphragm import Floor
from .anatomy.heart_zone import central_zone, with_bulges
from .anatomy.hilum import without_hilum
from .anatomy.lungs import find_lungs
from .anatomy.mediastinum import find_mediastinum
from .anatomy.midline import find_midline
from .anatomy.parts import PARTS, find_parts
from .anatomy.pleura import DENSE_HU, add_leftovers, fill_missing_side, hemithoraces, pleural_lungs
from .anatomy.rough import rough_labels
from .anatomy.thorax import Thorax, measure_thorax
from .anatomy.turned import LEAST_TURN_DEGREES, MOST_TURN_DEGREES, trunk_angle, turn
from .grid import WorkingGrid, make_working_grid, shear_degrees, to_frame
from .morphology import bounding_box
from .quality import Evidence, assess, measure, not_a_chest
from .reference import reference_lungs, reference_organs
from .refine import to_native
from .types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, Flag, LabelArray, OrganSegmentation, Quality
from .validate import check_array, check_geometry, check_hounsfield

__all__ = ["METHODS", "segment_organs"]

METHODS = ("organcam", "reference")

MARGIN_MM = (20.0, 45.0, 25.0)
"""What the later steps need around the air inside the body: ribs at the sides, the whole vertebra at the back."""


def segment_organs(
    volume_hu: npt.ArrayLike,
    *,
    affine: npt.ArrayLike | None = None,
    spacing: Sequence[float] | None = None,
    method: str = "organcam",
    parts: bool = False,
) -> OrganSegmentation:
    """Right lung, left lung, heart and mediastinum of a chest CT by image processing.

    Args:
        volume_hu: HU, [D0, D1, D2], any real dtype.
        affine: 4x4 from voxel to RAS+ millimetres; any orientation.
        spacing: millimetres for each axis instead of an affine; the array is then in the network frame: axis 0
            superior to inferior, axis 1 anterior to posterior, axis 2 patient right to left.
        method: ``organcam``, or ``reference`` for the published rule.
        parts: whether airways, descending aorta and heart are wanted too (``organcam`` only).

    Returns:
        Labels on the grid of the input, with quality and landmarks.

    Raises:
        ValueError: for an unknown method, a missing or impossible geometry, or an array that is not a volume.
        DataError: if the values are not those of a CT.
    """
    if method not in METHODS:
        msg = f"unknown segmentation method {method!r}; {did_you_mean(method, METHODS)}"
        raise ValueError(msg)
    if parts and method != "organcam":
        msg = f"parts=True needs method='organcam', got method={method!r}"
        raise ValueError(msg)
    volume = np.asarray(volume_hu)
    check_array(volume)
    check_geometry(affine, spacing)
    check_hounsfield(volume)
    out = np.zeros(volume.shape, dtype=np.uint8, order="F" if volume.flags.f_contiguous else "C")
    native, native_spacing = to_frame(volume, affine)
    frame, _ = to_frame(out, affine)
    if spacing is not None:
        native_spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    if method == "reference":
        return _segment_reference(native, native_spacing, out, frame)
    grid = make_working_grid(native, native_spacing)
    finer = np.zeros_like(out) if parts else None
    geometry = {"shear_degrees": 0.0 if affine is None else shear_degrees(affine)}
    seen_parts = None if finer is None else to_frame(finer, affine)[0]
    quality, landmarks, rough = _segment_grid(grid, geometry, frame, seen_parts)
    aerated = (out >> 2).astype(np.uint8, copy=False)
    out &= 3
    return OrganSegmentation(out, quality, landmarks, aerated=aerated, rough=rough, parts=finer)


def _segment_grid(
    grid: WorkingGrid, geometry: dict[str, float], frame: LabelArray, finer: LabelArray | None = None
) -> tuple[Quality, dict[str, Any], bool]:
    """Segment on the working grid: labels (bits 0, 1) and aerated lungs (2, 3) to ``frame``, parts to ``finer``."""
    volume, spacing = grid.volume, grid.spacing
    air, body, cut = inner_air(volume, spacing)
    if not body.any():
        msg = "no body was found: nothing denser than -400 HU is thicker than 6 mm"
        raise DataError(msg)
    angle = trunk_angle(body | air, air, spacing)
    geometry = geometry | {"turned_degrees": abs(angle)}
    angle = angle if LEAST_TURN_DEGREES < abs(angle) < MOST_TURN_DEGREES else 0.0
    lying = body
    if angle:
        volume = turn(volume, angle, spacing)
        air, body, cut = inner_air(volume, spacing)
    if not air.any():
        return _write_rough(lying, grid, frame, 0.0)

    def turned_back(labels: LabelArray) -> LabelArray:
        return turn(labels, -angle, spacing) if angle else labels

    midline = find_midline(volume, body, spacing)
    box = bounding_box(air, tuple(int(mm / s) + 1 for mm, s in zip(MARGIN_MM, spacing, strict=True)))
    part, air, trunk, inner = np.ascontiguousarray(volume[box]), air[box].copy(), body[box].copy(), midline.crop(box)
    airways = find_airways(part, air, inner, spacing)
    wall = airway_wall(airways, inner, spacing)
    air &= ~find_bowel_gas(part, air & ~wall, spacing)
    aerated = find_lungs(part, air, wall, inner, spacing)
    closed = close_lungs(aerated, wall, spacing)
    if not closed.any():
        return _write_rough(lying, grid, frame, float(air.sum()) * grid.voxel_ml)
    thorax = measure_thorax(part, closed, inner, airways, spacing, cut[box])
    closed = without_hilum(part, closed, aerated, trunk, thorax)
    labels, floors = _organs(part, closed, trunk, thorax, wall)
    ends = (box[0].start == 0, box[0].stop == volume.shape[0])
    seen = Evidence(part, labels, closed, cut[box], airways, thorax, is_padded(volume), *ends, floors)
    quality = assess(measure(seen) | geometry)
    full = [turned_back(_uncrop(x, box, volume.shape)) for x in (labels, closed, aerated)]
    to_native(full[0], full[1], full[2], grid, frame, redraw=bool(angle) or not grid.is_native)
    if finer is not None:
        found = find_parts(part, labels, airways, thorax)
        ml = np.bincount(found.ravel(), minlength=len(PARTS) + 1)[1:] * grid.voxel_ml
        named = {f"{name}_ml": float(value) for name, value in zip(PARTS, ml, strict=True)}
        quality = replace(quality, measures={**quality.measures, **named})
        inside = turned_back(_uncrop(found, box, volume.shape))
        finer[...] = inside[np.ix_(*(grid.lookup(axis) for axis in range(3)))]
    return quality, _landmarks(thorax, airways, box), False


def _write_rough(
    body: BoolArray, grid: WorkingGrid, frame: LabelArray, air_ml: float
) -> tuple[Quality, dict[str, Any], bool]:
    """The fallback for a scan without lungs."""
    labels = rough_labels(body)
    nothing = np.zeros_like(labels)
    to_native(labels, nothing, nothing, grid, frame, redraw=False)
    return not_a_chest(air_ml), {}, True


def _segment_reference(
    native: npt.NDArray[np.generic], spacing: tuple[float, float, float], out: LabelArray, frame: LabelArray
) -> OrganSegmentation:
    """The published rule on the volume as it is; its limits are in voxels and meant for 0.8 mm."""
    organs = reference_organs(reference_lungs(native))
    frame[...] = organs.labels
    ml = np.bincount(organs.labels.ravel(), minlength=4) * float(np.prod(spacing)) / 1000.0
    measures = dict(zip(("right_lung_ml", "left_lung_ml", "heart_mediastinum_ml"), map(float, ml[1:]), strict=True))
    sentence = "The published rule took a lung for missing (border beyond column 130 or before 300): the mask is empty."
    flags = (Flag("reference_bad", float(organs.extrema[4]), 130.0, sentence),) if organs.bad else ()
    return OrganSegmentation(out, Quality(flags, measures), {"extrema": organs.extrema})


def _landmarks(thorax: Thorax, airways: Airways, box: tuple[slice, ...]) -> dict[str, Any]:
    """Levels and curves in mm from the centre of the first voxel of the frame (I, P, L), turned upright."""
    z, y, x = ((float(s) + 0.5) for s in (box[0].start, box[1].start, box[2].start))
    dz, dy, dx = thorax.spacing
    lungs = slice(thorax.top, thorax.bottom + 1)
    return {
        "top_mm": (z + thorax.top) * dz,
        "bottom_mm": (z + thorax.bottom) * dz,
        "carina_mm": (z + thorax.carina) * dz,
        "carina_seen": airways.parted,
        "spine_front_mm": ((y + thorax.spine[lungs]) * dy).round(1).tolist(),
        "midline_mm": ((x + thorax.midline[lungs]) * dx).round(1).tolist(),
    }


def _organs(
    volume: npt.NDArray[np.float32], closed: LabelArray, body: BoolArray, thorax: Thorax, airway: BoolArray
) -> tuple[LabelArray, dict[int, Floor]]:
    """Pleural lungs and mediastinum from the closed lungs, and where each side ends below."""
    models, floors = hemithoraces(volume, closed, thorax)
    zone = central_zone(thorax, closed.shape, wet=LEFT_LUNG in floors and not floors[LEFT_LUNG].dry)
    zone = with_bulges(zone, (volume > DENSE_HU) & body & (closed == 0), closed, thorax)
    labels, organs = pleural_lungs(volume, closed, body, thorax, zone, airway, models, floors)
    guess = fill_missing_side(volume, closed, body, thorax, zone, airway)
    labels = np.where(labels == 0, guess, labels)
    labels[find_mediastinum(volume, labels, closed, body | airway, thorax, zone)] = HEART_MEDIASTINUM
    labels = add_leftovers(volume, labels, body, thorax, models, floors, airway | organs)
    for lung in (RIGHT_LUNG, LEFT_LUNG):
        labels[fill_small_holes(labels == lung, thorax.spacing) & (labels == 0) & ~airway] = lung
    return labels, floors


def _uncrop(labels: LabelArray, box: tuple[slice, ...], shape: tuple[int, ...]) -> LabelArray:
    full = np.zeros(shape, dtype=np.uint8)
    full[box] = labels
    return full
