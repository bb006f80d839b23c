"""Painting of lesions and confounders into a scan, each with its mask."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .canvas import Box, Canvas, cover, ellipsoid, splat, tube
from .habitus import Habitus, lobe_of
from .lesions import LOBES, Lesion
from .thorax import HEART_AXES, heart_parts
from .tissue import hounsfield

__all__ = ["PAINT_ORDER", "paint_confounder", "paint_lesion"]

Array = NDArray[np.float32]

PAINT_ORDER = (
    "emphysema", "groundglass", "atelectasis", "consolidation", "pleural_effusion", "mass", "cyst", "nodule",
    "coronary_calcification", "aortic_calcification", "catheter", "pacemaker",
)  # fmt: skip
"""From diffuse to focal, so that a nodule in ground glass keeps its own value in the lesion map."""


def paint_lesion(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, heart_scale: float) -> int:
    """Paint one lesion and enter it into the lesion map.

    Args:
        canvas: the grid, with the normal chest painted.
        habitus: the person.
        lesion: what to paint.
        value: its number in the lesion map.
        heart_scale: 1 normal, more when the heart is enlarged.

    Returns:
        Voxels entered into the map.
    """
    return _PAINT[lesion.finding](canvas, habitus, lesion, value, heart_scale)


def _lung_of(canvas: Canvas, box: Box, lesion: Lesion) -> Array:
    """Coverage of the lesion's own lung in a box."""
    x = canvas.x[:, :, box[2]]
    return canvas.lung[box] * (x < 0 if lesion.side == "right" else x > 0)


def _lobe_of(canvas: Canvas, box: Box, habitus: Habitus, lesion: Lesion) -> NDArray[np.bool_]:
    z, y, _ = canvas.mesh(box)
    return lobe_of(habitus, z, y) == LOBES.index(lesion.lobe)


def _lung_box(canvas: Canvas, habitus: Habitus, lesion: Lesion, top: float = 0.0, front: float = -1.1) -> Box | None:
    width = habitus.width + 8
    low, high = (-width, 0.0) if lesion.side == "right" else (0.0, width)
    return canvas.box(
        (top * habitus.height, front * habitus.depth, low), (habitus.height + 5, habitus.depth + 12, high)
    )


def _solid(canvas: Canvas, _: Habitus, lesion: Lesion, value: int, __: float) -> int:
    """Nodule: soft tissue, round."""
    shape = ellipsoid(canvas, lesion.centre, lesion.axes)  # type: ignore[arg-type]
    if shape is None:
        return 0
    box, coverage = shape
    coverage = coverage * _lung_of(canvas, box, lesion)
    canvas.blend(box, coverage, hounsfield("tumour"))
    return canvas.mark(box, coverage, value, 0.25)


def _patch(canvas: Canvas, lesion: Lesion, ragged: float) -> tuple[Box, Array] | None:
    """An ellipsoid whose edge is ragged by ``ragged`` of its radius, in the lesion's own lung."""
    reach = max(lesion.axes) * (1 + ragged)
    centre = np.asarray(lesion.centre)
    box = canvas.box(tuple(centre - reach), tuple(centre + reach))
    if box is None or lesion.waves is None:
        return None
    mesh = canvas.mesh(box)
    radius = np.sqrt(
        sum(np.square((m - np.float32(c)) / np.float32(a)) for m, c, a in zip(mesh, centre, lesion.axes, strict=True))
    )
    radius = radius + np.float32(ragged / 2) * np.clip(lesion.waves(*mesh), -2, 2)
    extent = float(np.mean(canvas.grid.spacing) / np.mean(lesion.axes))
    return box, cover(radius - 1, extent) * _lung_of(canvas, box, lesion)


def _mass(canvas: Canvas, _: Habitus, lesion: Lesion, value: int, __: float) -> int:
    shape = _patch(canvas, lesion, 0.18)
    if shape is None:
        return 0
    canvas.blend(*shape, hounsfield("tumour"))
    return canvas.mark(*shape, value)


def _consolidation(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, _: float) -> int:
    """Airless lung that ends at the fissure; the larger bronchi stay open."""
    shape = _patch(canvas, lesion, 0.35)
    if shape is None:
        return 0
    box, coverage = shape
    coverage = coverage * _lobe_of(canvas, box, habitus, lesion)
    bronchi = canvas.bronchi[box]
    canvas.blend(box, coverage * (1 - 0.9 * bronchi), np.maximum(canvas.hu[box], hounsfield("consolidation")))
    return canvas.mark(box, coverage, value)


def _groundglass(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, _: float) -> int:
    """Hazy lung through which the vessels stay visible."""
    shape = _patch(canvas, lesion, 0.35)
    if shape is None or lesion.waves is None:
        return 0
    box, coverage = shape
    coverage = coverage * _lobe_of(canvas, box, habitus, lesion)
    haze = -500 + 40 * lesion.waves(*canvas.mesh(box))
    canvas.blend(box, coverage, np.maximum(canvas.hu[box], haze))
    return canvas.mark(box, coverage, value)


def _emphysema(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, _: float) -> int:
    """Holes of air of 1 to 2 cm in lung that has lost density all over, from the apex down."""
    box = _lung_box(canvas, habitus, lesion)
    if box is None or lesion.waves is None:
        return 0
    z, y, x = canvas.mesh(box)
    involved = _lung_of(canvas, box, lesion) * np.clip((lesion.axes[0] - habitus.level(z)) / 0.10, 0, 1)
    if lesion.lobe:
        involved = involved * _lobe_of(canvas, box, habitus, lesion)
    holes = np.clip(0.45 + 0.7 * lesion.waves(z, y, x), 0.25, 1)
    air = canvas.hu[box] < -700  # vessels and airway walls stay
    canvas.blend(box, involved * holes * air, -985.0)
    return canvas.mark(box, involved, value)


def _atelectasis(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, _: float) -> int:
    """Collapsed lung on the diaphragm, thickest at the back: dense, with a sharp border."""
    box = _lung_box(canvas, habitus, lesion, top=0.4, front=-0.5)
    if box is None or lesion.waves is None:
        return 0
    z, y, x = canvas.mesh(box)
    thickness, tilt = lesion.axes
    behind = np.clip(0.35 + 0.75 * y / habitus.depth, 0, 1)
    top = habitus.diaphragm(y, x) - thickness * behind + tilt * (np.abs(x) - 70) * behind
    top = top.astype(np.float32) + 2 * lesion.waves(np.zeros_like(z[:1]), y, x)
    extent = float(np.hypot(canvas.grid.spacing[0], canvas.grid.spacing[1]))
    coverage = cover(top - z, extent) * _lung_of(canvas, box, lesion) * _lobe_of(canvas, box, habitus, lesion)
    coverage *= behind > 0.05
    canvas.blend(box, coverage, hounsfield("collapse"))
    return canvas.mark(box, coverage, value)


def _effusion(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, _: float) -> int:
    """Fluid behind the lung of a person lying on the back, deeper towards the base, climbing at the side wall."""
    if habitus.subpulmonic:
        return _subpulmonic(canvas, habitus, lesion, value)
    box = _lung_box(canvas, habitus, lesion, top=lesion.axes[1] - 0.05, front=-0.6)
    if box is None:
        return 0
    z, y, x = canvas.mesh(box)
    thickness, top = lesion.axes
    depth = thickness * np.clip((habitus.level(z) - top) / (0.92 - top), 0, 1) ** 0.7
    climb = 14 * np.clip(np.abs(x) / habitus.width - 0.5, 0, 1) ** 2 * 4
    surface = (habitus.depth - depth).astype(np.float32) - np.where(depth > 0, climb, -20).astype(np.float32)
    coverage = cover(surface - y, canvas.grid.spacing[1]) * _lung_of(canvas, box, lesion)
    canvas.blend(box, coverage, hounsfield("fluid"))
    return canvas.mark(box, coverage, value)


def _subpulmonic(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int) -> int:
    """The same fluid between lung and diaphragm, half as thick as it would stand behind the lung."""
    box = _lung_box(canvas, habitus, lesion, top=0.3)
    if box is None:
        return 0
    z, y, x = canvas.mesh(box)
    surface = (habitus.diaphragm(y, x) - 0.5 * lesion.axes[0]).astype(np.float32)
    extent = float(np.hypot(canvas.grid.spacing[0], 0.7 * canvas.grid.spacing[1]))
    coverage = cover(surface - z, extent) * _lung_of(canvas, box, lesion)
    canvas.blend(box, coverage, hounsfield("fluid"))
    return canvas.mark(box, coverage, value)


def _cyst(canvas: Canvas, _: Habitus, lesion: Lesion, value: int, __: float) -> int:
    """Air with a thin wall."""
    outer = ellipsoid(canvas, lesion.centre, lesion.axes)  # type: ignore[arg-type]
    inner = ellipsoid(canvas, lesion.centre, tuple(a - 3 for a in lesion.axes))  # type: ignore[arg-type]
    if outer is None:
        return 0
    box, coverage = outer
    coverage = coverage * _lung_of(canvas, box, lesion)
    canvas.blend(box, coverage, hounsfield("airway_wall"))
    if inner is not None:
        canvas.blend(inner[0], inner[1] * _lung_of(canvas, inner[0], lesion), hounsfield("air"))
    return canvas.mark(box, coverage, value)


def _wires(canvas: Canvas, points: Array, radius: float, hu: float, value: int) -> int:
    """Pieces between pairs of points ``[N, 2, 3]``, thinner than a voxel or not."""
    shape = splat(canvas, points[:, 0], points[:, 1], np.full(len(points), radius, np.float32))
    if shape is None:
        return 0
    canvas.blend(*shape, hu)
    return canvas.mark(*shape, value, 0.08)


def _coronary(canvas: Canvas, habitus: Habitus, lesion: Lesion, value: int, heart_scale: float) -> int:
    assert lesion.path is not None
    (centre, axes), _ = heart_parts(habitus, heart_scale)
    points = (lesion.path * np.asarray(axes)) @ HEART_AXES + np.asarray(centre)
    return _wires(canvas, points.astype(np.float32), lesion.axes[0], hounsfield("calcium"), value)


def _aortic(canvas: Canvas, _: Habitus, lesion: Lesion, value: int, __: float) -> int:
    assert lesion.path is not None
    return _wires(canvas, lesion.path, lesion.axes[0], hounsfield("calcium"), value)


def _catheter(canvas: Canvas, _: Habitus, lesion: Lesion, value: int, __: float) -> int:
    assert lesion.path is not None
    pairs = np.stack([lesion.path[:-1], lesion.path[1:]], 1)
    return _wires(canvas, pairs, lesion.axes[0], hounsfield("catheter"), value)


def _pacemaker(canvas: Canvas, _: Habitus, lesion: Lesion, value: int, __: float) -> int:
    """Leads (``value``) and the generator in its pocket (``value + 1``)."""
    assert lesion.path is not None
    pairs = np.stack([lesion.path[:-1], lesion.path[1:]], 1)
    marked = _wires(canvas, pairs, 1.3, hounsfield("lead"), value)
    can = ellipsoid(canvas, lesion.centre, lesion.axes)  # type: ignore[arg-type]
    if can is not None:
        canvas.blend(*can, hounsfield("lead"))
        canvas.mark(*can, value + 1, 0.3)
    return marked


_PAINT: dict[str, Callable[[Canvas, Habitus, Lesion, int, float], int]] = {
    "nodule": _solid,
    "mass": _mass,
    "consolidation": _consolidation,
    "groundglass": _groundglass,
    "pleural_effusion": _effusion,
    "emphysema": _emphysema,
    "atelectasis": _atelectasis,
    "cyst": _cyst,
    "coronary_calcification": _coronary,
    "aortic_calcification": _aortic,
    "catheter": _catheter,
    "pacemaker": _pacemaker,
}


def paint_confounder(canvas: Canvas, habitus: Habitus, kind: str, rng: np.random.Generator, value: int) -> int:
    """Metal token on the skin, or tube before the body; fat at the flanks is painted with the trunk.

    Returns:
        Voxels entered into the lesion map.
    """
    z = float(rng.uniform(0.35, 0.65)) * habitus.height
    x = float(rng.choice([-1, 1]) * rng.uniform(35, 80))
    skin = habitus.skin(z, x)
    if kind == "metal_token":
        shape = ellipsoid(canvas, (z, skin - 1.5, x), (11, 3.5, 11))
        if shape is None:
            return 0
        canvas.blend(*shape, hounsfield("token"))
        return canvas.mark(*shape, value, 0.2)
    top, bottom = (-80.0, skin - 16, x), (habitus.height + 90, skin - 14, x + float(rng.uniform(-20, 20)))
    outer, lumen = tube(canvas, top, bottom, 7.5), tube(canvas, top, bottom, 4.5)
    if outer is None or lumen is None:
        return 0
    canvas.blend(*outer, hounsfield("plastic"))
    canvas.blend(*lumen, hounsfield("air"))
    return canvas.mark(*outer, value)
