"""The body around the lungs: fat, muscle, ribs, sternum, spine, shoulder blades, arms, table and upper abdomen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .canvas import Canvas, cover, ellipsoid, tube
from .habitus import Habitus
from .tissue import hounsfield

__all__ = ["PAD_LEAST", "paint_abdomen", "paint_bones", "paint_spine", "paint_table", "paint_trunk"]

Array = NDArray[np.float32]

PAD_LEAST = 0.05
"""Smallest share of a voxel that a pad takes: its mask holds every voxel that it changes."""


def paint_table(canvas: Canvas, habitus: Habitus) -> None:
    """A curved table of foam between two thin shells, under the back."""
    top = habitus.back + 2 - habitus.table * (canvas.x / 100) ** 2
    depth = canvas.y - top
    box = canvas.box((canvas.z[0, 0, 0], habitus.back - 45, -200.0), (canvas.z[-1, 0, 0], habitus.back + 45, 200.0))
    if box is None:
        return
    inside = depth[:, box[1], box[2]]
    extent = canvas.grid.spacing[1]
    core = cover(np.abs(inside - 16) - 16, extent)
    shell = cover(np.abs(np.abs(inside - 16) - 16) - 0.9, extent) * np.float32(
        min(1.0, 1.8 / extent) if extent > 1.8 else 1.0
    )
    canvas.blend(box, core, hounsfield("table_core"))
    canvas.blend(box, shell, hounsfield("table_shell"))


def paint_trunk(canvas: Canvas, habitus: Habitus, flank_fat: bool) -> Array | None:
    """Skin, fat and muscle of the trunk, the shoulders and arms; the chest cavity is left as soft tissue.

    Args:
        canvas: the grid.
        habitus: the person.
        flank_fat: whether thick pads of fat lie at both flanks (a confounder).

    Returns:
        Coverage of the pads, ``[D, H, W]``, or None.
    """
    whole = (slice(None), slice(None), slice(None))
    pads = None
    outer = _trunk_cover(canvas, habitus, habitus.muscle + habitus.fat)
    if flank_fat:
        pads = _flank_pads(canvas, habitus, outer)
        # Under the trunk, whose own coverage is painted over it, a pad's share of what is left of the voxel counts.
        canvas.blend(whole, pads / np.maximum(1 - outer, np.float32(1e-3)), hounsfield("fat"))
    fine = canvas.grid.spacing[2] < 2.5
    canvas.blend(whole, outer, hounsfield("skin" if fine else "fat"))
    if fine:
        canvas.blend(whole, _trunk_cover(canvas, habitus, habitus.muscle + habitus.fat - 2), hounsfield("fat"))
    canvas.blend(whole, _trunk_cover(canvas, habitus, habitus.muscle), hounsfield("muscle"))
    _paint_back(canvas, habitus, outer)
    for side in (-1, 1):
        _paint_shoulder(canvas, habitus, side)
    if habitus.arms_down:
        _paint_arms(canvas, habitus)
    return pads


def _trunk_cover(canvas: Canvas, habitus: Habitus, thickness: float) -> Array:
    # Scaled to voxels before the two terms meet: the sum is the only whole-volume step but for clipping.
    across, deep = habitus.wall_parts(canvas.z, canvas.y, canvas.x, thickness)
    scale = -np.float32(habitus.wall_radius(thickness) / habitus.roundness / canvas.grid.spacing[2])
    coverage = across * scale + (deep * scale + (np.float32(0.5) - scale))
    np.minimum(coverage, 1, out=coverage)
    return np.maximum(coverage, 0, out=coverage)


def _flank_pads(canvas: Canvas, habitus: Habitus, outer: Array) -> Array:
    """Fat bulging sideways and backwards below the armpits, away from heart, aorta and midline."""
    pads = np.zeros(canvas.grid.shape, np.float32)
    thickness = habitus.muscle + habitus.fat
    inner = 0.7 * habitus.width
    for low, high in ((-1e3, -inner), (inner, 1e3)):
        box = canvas.box((0.2 * habitus.height, -habitus.depth, low), (1e3, habitus.depth + 10, high))
        if box is None:
            continue
        z, y, x = canvas.mesh(box)
        level = np.clip((habitus.level(z) - 0.22) / 0.2, 0, 1)
        bulge = 21 * level * np.exp(-(((y - 30) / (0.55 * habitus.depth)) ** 4))
        wall = habitus.wall(z, y, np.maximum(np.abs(x) - bulge, 0), thickness)
        scale = habitus.wall_radius(thickness) / habitus.roundness
        pads[box] = cover((wall - 1) * np.float32(scale), canvas.grid.spacing[2]) - outer[box]
    pads[pads < PAD_LEAST] = 0
    return pads


def _paint_back(canvas: Canvas, habitus: Habitus, outer: Array) -> None:
    """Muscles beside the spine, the pectoral muscles, and the fat of the armpits."""
    bottom = habitus.height + 60
    back = habitus.depth + habitus.muscle
    for side in (-1, 1):
        shapes = (
            (tube(canvas, (-40, back - 8, side * 30), (bottom, back - 8, side * 27), 18), "muscle"),
            (ellipsoid(canvas, (0.27 * habitus.height, -habitus.depth - 5, side * 64), (52, 10, 54)), "muscle"),
            (ellipsoid(canvas, (0.14 * habitus.height, -8, side * (habitus.width + 14)), (50, 34, 10)), "fat"),
        )
        for shape, tissue in shapes:
            if shape is not None:
                box, coverage = shape
                canvas.blend(box, coverage * outer[box], hounsfield(tissue))


def _paint_arms(canvas: Canvas, habitus: Habitus) -> None:
    reach = habitus.width + 10 + habitus.muscle + habitus.fat + 48
    for side in (-1, 1):
        start, stop = (10.0, 15.0, side * (reach - 12)), (habitus.height + 80, 30.0, side * (reach + 6))
        for radius, tissue in ((46, "fat"), (36, "muscle"), (12, "cortex"), (7, "marrow")):
            shape = tube(canvas, start, stop, radius)
            if shape is not None:
                canvas.blend(*shape, hounsfield(tissue))


def paint_bones(canvas: Canvas, habitus: Habitus, cavity: Array) -> None:
    """Ribs with their cartilage, and the sternum.

    Args:
        canvas: the grid.
        habitus: the person.
        cavity: relative radius of the chest cavity, ``[D, H, W]``.
    """
    _paint_ribs(canvas, habitus, cavity)
    _paint_sternum(canvas, habitus)


def _paint_ribs(canvas: Canvas, habitus: Habitus, cavity: Array) -> None:
    low = (-6.0, -habitus.depth - 20, -habitus.width - 25)
    box = canvas.box(low, (habitus.height + 45, habitus.depth + 25, habitus.width + 25))
    if box is None:
        return
    z, y, _ = canvas.mesh(box)
    radius = habitus.radius(z)
    # Distance from the middle of a rib, which lies 5 mm outside the pleura and is 8 mm thick.
    shell = (cavity[box] - 1) * (radius / np.float32(2.3)) - 5
    np.abs(shell, out=shell)
    shell = cover(shell - 4, canvas.grid.spacing[2])
    phase = (z + habitus.rib_slope * (habitus.depth - y)) / np.float32(habitus.rib_pitch) + np.float32(
        habitus.rib_phase
    )
    across = (np.abs(phase - np.floor(phase) - np.float32(0.5)) * np.float32(habitus.rib_pitch)).astype(np.float32)
    thick = float(np.hypot(canvas.grid.spacing[0], canvas.grid.spacing[1] * habitus.rib_slope))
    stripe = cover(across - 6, thick)
    # The front ends are cartilage; below the chest's end only the back halves of the ribs go on.
    front = np.clip((y + 0.62 * habitus.depth) / 14, 0, 1)
    value = hounsfield("cartilage") + (hounsfield("rib") - hounsfield("cartilage")) * front
    lower = np.clip((y - (z - habitus.height) * 3) / 10 + 1, 0, 1) * np.clip((z + 6) / 4, 0, 1)
    canvas.blend(box, shell * (stripe * lower).astype(np.float32), value.astype(np.float32))


def _paint_sternum(canvas: Canvas, habitus: Habitus) -> None:
    """Manubrium and body, a flat bone of marrow in a thin cortex."""
    front = -habitus.depth - 6
    box = canvas.box((8, front - 14, -30), (0.68 * habitus.height, front + 30, 30))
    if box is None:
        return
    z, y, x = canvas.mesh(box)
    slope = front + 12 * np.clip(1 - (z - 10) / 45, 0, 1)
    half_width = 15 + 10 * np.clip((48 - z) / 10, 0, 1)
    ends = cover(np.abs(z - (10 + 0.33 * habitus.height)) - 0.33 * habitus.height, canvas.grid.spacing[0])
    outside = np.maximum(np.abs(y - slope) - 5.5, np.abs(x) - half_width).astype(np.float32)
    for inset, tissue in ((0.0, "cortex"), (1.8, "marrow")):
        canvas.outside(box, cover(outside + np.float32(inset), canvas.grid.spacing[1]) * ends, hounsfield(tissue))


def paint_spine(canvas: Canvas, habitus: Habitus) -> None:
    """Vertebrae with their discs, arches and processes, and the canal."""
    low, high = habitus.spine_y(canvas.z).min() - 25, habitus.spine_y(canvas.z).max() + 62
    box = canvas.box((canvas.z[0, 0, 0], low, -34), (canvas.z[-1, 0, 0], high, 34))
    if box is None:
        return
    z, y, x = canvas.mesh(box)
    extent = canvas.grid.spacing[2]
    offset = y - habitus.spine_y(z)
    phase = z / np.float32(habitus.vertebra)
    from_disc = np.abs(phase - np.rint(phase)) * np.float32(habitus.vertebra)
    disc = cover(from_disc - 2.6, canvas.grid.spacing[0]) * np.float32(
        min(1.0, 5.2 / canvas.grid.spacing[0]) if canvas.grid.spacing[0] > 5.2 else 1
    )
    radius = np.sqrt((offset / np.float32(0.80)) ** 2 + x * x).astype(np.float32)
    bone = hounsfield("marrow") * (1 - disc) + hounsfield("disc") * disc
    rim = hounsfield("cortex") * (1 - disc) + hounsfield("disc") * disc
    canvas.outside(box, cover(radius - 17, extent), rim.astype(np.float32))
    canvas.outside(box, cover(radius - 15, extent), bone.astype(np.float32))
    arch = np.sqrt((offset - 23) ** 2 + (x * np.float32(0.9)) ** 2)
    canvas.outside(box, cover(arch - 14, extent), hounsfield("rib"))
    spinous = np.maximum(np.abs(x) - 4, np.abs(offset - 42) - 13)
    gap = np.float32(1) - np.float32(0.7) * disc
    canvas.outside(box, cover(spinous, extent) * gap, hounsfield("rib"))
    transverse = np.maximum(np.abs(np.abs(x) - 20) - 10, np.abs(offset - 22 - np.float32(0.25) * np.abs(x)) - 4)
    canvas.outside(
        box,
        cover(transverse, extent) * cover(np.abs(from_disc - habitus.vertebra / 2) - 5, canvas.grid.spacing[0]),
        hounsfield("rib"),
    )
    canvas.outside(box, cover(np.sqrt((offset - 22) ** 2 + x * x) - 9, extent), hounsfield("canal"))


def _paint_shoulder(canvas: Canvas, habitus: Habitus, side: int) -> None:
    """Collar bone, shoulder blade with its muscles, and the head of the humerus."""
    wide, deep = habitus.width, habitus.depth
    clavicle = tube(canvas, (12, -deep + 6, side * 18), (-18, -deep * 0.35, side * (wide - 10)), 6)
    blade_tilt = np.array([[1.0, 0.0, 0.0], [0.0, 0.78, side * -0.62], [0.0, 0.62, side * 0.78]])
    centre = (0.30 * habitus.height, deep * 0.78, side * (wide * 0.82))
    muscles = ellipsoid(canvas, centre, (72, 46, 14), blade_tilt)
    blade = ellipsoid(canvas, centre, (62, 38, 3.2), blade_tilt)
    head = ellipsoid(canvas, (-14, 10, side * (wide + 34)), (22, 22, 22))
    for shape, tissue in ((muscles, "muscle"), (blade, "rib"), (clavicle, "rib"), (head, "marrow")):
        if shape is not None:
            canvas.blend(*shape, hounsfield(tissue))


def paint_abdomen(canvas: Canvas, habitus: Habitus, inside: Array, below: Array) -> None:
    """Fat, liver, spleen and the stomach with its gas, under the diaphragm.

    Args:
        canvas: the grid.
        habitus: the person.
        inside: coverage of the rib cage's inside, ``[D, H, W]``.
        below: coverage of what lies under the diaphragm, ``[D, H, W]``.
    """
    box = canvas.box(
        (habitus.height - max(habitus.dome_right, habitus.dome_left) - 5, -habitus.depth - 10, -habitus.width - 10),
        (float(canvas.z[-1, 0, 0]), habitus.depth + 10, habitus.width + 10),
    )
    if box is None:
        return
    z, y, x = canvas.mesh(box)
    room = inside[box] * below[box]
    canvas.blend(box, room, hounsfield("abdominal_fat"))
    # The liver fills the right side and thins out towards the left in front.
    edge = 22 - 0.5 * (y + 20) - 0.25 * (z - habitus.height)
    canvas.blend(box, room * cover((x - edge) * np.float32(0.85), canvas.grid.spacing[2]), hounsfield("liver"))
    spleen = ellipsoid(canvas, (habitus.height + 8, 42, 0.70 * habitus.width), (52, 38, 26))
    body = ellipsoid(canvas, (habitus.height + 4, -18, 0.42 * habitus.width), (46, 46, 40))
    # Gas rises to the front of a person lying on the back.
    gas = ellipsoid(
        canvas,
        (habitus.height - 4, -34, 0.42 * habitus.width),
        (habitus.stomach, 0.8 * habitus.stomach, habitus.stomach),
    )
    for shape, tissue in ((spleen, "spleen"), (body, "stomach_wall"), (gas, "stomach_gas")):
        if shape is not None:
            part, coverage = shape
            coverage = coverage * inside[part] * below[part]
            if tissue == "stomach_gas":  # the stomach's wall and the diaphragm lie between gas and lung
                z, y, x = canvas.mesh(part)
                coverage *= cover(habitus.diaphragm(y, x) + 9 - z, canvas.grid.spacing[0])
            canvas.blend(part, coverage, hounsfield(tissue))
