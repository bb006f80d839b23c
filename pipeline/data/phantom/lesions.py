"""Findings as plain data: what one scan has, where it lies and how large it is, before anything is painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .habitus import Habitus, lobe_of
from .settings import PhantomSettings
from .thorax import great_vessels, heart_parts

__all__ = ["LOBES", "Lesion", "Waves", "draw_lesions"]

LOBES = ("upper", "mid", "lower")
NODULES, MASS, CYST, CONSOLIDATION = slice(0, 2), 2, 3, 4  # places in Habitus.lobes
Rng = np.random.Generator


@dataclass(frozen=True)
class Waves:
    """A smooth random field that is the same on every grid: a sum of plane waves.

    Attributes:
        number: ``[K, 3]`` wave vectors along (z, y, x), radians per mm.
        phase: ``[K]``, radians.
    """

    number: NDArray[np.float32]
    phase: NDArray[np.float32]

    def __call__(self, z: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float32]:
        """Values of mean 0 and variance 1, for points or an open mesh in mm."""
        total: NDArray | float = 0.0
        for number, phase in zip(self.number, self.phase, strict=True):
            # exp(i k r) is a product of one factor along each axis: two multiplications for a whole mesh, no cosine.
            plane = np.exp(1j * (number[0] * z + phase)).astype(np.complex64) * np.exp(1j * number[1] * y)
            row = np.exp(1j * number[2] * x)
            total = total + plane.real.astype(np.float32) * row.real.astype(np.float32)
            total = total - plane.imag.astype(np.float32) * row.imag.astype(np.float32)
        return np.asarray(total * np.float32(np.sqrt(2 / len(self.phase))), np.float32)


@dataclass(frozen=True)
class Lesion:
    """One thing to paint, and one value of the lesion map.

    Attributes:
        finding: one of the findings of the settings.
        side: ``right``, ``left`` or empty.
        lobe: ``upper``, ``mid``, ``lower`` or empty.
        centre: (z, y, x) mm, where it has one.
        axes: half axes or other measures, mm, as the finding's painter reads them.
        size_mm: largest diameter, as a report states it; 0 where none is stated.
        grade: 0 small, 1 moderate, 2 large or severe.
        waves: texture or ragged edge.
        path: ``[N, 3]`` points of wires and plaques, mm or shares of the heart's axes.
    """

    finding: str
    side: str = ""
    lobe: str = ""
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: tuple[float, ...] = ()
    size_mm: float = 0.0
    grade: int = 0
    waves: Waves | None = None
    path: NDArray[np.float32] | None = None

    @property
    def location(self) -> str:
        """Location name of the catalogue for a lung finding, such as ``right_upper`` or ``left_lung``."""
        return f"{self.side}_{self.lobe}" if self.lobe else f"{self.side}_lung"


def draw_lesions(finding: str, rng: Rng, habitus: Habitus, settings: PhantomSettings) -> list[Lesion]:
    """The lesions of one finding in one scan.

    Args:
        finding: a key of ``DEFAULT_PREVALENCE``.
        rng: random numbers of this finding in this scan.
        habitus: the person.
        settings: for the sizes of nodules.
    """
    return _DRAW[finding](rng, habitus, settings)


def _waves(rng: Rng, length: float, count: int = 6) -> Waves:
    """A field whose bumps are about ``length`` mm wide, with no direction preferred."""
    direction = rng.standard_normal((count, 3))
    direction /= np.sqrt((direction**2).sum(1, keepdims=True))
    number = direction * rng.uniform(0.7, 1.4, (count, 1)) * np.pi / length
    return Waves(number.astype(np.float32), rng.uniform(0, 2 * np.pi, count).astype(np.float32))


def _side(rng: Rng) -> int:
    return int(rng.choice([-1, 1]))


def _sides(rng: Rng, both: float, settings: PhantomSettings) -> list[int]:
    """Both sides in a share of the scans, unless findings lie on one only."""
    on_both = rng.random() < both
    return [-1, 1] if on_both and not settings.one_sided else [_side(rng)]


def _name(side: int) -> str:
    return "right" if side < 0 else "left"


def place_in_lobe(rng: Rng, habitus: Habitus, side: int, lobe: int, radius: float) -> tuple[float, float, float]:
    """A point of a lobe that keeps ``radius`` mm from pleura, diaphragm, heart and aorta, or comes nearest to that."""
    count = 128
    z = rng.uniform(0.03, 0.97, count) * habitus.height
    y = rng.uniform(-1, 1, count) * habitus.depth
    x = rng.uniform(0.1, 1, count) * habitus.width * side
    room = lung_depth(habitus, z, y, x) - radius
    for step in (-0.6, 0.6):
        room = np.where(lobe_of(habitus, z + step * radius, y) == lobe, room, room - 40)
    fits = np.flatnonzero(room >= 0)
    best = int(fits[0]) if len(fits) else int(room.argmax())
    return (float(z[best]), float(y[best]), float(x[best]))


def lung_depth(habitus: Habitus, z: NDArray, y: NDArray, x: NDArray) -> NDArray:
    """About how far (mm) points lie inside a lung, negative outside; room is kept for an enlarged heart."""
    pleura = (1 - habitus.cavity(z, y, x) ** (1 / 2.3)) * habitus.radius(z)
    inner = np.abs(x) - habitus.medial(z, y)
    base = 0.75 * (habitus.diaphragm(y, x) - z)
    depth = np.minimum(np.minimum(pleura, inner), np.minimum(base, z - 3))
    for centre, axes in heart_parts(habitus, 1.2):
        offset = np.stack([z, y, x]) - np.asarray(centre)[:, None]
        mean = float(np.mean(axes))
        depth = np.minimum(depth, (np.sqrt(((offset / mean) ** 2).sum(0)) - 1) * mean)
    for point, width in great_vessels(habitus)["aorta"][5:9]:
        depth = np.minimum(
            depth, np.sqrt((z - point[0]) ** 2 * 0.05 + (y - point[1]) ** 2 + (x - point[2]) ** 2) - width
        )
    return depth


def _nodules(rng: Rng, habitus: Habitus, settings: PhantomSettings) -> list[Lesion]:
    lesions: list[Lesion] = []
    for side, lobe in habitus.lobes[NODULES][: 1 + int(rng.random() < 0.3)]:
        size = float(rng.uniform(*settings.nodule_mm)) * settings.focal_scale
        shape = size / 2 * rng.uniform(0.85, 1.0, 3)
        shape[int(rng.integers(3))] = size / 2
        centre = place_in_lobe(rng, habitus, side, lobe, size / 2 + 1)
        lesions.append(Lesion("nodule", _name(side), LOBES[lobe], centre, tuple(shape), round(size)))
    return lesions


def _mass(rng: Rng, habitus: Habitus, settings: PhantomSettings) -> list[Lesion]:
    side, lobe = habitus.lobes[MASS]
    size = float(rng.uniform(48, 76)) * settings.focal_scale
    centre = place_in_lobe(rng, habitus, side, lobe, size / 2)
    axes = size / 2 * rng.uniform(0.8, 1.0, 3)
    axes[int(rng.integers(3))] = size / 2
    return [Lesion("mass", _name(side), LOBES[lobe], centre, tuple(axes), round(size), waves=_waves(rng, 14))]


def _consolidation(rng: Rng, habitus: Habitus, settings: PhantomSettings) -> list[Lesion]:
    side, lobe = habitus.lobes[CONSOLIDATION]
    centre = place_in_lobe(rng, habitus, side, lobe, 16)
    axes = tuple(rng.uniform(44, 68, 3) * settings.focal_scale)
    return [Lesion("consolidation", _name(side), LOBES[lobe], centre, axes, grade=1, waves=_waves(rng, 22))]


def _groundglass(rng: Rng, habitus: Habitus, settings: PhantomSettings) -> list[Lesion]:
    lobe = int(rng.choice([0, 1, 2, 2]))
    return [
        Lesion(
            "groundglass",
            _name(side),
            LOBES[lobe],
            place_in_lobe(rng, habitus, side, lobe, 14),
            tuple(rng.uniform(50, 75, 3) * settings.focal_scale),
            waves=_waves(rng, 18),
        )
        for side in _sides(rng, 0.6, settings)
    ]


def _effusion(rng: Rng, _: Habitus, settings: PhantomSettings) -> list[Lesion]:
    lesions = []
    for side in _sides(rng, 0.35, settings):
        grade = int(rng.choice([0, 1, 2], p=[0.3, 0.4, 0.3]))
        thickness = float(rng.uniform(*((24, 36), (44, 62), (70, 100))[grade]))
        top = (0.52, 0.38, 0.22)[grade] + float(rng.uniform(-0.05, 0.05))
        lesions.append(Lesion("pleural_effusion", _name(side), axes=(thickness, top), grade=grade))
    return lesions


def _emphysema(rng: Rng, _: Habitus, __: PhantomSettings) -> list[Lesion]:
    grade = int(rng.integers(3))
    reach = (0.62, 0.74, 1.3)[grade]
    waves = _waves(rng, 10, 8)
    lobe = "" if grade == 2 else "upper"
    return [Lesion("emphysema", side, lobe, axes=(reach,), grade=grade, waves=waves) for side in ("right", "left")]


def _atelectasis(rng: Rng, _: Habitus, settings: PhantomSettings) -> list[Lesion]:
    sides = _sides(rng, 0.3, settings)
    tilt = float(rng.uniform(-0.25, 0.25))
    return [
        Lesion("atelectasis", _name(side), "lower", axes=(float(rng.uniform(28, 50)), tilt), waves=_waves(rng, 30))
        for side in sides
    ]


def _cyst(rng: Rng, habitus: Habitus, settings: PhantomSettings) -> list[Lesion]:
    side, lobe = habitus.lobes[CYST]
    size = float(rng.uniform(38, 66)) * settings.focal_scale
    centre = place_in_lobe(rng, habitus, side, lobe, size / 2)
    return [Lesion("cyst", _name(side), LOBES[lobe], centre, tuple(size / 2 * rng.uniform(0.85, 1, 3)), round(size))]


def _coronary(rng: Rng, _: Habitus, __: PhantomSettings) -> list[Lesion]:
    """Plaques along the left anterior descending and right coronary arteries, as shares of the heart's axes."""
    grade = int(rng.integers(1, 3))
    left = np.stack([np.linspace(-0.75, 0.35, 12), np.linspace(-0.55, -0.30, 12), np.full(12, -0.75)], 1)
    right = np.stack([np.linspace(-0.55, 0.05, 8), np.linspace(0.55, 0.80, 8), np.linspace(-0.60, -0.30, 8)], 1)
    course = np.concatenate([left, right])
    course /= np.linalg.norm(course, axis=1, keepdims=True)
    first = rng.choice(len(left) - 2, 3 + grade, replace=False)
    other = len(left) + rng.choice(len(right) - 2, 2 + grade, replace=False)
    starts = np.concatenate([first, other])
    path = np.stack([course[starts], course[starts + 2]], 1) * 0.97
    radius = float(rng.uniform(3.2, 4.2))
    return [Lesion("coronary_calcification", axes=(radius,), grade=grade, path=path.astype(np.float32))]


def _aortic(rng: Rng, habitus: Habitus, _: PhantomSettings) -> list[Lesion]:
    """Plaques on the wall of the arch and the descending aorta."""
    points = great_vessels(habitus)["aorta"]
    grade = int(rng.integers(1, 3))  # at least moderate: less does not show on thick slices
    plaques = []
    radius = float(rng.uniform(4.0, 5.2))
    for _piece in range(9 + 5 * grade):
        piece = int(rng.choice([3, 4, 4, 5, 6, 7, 7]))
        (start, r0), (stop, r1) = points[piece], points[piece + 1]
        begin, axis = np.asarray(start), np.subtract(stop, start)
        share, angle = rng.uniform(0, 0.85), rng.uniform(0, 2 * np.pi)
        unit = axis / np.linalg.norm(axis)
        across = np.cross(unit, [0.3, 0.5, 0.8])
        across /= np.linalg.norm(across)
        normal = across * np.cos(angle) + np.cross(unit, across) * np.sin(angle)
        at = begin + axis * share + normal * (r0 + (r1 - r0) * share - radius)
        plaques.append([at, at + unit * rng.uniform(12, 26)])
    return [
        Lesion(
            "aortic_calcification",
            axes=(radius,),
            grade=grade,
            path=np.asarray(plaques, np.float32),
        )
    ]


def _cardiomegaly(rng: Rng, _: Habitus, __: PhantomSettings) -> list[Lesion]:
    scale = float(rng.uniform(1.20, 1.36))
    return [Lesion("cardiomegaly", axes=(scale,), grade=0 if scale < 1.25 else 1 if scale < 1.31 else 2)]


def _pericardial(rng: Rng, _: Habitus, __: PhantomSettings) -> list[Lesion]:
    grade = int(rng.choice([0, 1, 2], p=[0.35, 0.4, 0.25]))
    return [
        Lesion("pericardial_effusion", axes=(float(rng.uniform(*((7, 9), (10, 13), (14, 17))[grade])),), grade=grade)
    ]


def _pacemaker(rng: Rng, habitus: Habitus, _: PhantomSettings) -> list[Lesion]:
    h, side = habitus.height, 1 if rng.random() < 0.8 else -1
    above, beside = 0.15 * h, side * 0.55 * habitus.width
    pocket = (above, habitus.skin(above, beside) + 8 + 0.3 * habitus.fat, beside)
    leads = np.array(
        [pocket, (0.0, -40, side * 72), (0.04 * h, -16, side * 44), (0.17 * h, -24, -10 if side > 0 else -32),
         (0.23 * h, -17, -25), (0.50 * h, -10, -28), (0.60 * h, -14, -34), (0.70 * h, -38, -4), (0.75 * h, -46, 22)],
        np.float32,
    )  # fmt: skip
    return [Lesion("pacemaker", _name(side), centre=pocket, axes=(22, 5, 24), path=leads)]


def _catheter(rng: Rng, habitus: Habitus, _: PhantomSettings) -> list[Lesion]:
    h = habitus.height
    tip = float(rng.uniform(0.42, 0.52))
    path = np.array(
        [(-60, -10, -42), (-0.05 * h, -12, -42), (0.10 * h, -16, -34), (0.22 * h, -17, -25), (tip * h, -11, -28)],
        np.float32,
    )
    return [Lesion("catheter", "right", axes=(2.2,), path=path)]


_DRAW: dict[str, Callable[[Rng, Habitus, PhantomSettings], list[Lesion]]] = {
    "nodule": _nodules,
    "mass": _mass,
    "consolidation": _consolidation,
    "groundglass": _groundglass,
    "pleural_effusion": _effusion,
    "emphysema": _emphysema,
    "atelectasis": _atelectasis,
    "cyst": _cyst,
    "coronary_calcification": _coronary,
    "aortic_calcification": _aortic,
    "cardiomegaly": _cardiomegaly,
    "pericardial_effusion": _pericardial,
    "pacemaker": _pacemaker,
    "catheter": _catheter,
}
