"""One person: the measures from which a phantom is built, and the surfaces of the lungs.

Frame: (z, y, x) in mm, z = 0 at the lung apices and growing downwards, y growing to the back, x to the patient's left,
(y, x) = (0, 0) in the middle of the chest. All functions take arrays that broadcast, a grid's open mesh or points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Habitus", "draw_habitus", "lobe_of", "variants_of"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Habitus:
    """Measures of one person, in mm unless stated.

    Attributes:
        height: apex to costophrenic angle.
        width: half the inner width of the rib cage.
        depth: half its inner depth.
        fat: thickness of the fat under the skin.
        muscle: thickness of the chest wall's muscle.
        roundness: exponent of the body's cross-section (2 an ellipse, more is boxier).
        asymmetry: the left half's width over the right half's.
        dome_right, dome_left: height of the diaphragm's domes above the costophrenic angle.
        heart: scale of the heart.
        arms_down: whether the arms lie beside the body.
        blood: HU of blood.
        lung_hu: HU of the lung's middle; ``lung_slope``: HU from front to back (dependent lung is denser).
        shift: where the person lies in the scanner, (z, y, x).
        rib_phase, rib_pitch, rib_slope: place, distance and obliqueness of the ribs.
        vertebra: height of a vertebra with its disc.
        stomach: radius of the gas in the stomach.
        table: gap of the table's curve at x = 100.
        lobes: the six lobes as (side, lobe) in the order in which focal findings take them: no two share one, so that
            none hides in another, and adding one moves no other.
        aorta_aside: how much further to the left than usual the descending aorta lies.
        eventration: height of a bulge in the front of the right dome.
        wall_lean: how far the back of the rib cage leans forward at the lung's base.
        hernia: radius of the part of the stomach that lies in the chest behind the heart; 0 for none.
        subpulmonic: whether pleural fluid lies under the lung instead of behind it.
        narrow_right: the right half's width over the usual one.
    """

    height: float
    width: float
    depth: float
    fat: float
    muscle: float
    roundness: float
    asymmetry: float
    dome_right: float
    dome_left: float
    heart: float
    arms_down: bool
    blood: float
    lung_hu: float
    lung_slope: float
    shift: tuple[float, float, float]
    rib_phase: float
    rib_pitch: float
    rib_slope: float
    vertebra: float
    stomach: float
    table: float
    lobes: tuple[tuple[int, int], ...]
    aorta_aside: float = 0.0
    eventration: float = 0.0
    wall_lean: float = 0.0
    hernia: float = 0.0
    subpulmonic: bool = False
    narrow_right: float = 1.0

    # Surfaces of the chest

    def level(self, z: Array) -> Array:
        """Height as a share of the lung: 0 at the apex, 1 at the costophrenic angle."""
        return z / np.float32(self.height)

    def _spread(self, z: Array) -> Array:
        """How far the rib cage has opened at a level: 0 at the apex, 1 from nine tenths down."""
        t = np.clip(self.level(z) / 0.9, 0, 1)
        return (1 - (1 - t) ** 2.3) ** (1 / 2.3)

    def axis_x(self, z: Array) -> Array:
        """Distance of each lung's axis from the midline: the apices lie side by side, the bases share one oval."""
        return 50 * np.clip(1 - self.level(z) / 0.40, 0, 1) ** 1.5

    def cavity(self, z: Array, y: Array, x: Array) -> Array:
        """Relative radius to the power 2.3 of the chest cavity, 1 on the parietal pleura.

        A sum of one term in (z, x) and one in (z, y), so that a whole volume costs one addition.
        """
        spread, axis = self._spread(z), self.axis_x(z)
        half_width = np.maximum(50 + (self.width - 50) * spread - axis, 1)
        half_depth = np.maximum(self.depth * spread**0.8, 1)
        if self.wall_lean:
            lean = self.wall_lean * np.clip((self.level(z) - 0.5) / 0.5, 0, 1)
            half_depth = np.where(y > self.centre_y(z), np.maximum(half_depth - lean, 1), half_depth)
        side = np.where(x > 0, np.float32(self.asymmetry), np.float32(self.narrow_right))
        across = np.maximum(np.abs(x) / side - axis, 0) / half_width
        deep = np.abs(y - self.centre_y(z)) / half_depth
        closed = np.where(z < 0, np.float32(9), np.float32(0))
        return (across**2.3).astype(np.float32) + (deep**2.3 + closed).astype(np.float32)

    def radius(self, z: Array) -> Array:
        """Mean radius of the cavity at a level, to turn the relative radius into millimetres."""
        spread = self._spread(z)
        return np.sqrt(
            np.maximum(50 + (self.width - 50) * spread - self.axis_x(z), 6) * np.maximum(self.depth * spread**0.8, 6)
        )

    def centre_y(self, z: Array) -> Array:
        """Middle of the cavity from front to back; the apices lie further back."""
        return 20 * np.clip(1 - self.level(z) / 0.5, 0, 1) ** 2

    def spine_y(self, z: Array) -> Array:
        """Centre of the vertebral bodies: the curve of the back."""
        t = self.level(z)
        return self.depth * 0.60 + 2 - 34 * np.clip(0.45 - t, 0, 1) ** 1.5 * 2 - 22 * np.clip(t - 0.75, 0, 1) ** 1.3

    def medial(self, z: Array, y: Array) -> Array:
        """Half width of the mediastinum between the lungs, before heart and vessels take their room."""
        t = self.level(z)
        hilum = 7 * np.exp(-(((t - 0.45) / 0.10) ** 2))
        front = np.clip((y + 0.98 * self.depth) / (0.45 * self.depth), 0.12, 1)
        thymus = 12 * np.exp(-(((t - 0.18) / 0.16) ** 2)) * np.clip(0.5 - y / 24, 0, 1)
        behind = 0.4 * np.clip(y - self.spine_y(z) - 6, 0, 60)
        return (21 + hilum) * front + thymus * front + behind

    def diaphragm(self, y: Array, x: Array) -> Array:
        """Level z of the diaphragm's upper surface, ``[1, H, W]``: two domes and the tendon between them."""
        right = self._dome(y, x, -0.52 * self.width, self.dome_right)
        left = self._dome(y, x, 0.54 * self.width, self.dome_left)
        if self.eventration:
            away = ((x + 0.52 * self.width) / 32) ** 2 + ((y + 0.35 * self.depth) / 34) ** 2
            right = right - self.eventration * np.exp(-(away**2))
        tendon = self.height - 0.62 * min(self.dome_right, self.dome_left)
        blend = np.clip(np.abs(x) / 34, 0, 1)
        blend = blend * blend * (3 - 2 * blend)
        return (blend * np.where(x < 0, right, left) + (1 - blend) * tendon).astype(np.float32)

    def _dome(self, y: Array, x: Array, centre: float, rise: float) -> Array:
        # The dome falls slowly to the front and steeply into the posterior and lateral recess.
        away = ((x - centre) / (0.62 * self.width)) ** 2 + ((y + 10) / np.where(y > -10, 0.92, 1.15) / self.depth) ** 2
        return self.height - rise + rise * np.clip(away, 0, 1.6) ** 1.3

    # The body's outside

    def wall(self, z: Array, y: Array, x: Array, thickness: float) -> Array:
        """Relative radius of the trunk (to the power ``roundness``), ``thickness`` mm outside the ribs."""
        across, deep = self.wall_parts(z, y, x, thickness)
        return across + deep

    def wall_parts(self, z: Array, y: Array, x: Array, thickness: float) -> tuple[Array, Array]:
        """The two terms of :meth:`wall`, of (z, x) and of (z, y)."""
        t = self.level(z)
        shoulder = 38 * np.clip(0.28 - t, 0, 0.5) / 0.28
        half_width = self.width * (0.97 + 0.03 * np.clip(t, 0, 1)) + 10 + thickness + shoulder
        top = np.clip(0.30 - t, 0, 0.5) / 0.30
        half_depth = self.depth + 9 + thickness - 20 * top**1.2
        across = (np.abs(x) / half_width) ** self.roundness
        deep = (np.abs(y - 8 * top - 4) / half_depth) ** self.roundness
        return across.astype(np.float32), deep.astype(np.float32)

    def wall_radius(self, thickness: float) -> float:
        """Radius that turns :meth:`wall` into millimetres."""
        return float(np.sqrt((self.width + 10 + thickness) * (self.depth + 9 + thickness)))

    def skin(self, z: float, x: float) -> float:
        """y of the skin in front of a point: where the trunk's relative radius falls to 1."""
        y = np.linspace(-self.depth - 80, 0, 400)
        wall = self.wall(np.asarray(z), y, np.asarray(x), self.muscle + self.fat)
        return float(y[np.argmax(wall <= 1)])

    @property
    def back(self) -> float:
        """y of the skin on the back."""
        return self.depth + 9 + self.muscle + self.fat + 4


def draw_habitus(rng: np.random.Generator, arms_down: float, variants: Sequence[str] = ()) -> Habitus:
    """A random adult; ranges from the usual measures of adult chests in CT.

    Args:
        rng: the person's own stream; the variants take nothing from it, so that they change nothing else.
        arms_down: share of the people with the arms beside the body.
        variants: of the settings' ``VARIANTS``: a dome 35 mm higher, a bulge of 35 mm in the right one, a back that
            leans forward by 24 mm, 32 mm of stomach behind the heart, the descending aorta 18 mm further to the left,
            blood of 320 HU, pleural fluid under the lung, a half of the chest narrower by 28 % with its dome 25 mm
            higher.
    """
    return _varied(_usual_habitus(rng, arms_down), variants)


def variants_of(rng: np.random.Generator, variants: Sequence[str], share: float) -> tuple[str, ...]:
    """The variants that one person has; all of them for a share of 1.

    Args:
        rng: a stream of its own.
        variants: of the data set.
        share: of the people who have each of them.
    """
    return tuple(variant for variant, drawn in zip(variants, rng.random(len(variants)), strict=True) if drawn < share)


def _varied(habitus: Habitus, variants: Sequence[str]) -> Habitus:
    changes: dict[str, dict[str, float | bool]] = {
        "raised_right_dome": {"dome_right": habitus.dome_right + 35},
        "raised_left_dome": {"dome_left": habitus.dome_left + 35},
        "eventration": {"eventration": 35.0},
        "sloping_wall": {"wall_lean": 24.0},
        "hiatal_hernia": {"hernia": 32.0},
        "subpulmonic_fluid": {"subpulmonic": True},
        "lateral_aorta": {"aorta_aside": 18.0},
        "contrast": {"blood": 320.0},
        "small_right_lung": {"narrow_right": 0.72, "dome_right": habitus.dome_right + 25},
        "small_left_lung": {"asymmetry": 0.72 * habitus.asymmetry, "dome_left": habitus.dome_left + 25},
    }
    for variant in variants:
        habitus = replace(habitus, **changes[variant])  # type: ignore[arg-type]
    return habitus


def _usual_habitus(rng: np.random.Generator, arms_down: float) -> Habitus:
    size = rng.normal(0, 1)
    fat = float(np.clip(rng.gamma(4.0, 2.6), 3, 22))

    def near(mean: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, spread), low, high))

    return Habitus(
        height=near(238 + 10 * size, 12, 200, 270),
        width=near(128 + 5 * size, 6, 112, 146),
        depth=near(88 + 3 * size, 6, 74, 104),
        fat=fat,
        muscle=near(11, 3, 6, 18),
        roundness=near(2.45, 0.12, 2.2, 2.75),
        asymmetry=near(0.98, 0.015, 0.94, 1.02),
        dome_right=near(62, 8, 44, 80),
        dome_left=near(52, 8, 36, 68),
        heart=near(1.0, 0.05, 0.88, 1.1),
        arms_down=bool(rng.random() < arms_down),
        blood=near(42, 4, 32, 52),
        lung_hu=near(-866, 16, -900, -830),
        lung_slope=near(38, 12, 12, 65),
        shift=(near(0, 5, -10, 10), near(0, 5, -10, 10), near(0, 5, -10, 10)),
        rib_phase=float(rng.random()),
        rib_pitch=near(24, 1.5, 21, 27),
        rib_slope=near(0.42, 0.06, 0.28, 0.56),
        vertebra=near(23, 1.2, 20, 26),
        stomach=near(30, 8, 14, 46),
        table=near(9, 4, 2, 18),
        lobes=tuple((-1 if i < 3 else 1, int(i % 3)) for i in rng.permutation(6)),
    )


def lobe_of(habitus: Habitus, z: Array, y: Array) -> NDArray[np.uint8]:
    """Lobe of points in a lung: 0 upper, 1 middle (the lingula on the left), 2 lower.

    The oblique fissure runs from high at the back to low in front, the horizontal one meets it at half height.
    """
    t = habitus.level(z)
    oblique = 0.66 - 0.34 * y / np.float32(habitus.depth)
    return np.where(t > oblique, 2, np.where(t > 0.50, 1, 0)).astype(np.uint8)
