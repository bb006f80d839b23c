"""Lungs, airways, heart and great vessels."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .canvas import Box, Canvas, Point, cover, ellipsoid, splat, tube, tube_distance
from .habitus import Habitus
from .tissue import hounsfield
from .tree import Segments, grow_trees

__all__ = [
    "HEART_AXES",
    "draw_trees",
    "great_vessels",
    "heart_parts",
    "paint_airways",
    "paint_heart",
    "paint_lung_vessels",
    "paint_lungs",
]

Array = NDArray[np.float32]

HEART_AXES = np.array([[0.50, -0.48, 0.72], [0.84, 0.10, -0.53], [0.18, 0.87, 0.46]])
HEART_AXES = np.linalg.qr(HEART_AXES.T)[0].T
"""Directions of the heart's long axis (down, forwards, left) and of the two across, rows in (z, y, x)."""

SEGMENTS = np.array(
    [
        (0.06, 0.25, 0.45), (0.22, -0.60, 0.50), (0.24, 0.60, 0.66), (0.40, -0.75, 0.62), (0.46, 0.10, 0.95),
        (0.62, -0.65, 0.80), (0.48, 0.88, 0.50), (0.88, -0.30, 0.86), (0.84, 0.45, 0.90), (0.92, 0.85, 0.52),
    ]
)  # fmt: skip
"""Where the ten segments of a lung lie near the pleura, as shares of its height, depth and width."""


def draw_trees(rng: np.random.Generator, habitus: Habitus, generations: int) -> Segments:
    """Arteries and veins of both lungs; the airways are the arteries' companions.

    The first generations are the same, however many follow: coarse grids do without those far below a pixel.
    """
    roots, aims = [], []
    for side in (-1, 1):
        for level, behind in ((0.45, 12.0), (0.52, 6.0)):
            places = SEGMENTS + rng.normal(0, 0.05, SEGMENTS.shape)
            aims.append(places * [habitus.height, habitus.depth, side * habitus.width])
            roots.append(np.tile([level * habitus.height, behind, side * 36.0], (len(places), 1)))

    def inside(z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.bool_]:
        return (habitus.cavity(z, y, x) < 0.9) & (np.abs(x) > 18) & (z < habitus.diaphragm(y, x) + 4)

    return grow_trees(rng, np.concatenate(roots), np.concatenate(aims), 3.4, generations, inside)


def paint_lungs(canvas: Canvas, habitus: Habitus, cavity: Array, above: Array) -> None:
    """Air of both lungs, and the mediastinum's fat between them.

    Args:
        canvas: the grid; its ``lung`` and ``mediastinum`` are filled.
        habitus: the person.
        cavity: coverage of the rib cage's inside, ``[D, H, W]``.
        above: coverage of what lies above the diaphragm, ``[D, H, W]``.
    """
    whole = (slice(None), slice(None), slice(None))
    chest = cavity * above
    beside = cover(habitus.medial(canvas.z, canvas.y).astype(np.float32) - np.abs(canvas.x), canvas.grid.spacing[2])
    np.multiply(chest, beside, out=canvas.lung)
    middle = chest - canvas.lung
    canvas.blend(whole, middle, hounsfield("mediastinal_fat"))
    behind_sternum = canvas.y < (habitus.spine_y(canvas.z) - 2).astype(np.float32)
    np.multiply(middle, behind_sternum, out=canvas.mediastinum)
    gradient = np.float32(habitus.lung_hu) + np.float32(habitus.lung_slope / (2 * habitus.depth)) * canvas.y
    canvas.blend(whole, canvas.lung, gradient)


def paint_lung_vessels(canvas: Canvas, habitus: Habitus, trees: Segments) -> None:
    """Vessels inside the lungs; on fine grids also the small airways beside them and the fissures."""
    _paint_branches(canvas, trees, 0.0, habitus.blood)
    if canvas.grid.spacing[2] > 2.5:
        return  # averages of wall and lumen, or of a fissure, do not show there
    arteries = trees.until(3)
    beside = arteries.radius[:, None] * np.array([0.7, 1.5, 0.0], np.float32)
    airways = Segments(
        arteries.start + beside, arteries.stop + beside, arteries.radius * np.float32(0.6), arteries.generation
    )
    _paint_branches(canvas, airways, 0.9, hounsfield("airway_wall"))
    lumen = _paint_branches(canvas, airways, 0.0, hounsfield("bronchus"))
    if lumen is not None:
        canvas.bronchi[lumen[0]] = lumen[1]
    if canvas.grid.spacing[2] < 1.6:
        whole = (slice(None), slice(None), slice(None))
        oblique = (0.66 - 0.34 * canvas.y / habitus.depth) * habitus.height
        sheet = cover(np.abs(canvas.z - oblique) * np.float32(0.94) - 0.4, max(0.8, canvas.grid.spacing[0]))
        canvas.blend(whole, sheet * canvas.lung * np.float32(0.25), hounsfield("soft_tissue"))


def _paint_branches(canvas: Canvas, trees: Segments, wall: float, hu: float) -> tuple[Box, Array] | None:
    shape = splat(canvas, trees.start, trees.stop, trees.radius + np.float32(wall))
    if shape is not None:
        box, coverage = shape
        coverage *= canvas.lung[box]
        canvas.blend(box, coverage, hu)
    return shape


def paint_airways(canvas: Canvas, habitus: Habitus) -> None:
    """Trachea, main and lobar bronchi, with walls."""
    h = habitus.height
    carina = (0.37 * h, 14.0, 0.0)
    right, left = (0.455 * h, 18.0, -34.0), (0.475 * h, 20.0, 42.0)
    pieces: list[tuple[Point, Point, float]] = [
        ((-60.0, -4.0, 0.0), (0.0, 2.0, 0.0), 9.0),
        ((0.0, 2.0, 0.0), carina, 8.6),
        (carina, right, 6.8),
        (carina, left, 6.2),
        (right, (0.36 * h, 18.0, -52.0), 4.2),
        (right, (0.56 * h, 24.0, -46.0), 5.0),
        ((0.56 * h, 24.0, -46.0), (0.62 * h, -8.0, -64.0), 3.4),
        ((0.56 * h, 24.0, -46.0), (0.72 * h, 40.0, -58.0), 4.0),
        (left, (0.38 * h, 6.0, 58.0), 4.4),
        (left, (0.60 * h, 30.0, 54.0), 4.6),
        ((0.60 * h, 30.0, 54.0), (0.74 * h, 42.0, 64.0), 3.8),
    ]
    shapes = [(tube_distance(canvas, *piece), piece[2]) for piece in pieces]
    for wall, tissue in ((1.4, "airway_wall"), (0.0, "bronchus")):
        for shape, radius in shapes:
            if shape is None:
                continue
            box, distance, extent = shape
            paint = canvas.organ if radius > 6 else canvas.blend  # main bronchi lie in the mediastinum, others in lung
            paint(box, cover(distance - wall, extent), hounsfield(tissue))


def heart_parts(habitus: Habitus, scale: float) -> tuple[tuple[Point, Point], tuple[Point, Point]]:
    """Centre and half axes (mm) of the ventricles and of the atria, for a heart of the given scale.

    An enlarged heart grows to the left, downwards and forwards, as on a radiograph; its base stays where it was.
    """
    size = scale * habitus.heart * habitus.height / 238
    grown = size - 1
    ventricles = (0.67 * habitus.height - 12 * grown, -0.29 * habitus.depth - 4 * grown, 20.0 + 36 * grown)
    atria = (0.575 * habitus.height, -2.0, -8.0 - 8 * grown)
    return (ventricles, (62 * size, 41 * size, 43 * size)), (atria, (36 * size, 30 * size, 44 * size))


@lru_cache(maxsize=16)
def great_vessels(habitus: Habitus) -> dict[str, list[tuple[Point, float]]]:
    """Centre lines (points in mm with radii) of the great vessels by name."""
    h, spine = habitus.height, habitus.spine_y
    arch = 0.25 * h

    aside = habitus.aorta_aside

    def front_of_spine(t: float) -> float:
        return float(spine(np.float32(t * h))) - 17

    return {
        "pulmonary_artery": [
            ((0.53 * h, -34, 20), 14), ((0.44 * h, -18, 20), 13.5), ((0.405 * h, 8, 30), 11), ((0.43 * h, 22, 44), 9),
        ],
        "right_pulmonary_artery": [((0.44 * h, -14, 16), 11), ((0.445 * h, -2, -12), 10.5), ((0.46 * h, 6, -40), 9)],
        "svc": [((0.19 * h, -18, -24), 8.5), ((0.52 * h, -10, -28), 9.5)],
        "ivc": [((0.70 * h, 12, -22), 11), ((1.2 * h, 22, -16), 11)],
        "left_vein": [((0.12 * h, -26, 30), 6), ((0.19 * h, -26, -2), 6.5), ((0.21 * h, -18, -22), 7)],
        "right_vein": [((-0.1 * h, -12, -44), 6), ((0.19 * h, -18, -24), 7.5)],
        "aorta": [
            ((0.545 * h, -20, -2), 15.5), ((0.44 * h, -28, -12), 16), ((0.32 * h, -24, -12), 15),
            ((arch + 4, -12, -4), 14), ((arch, 6, 10), 13.5), ((arch + 6, 24, 19), 13),
            ((0.34 * h, front_of_spine(0.34), 24 + aside), 12.5), ((0.6 * h, front_of_spine(0.6) - 3, 21 + aside), 12),
            ((0.9 * h, front_of_spine(0.9) - 8, 11 + aside / 2), 11.5), ((1.3 * h, front_of_spine(1.3) - 10, 8), 11),
        ],
        "brachiocephalic": [((arch - 4, -12, -4), 6.5), ((0.05 * h, -10, -16), 6), ((-0.2 * h, -4, -26), 4)],
        "left_carotid": [((arch - 6, 0, 5), 4), ((-0.2 * h, -4, 24), 3.6)],
        "left_subclavian": [((arch - 4, 12, 15), 5), ((0.08 * h, 12, 22), 4.6), ((-0.05 * h, 4, 52), 4.4)],
        "veins_right": [((0.55 * h, 8, -14), 7), ((0.56 * h, 10, -44), 6)],
        "veins_left": [((0.56 * h, 10, 6), 7), ((0.55 * h, 16, 40), 6)],
    }  # fmt: skip


def paint_heart(
    canvas: Canvas, habitus: Habitus, inside: Array, scale: float, effusion: float
) -> tuple[list[tuple[Box, Array]], list[tuple[Box, Array]]]:
    """Oesophagus, great vessels, heart and pericardium.

    Args:
        canvas: the grid.
        habitus: the person.
        inside: coverage of the rib cage's inside, ``[D, H, W]``, which the heart does not leave.
        scale: 1 normal, more when enlarged.
        effusion: thickness of the fluid in the pericardium, mm; 0 for none.

    Returns:
        (box, coverage) of each part of the heart, and of each part of the heart with its pericardial fluid.
    """
    heart = heart_parts(habitus, scale)

    def grown(by: float) -> list[tuple[Box, Array]]:
        shapes = []
        for (centre, axes), rotation in zip(heart, (HEART_AXES, None), strict=True):
            shape = ellipsoid(canvas, centre, (axes[0] + by, axes[1] + by, axes[2] + by), rotation)
            if shape is not None:
                shapes.append((shape[0], shape[1] * inside[shape[0]]))
        return shapes

    for box, coverage in grown(effusion + 5):
        canvas.organ(box, coverage, hounsfield("mediastinal_fat"))
    fluid = grown(effusion) if effusion else []
    for box, coverage in fluid:
        canvas.organ(box, coverage, hounsfield("pericardial_fluid"))
    _paint_oesophagus(canvas, habitus)
    if habitus.hernia:
        _paint_hernia(canvas, habitus)
    for points in great_vessels(habitus).values():
        for (start, radius), (stop, last) in pairwise(points):
            vessel = tube(canvas, start, stop, radius, last)
            if vessel is not None:
                canvas.organ(*vessel, habitus.blood)
    parts = grown(0.0)
    for box, coverage in parts:
        canvas.organ(box, coverage, hounsfield("myocardium"))
    return parts, fluid


def _paint_oesophagus(canvas: Canvas, habitus: Habitus) -> None:
    h = habitus.height
    levels = [(-0.2, 14.0, 4.0), (0.30, 27.0, 4.0), (0.50, 32.0, 5.0), (0.80, 30.0, 9.0), (0.98, 14.0, 20.0)]
    for (t0, y0, x0), (t1, y1, x1) in pairwise(levels):
        shape = tube(canvas, (t0 * h, y0, x0), (t1 * h, y1, x1), 7.5)
        if shape is not None:
            canvas.organ(*shape, hounsfield("oesophagus"))
        lumen = tube(canvas, (t0 * h, y0, x0), (t1 * h, y1, x1), 2.0) if t0 < 0.3 else None
        if lumen is not None:
            canvas.organ(*lumen, hounsfield("bronchus"))


def _paint_hernia(canvas: Canvas, habitus: Habitus) -> None:
    """A part of the stomach that has slid up through the diaphragm, behind the heart, with gas in its front."""
    radius = habitus.hernia
    hiatus = habitus.height - 0.62 * min(habitus.dome_right, habitus.dome_left)
    middle = (hiatus - 0.7 * radius, 18.0, 8.0)
    sac = ellipsoid(canvas, middle, (radius, 0.8 * radius, 1.1 * radius))
    gas = ellipsoid(canvas, (middle[0] - 4, middle[1] - 0.3 * radius, 8.0), (0.6 * radius, 0.35 * radius, 0.7 * radius))
    for shape, tissue in ((sac, "stomach_wall"), (gas, "stomach_gas")):
        if shape is not None:
            canvas.organ(*shape, hounsfield(tissue))
