"""One phantom scan from its spec: pure, and the same in any order, process or slab size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .canvas import AIR, Box, Canvas, Grid, cover
from .cells import Cell, lesion_cells
from .habitus import Habitus
from .lesions import Lesion, draw_lesions
from .noise import add_noise
from .paint import PAINT_ORDER, paint_confounder, paint_lesion
from .placement import draw_placement, field_of_view, turned
from .plan import ScanSpec, generator, person
from .reports import write_report
from .settings import PhantomSettings
from .thorax import draw_trees, paint_airways, paint_heart, paint_lung_vessels, paint_lungs
from .tree import Segments
from .trunk import PAD_LEAST, paint_abdomen, paint_bones, paint_spine, paint_table, paint_trunk

Array = NDArray[np.float32]

__all__ = ["LesionRow", "PhantomScan", "render_scan"]

SLAB_VOXELS = 3_000_000
"""Slabs of this size keep a 405 x 420 x 420 scan under 1 GB and its arrays near the cache."""


@dataclass(frozen=True)
class LesionRow:
    """One row of ``lesions.csv``: what a value of the lesion map stands for.

    Attributes:
        value: in the lesion map.
        abnormality: of the catalogue; empty for a confounder, which is no finding.
        location: of the catalogue; empty for a confounder.
        kind: ``lesion`` or ``confounder``.
        confounder: which one, such as ``metal_token``; empty for a lesion.
        voxels: number of voxels with this value, after later ones have been painted over it.
    """

    value: int
    abnormality: str
    location: str
    kind: str
    confounder: str
    voxels: int


@dataclass(frozen=True)
class PhantomScan:
    """A rendered scan with its truth.

    Attributes:
        spec: what it was made from.
        hu: ``[D, H, W]`` int16, network frame (inferior, posterior, left).
        affine: voxel index to RAS+ mm.
        organs: uint8, 1 right lung, 2 left lung (whole pleural cavities), 3 heart and mediastinum.
        lesions: uint16, 0 or a value of ``rows``.
        rows: what the values stand for.
        cells: gold cells of the report.
        report: its text.
    """

    spec: ScanSpec
    hu: NDArray[np.int16]
    affine: NDArray[np.float64]
    organs: NDArray[np.uint8]
    lesions: NDArray[np.uint16]
    rows: tuple[LesionRow, ...]
    cells: tuple[Cell, ...]
    report: str


@dataclass(frozen=True)
class _Scene:
    habitus: Habitus
    trees: Segments
    lesions: list[tuple[int, Lesion]]
    confounders: list[tuple[int, str]]
    heart_scale: float
    pericardium: float


def render_scan(settings: PhantomSettings, spec: ScanSpec) -> PhantomScan:
    """Render one scan.

    Args:
        settings: the data set's settings.
        spec: one of :func:`plan_dataset`'s.

    Returns:
        Image, truth and report; equal for equal arguments.
    """
    scene = _draw_scene(settings, spec)
    placement = draw_placement(generator(settings, spec.base, "placement"), settings)
    grid = field_of_view(settings, scene.habitus, placement)
    hu = np.empty(grid.shape, np.int16)
    organs = np.zeros(grid.shape, np.uint8)
    lesions = np.zeros(grid.shape, np.uint16)
    noise = generator(settings, spec.base, "noise")
    level, carry = float(noise.uniform(*settings.noise_hu)), None
    for start, slab in grid.slabs(SLAB_VOXELS):
        part = slice(start, start + slab.shape[0])
        canvas = _paint(slab, scene, settings, spec)
        organs[part], lesions[part] = _organs(canvas), canvas.lesions
        if placement.degrees:
            canvas.hu = turned(canvas.hu, slab, placement.degrees, AIR, order=1)
            for truth in (organs, lesions):
                truth[part] = turned(truth[part], slab, placement.degrees, 0, order=0)
        carry = add_noise(canvas.hu, slab, noise, level, carry)
        hu[part] = np.clip(np.rint(canvas.hu), -1024, 3071)
    rows = _rows(scene, lesions)
    seen = {row.value for row in rows if row.voxels}
    visible = [lesion for value, lesion in scene.lesions if value in seen]
    report = write_report(visible, generator(settings, spec.base, "report"))
    return PhantomScan(spec, hu, grid.affine(), organs, lesions, rows, report.cells, report.text)


def _draw_scene(settings: PhantomSettings, spec: ScanSpec) -> _Scene:
    """All that is random except noise and words, each from its own stream: nothing moves when a finding is added."""
    habitus = person(settings, spec.base)
    generations = 5 if settings.voxel_mm[2] > 2.5 else 7
    trees = draw_trees(generator(settings, spec.base, "vessels"), habitus, generations)
    lesions: list[tuple[int, Lesion]] = []
    value = 1
    scale, pericardium = 1.0, 0.0
    for finding in spec.findings:
        for lesion in draw_lesions(finding, generator(settings, spec.base, finding), habitus, settings):
            lesions.append((value, lesion))
            value += 2 if finding == "pacemaker" else 1
            if finding == "cardiomegaly":
                scale = lesion.axes[0]
            elif finding == "pericardial_effusion":
                pericardium = lesion.axes[0]
    confounders = [(value + i, kind) for i, kind in enumerate(spec.confounders)]
    return _Scene(habitus, trees, lesions, confounders, scale, pericardium)


def _paint(grid: Grid, scene: _Scene, settings: PhantomSettings, spec: ScanSpec) -> Canvas:
    """Everything but noise, from the outside to the inside, then what is ill, from diffuse to focal."""
    canvas = Canvas(grid)
    habitus = scene.habitus
    paint_table(canvas, habitus)
    pads = paint_trunk(canvas, habitus, "body_wall_fat" in spec.confounders)
    wide, deep = habitus.width + 24, habitus.depth + 24
    chest = canvas.crop((-100.0, -deep, -wide), (habitus.height + 200, deep, wide))
    if chest is not None:
        _paint_chest(chest, scene)
    for finding in PAINT_ORDER:
        for value, lesion in scene.lesions:
            if lesion.finding == finding:
                paint_lesion(canvas, habitus, lesion, value, scene.heart_scale)
    for value, kind in scene.confounders:
        if pads is not None and kind == "body_wall_fat":
            canvas.mark((slice(None), slice(None), slice(None)), pads, value, PAD_LEAST)
        else:
            paint_confounder(canvas, habitus, kind, generator(settings, spec.base, "confounder " + kind), value)
    return canvas


def _paint_chest(canvas: Canvas, scene: _Scene) -> None:
    """Rib cage and what it holds, the upper abdomen included."""
    habitus, spacing = scene.habitus, canvas.grid.spacing
    radius = habitus.cavity(canvas.z, canvas.y, canvas.x)
    inside = cover((radius - 1) * (habitus.radius(canvas.z) / 2.3).astype(np.float32), spacing[2])
    above = cover(canvas.z - habitus.diaphragm(canvas.y, canvas.x), float(np.hypot(spacing[0], 0.7 * spacing[1])))
    paint_abdomen(canvas, habitus, inside, 1 - above)
    paint_lungs(canvas, habitus, inside, above)
    paint_bones(canvas, habitus, radius)
    paint_lung_vessels(canvas, habitus, scene.trees)
    paint_airways(canvas, habitus)
    heart, fluid = paint_heart(canvas, habitus, inside, scene.heart_scale, scene.pericardium)
    _limit_mediastinum(canvas, above, [*fluid, *heart])
    paint_spine(canvas, habitus)
    numbers = {lesion.finding: value for value, lesion in scene.lesions}
    for box, coverage in fluid:
        canvas.mark(box, coverage, numbers["pericardial_effusion"])
    for box, coverage in heart:
        canvas.mark(box, coverage, numbers.get("cardiomegaly", 0))


def _limit_mediastinum(canvas: Canvas, above: Array, heart: list[tuple[Box, Array]]) -> None:
    """Vessels and oesophagus above the apices and below the diaphragm are no mediastinum; the heart is, all of it."""
    canvas.mediastinum *= above
    canvas.mediastinum[canvas.z[:, 0, 0] < 0] = 0
    for box, coverage in heart:
        view = canvas.mediastinum[box]
        np.maximum(view, coverage, out=view)


def _organs(canvas: Canvas) -> NDArray[np.uint8]:
    sides = np.where(canvas.x < 0, 1, 2).astype(np.uint8)
    organs = (canvas.lung >= 0.5) * sides
    organs[canvas.mediastinum > 0.5] = 3
    return organs


def _rows(scene: _Scene, lesions: NDArray[np.uint16]) -> tuple[LesionRow, ...]:
    counts = np.bincount(lesions[lesions > 0], minlength=len(scene.lesions) * 2 + len(scene.confounders) + 2)
    rows = []
    for value, lesion in scene.lesions:
        for offset, abnormality, location in lesion_cells(lesion):
            number = value + offset
            rows.append(LesionRow(number, abnormality, location, "lesion", "", int(counts[number])))
    for value, kind in scene.confounders:
        rows.append(LesionRow(value, "", "", "confounder", kind, int(counts[value])))
    return tuple(rows)
