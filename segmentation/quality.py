"""Quality of one segmentation: measurements in ml and mm, and a flag with a sentence for each reason to doubt it.

The limits and sentences are data: ``quality_flags.csv``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from .anatomy.airways import Airways
from .anatomy.diaphragm import Floor
from .anatomy.thorax import Thorax
from .morphology import component_sizes, components, lowest_slices, open_mask
from .types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, Flag, FloatArray, LabelArray, Quality

__all__ = ["Evidence", "FlagRule", "assess", "flag_rules", "measure", "not_a_chest"]


@dataclass(frozen=True)
class FlagRule:
    """When a flag is raised.

    Attributes:
        name: of the flag.
        group: of several rules in one group only the first that applies is raised.
        measure: name of the measurement.
        relation: ``above`` or ``below``.
        limit: of the measurement; ml, mm, cm2 or a share.
        severity: ``bad`` or ``note``.
        sentence: with ``{value}``, or ``{percent}`` for shares.
    """

    name: str
    group: str
    measure: str
    relation: str
    limit: float
    severity: str
    sentence: str

    def applies(self, value: float) -> bool:
        """Whether the measurement breaks the limit."""
        return value > self.limit if self.relation == "above" else value < self.limit


@cache
def flag_rules() -> tuple[FlagRule, ...]:
    """All rules in the order in which they are tried."""
    with (files("organcam.segmentation") / "quality_flags.csv").open(encoding="utf-8") as table:
        return tuple(FlagRule(**{**row, "limit": float(row["limit"])}) for row in csv.DictReader(table))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Evidence:
    """What the steps saw, on the working grid; arrays [D, H, W]."""

    volume: FloatArray
    labels: LabelArray
    closed: LabelArray
    cut: BoolArray
    airways: Airways
    thorax: Thorax
    padded: bool
    starts_at_top: bool
    ends_at_bottom: bool
    floors: dict[int, Floor]


def measure(seen: Evidence) -> dict[str, float]:
    """Every measurement; see ``assess`` for what they mean."""
    spacing = seen.thorax.spacing
    voxel = float(np.prod(spacing)) / 1000.0
    pixel = spacing[1] * spacing[2] / 100.0
    count = component_sizes(seen.labels, HEART_MEDIASTINUM) * voxel
    aerated = component_sizes(seen.closed, LEFT_LUNG) * voxel
    lung = (seen.labels == RIGHT_LUNG) | (seen.labels == LEFT_LUNG)
    area = lung.sum(axis=(1, 2)) * pixel
    cut = float((seen.cut & lung).sum()) * voxel
    out = {
        "heart_mediastinum_ml": count[HEART_MEDIASTINUM],
        "total_ml": count[RIGHT_LUNG] + count[LEFT_LUNG],
        "ratio": _ratio(count[RIGHT_LUNG], count[LEFT_LUNG]),
        "height_mm": (seen.thorax.bottom - seen.thorax.top + 1) * spacing[0],
        "top_cm2": float(area[0]) if seen.starts_at_top else 0.0,
        "bottom_cm2": float(area[-1]) if seen.ends_at_bottom else 0.0,
        "cut_padded_ml" if seen.padded else "cut_ml": cut,
        "trachea_mm": seen.airways.length_mm,
        "free_air_ml": _free_air_ml(seen.volume, lung, spacing),
        "spine_seen": seen.thorax.spine_seen,
        "scale": seen.thorax.scale,
    }
    for side, label in (("right", RIGHT_LUNG), ("left", LEFT_LUNG)):
        out[f"{side}_lung_ml"] = count[label]
        out[f"{side}_aerated_ml"] = min(aerated[label], count[label])
        out[f"{side}_dense_ml"] = max(0.0, count[label] - aerated[label])
        if label in seen.floors and not np.isnan(seen.floors[label].dry_share):
            out[f"{side}_recess_air"] = seen.floors[label].dry_share
        out[f"{side}_dense_share"] = out[f"{side}_dense_ml"] / max(count[label], 1e-6)
    if len(seen.floors) == 2:
        higher = (seen.floors[RIGHT_LUNG].dome - seen.floors[LEFT_LUNG].dome) * spacing[0] / seen.thorax.scale
        out |= {} if np.isnan(higher) else {"left_dome_higher_mm": higher}
    out.update(_orientation(seen, lung))
    return {name: float(value) for name, value in out.items()}


def assess(measures: dict[str, float]) -> Quality:
    """Flags from the measurements, bad ones first; a rule whose measurement is absent is left out."""
    flags, raised = [], set()
    for rule in flag_rules():
        value = measures.get(rule.measure)
        if value is None or rule.group in raised or not rule.applies(value):
            continue
        raised.add(rule.group)
        sentence = rule.sentence.format(value=value, percent=100 * value)
        flags.append(Flag(rule.name, value, rule.limit, sentence, rule.severity))
    flags.sort(key=lambda flag: flag.severity != "bad")
    return Quality(tuple(flags), measures)


def _ratio(a: float, b: float) -> float:
    return max(a, b) / max(min(a, b), 1e-3)


def _free_air_ml(volume: FloatArray, lung: BoolArray, spacing: tuple[float, float, float]) -> float:
    """Largest piece of the lungs that is as empty as room air (under -985 HU after averaging)."""
    labels, count = components(open_mask(lung & (volume < -985.0), 3.0, spacing))
    return float(component_sizes(labels, count).max(initial=0)) * float(np.prod(spacing)) / 1000.0


def _orientation(seen: Evidence, lung: BoolArray) -> dict[str, float]:
    """Signs of swapped axes.

    ``upside_down`` is the width of the lungs a tenth below their top over that at six tenths, 1 and more if they narrow
    towards the feet. ``left_right_score`` adds up signs of left and right, each of which disease can move: dense
    tissue under the right dome (liver), gas under the left one (stomach), heart and aorta to the left. It was 2.2 to
    3.7 on three real scans, 0.0 to 3.9 on 120 phantoms, and -0.2 to -3.9 on their mirror images.
    """
    thorax = seen.thorax
    columns = np.any(lung, axis=1)
    width = np.where(
        columns.any(axis=1), columns.shape[1] - columns[:, ::-1].argmax(axis=1) - columns.argmax(axis=1), 0
    )
    height = thorax.bottom - thorax.top
    upper = float(width[thorax.top + int(0.08 * height)])
    lower = float(width[thorax.top + int(0.60 * height)])
    trachea = (
        (0.5 * (seen.airways.top + seen.airways.carina) - thorax.top) / max(1, height) if seen.airways.found else 0.0
    )
    lungs = seen.closed
    before, level = thorax.before_spine(lungs.shape[1])[:, :, 0], np.arange(lungs.shape[0])[:, None]
    below = (level - thorax.carina) / max(1.0, thorax.bottom - thorax.carina)
    heart = _medial_difference(lungs, thorax, (before > 40.0) & (before < 110.0) & (below > 0.15) & (below < 0.55))
    # A rotated patient's heart moves sideways, twice its 75 mm before the spine times the tilt in this difference.
    heart -= 2 * 75.0 * thorax.scale * _tilt(seen.labels, thorax)
    aorta = _medial_difference(lungs, thorax, (np.abs(before) < 12.0) & (below > 0.05) & (below < 0.75))
    return {
        "upside_down": upper / max(lower, 1.0),
        "trachea_level": trachea,
        "heart_left_mm": heart,
        "aorta_left_mm": aorta,
        **(below_lungs := _below_lungs(seen)),
        "left_right_score": _clip(below_lungs["liver_right"] / 0.4, 2.0)
        + _clip(below_lungs["stomach_left_ml"] / 5.0)
        + _clip(heart / 20.0)
        + 0.5 * _clip(aorta / 10.0),
        "bone_front_to_back": _bone_front_to_back(seen.volume, lung, thorax),
    }


def _clip(value: float, limit: float = 1.0) -> float:
    return max(-limit, min(limit, value))


def _below_lungs(seen: Evidence) -> dict[str, float]:
    """Dense tissue under the right lung against the left (difference of shares), gas under the left (ml).

    Looked at are the 60 mm under the lowest lung voxel of each column, outside all organs; 0 where the scan ends first.
    """
    spacing, depth = seen.thorax.spacing, seen.labels.shape[0]
    level = np.arange(depth)[:, None, None]
    dense, gas = [], []
    for label in (RIGHT_LUNG, LEFT_LUNG):
        own = seen.closed == label
        lowest = lowest_slices(own)
        lowest[lowest < 0] = depth
        under = (level > lowest + 1) & (level < lowest + 60.0 / spacing[0]) & (seen.labels == 0)
        values = seen.volume[under]
        dense.append(float(((values > 30.0) & (values < 160.0)).mean()) if values.size > 100 else None)
        gas.append(float((values < -300.0).sum()) * float(np.prod(spacing)) / 1000.0)
    right, left = dense
    return {
        "liver_right": 0.0 if right is None or left is None else right - left,
        "stomach_left_ml": gas[1] - gas[0],
    }


def _bone_front_to_back(volume: FloatArray, lung: BoolArray, thorax: Thorax) -> float:
    """Bone near the midline at the lungs' front over bone at their back: sternum against spine.

    The heart between them is left out, since contrast makes it as dense as bone.
    """
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    first, last = int(rows[0] + 15.0 / thorax.spacing[1]), int(max(0, rows[-1] - 70.0 / thorax.spacing[1]))
    column = float(np.median(thorax.midline[thorax.top : thorax.bottom + 1]))
    reach = 25.0 / thorax.spacing[2]
    strip = volume[thorax.top : thorax.bottom + 1, :, max(0, int(column - reach)) : int(column + reach) + 1] > 180.0
    return float(strip[:, :first].sum()) / max(1.0, float(strip[:, last:].sum()))


def _tilt(lungs: LabelArray, thorax: Thorax) -> float:
    """Slope of the line through the backs of both lungs: left further back is positive."""
    part = lungs[int(thorax.carina) : int(thorax.carina + 0.6 * (thorax.bottom - thorax.carina)) + 1]
    backs, middles = [], []
    for label in (RIGHT_LUNG, LEFT_LUNG):
        hit = part == label
        rows = hit.any(axis=2)
        some = rows.any(axis=1)
        if not some.any():
            return 0.0
        backs.append(float(np.median(rows.shape[1] - 1 - rows[some][:, ::-1].argmax(axis=1))) * thorax.spacing[1])
        columns = np.flatnonzero(hit.any(axis=(0, 1)))
        middles.append(0.5 * float(columns[0] + columns[-1]) * thorax.spacing[2])
    apart = middles[1] - middles[0]
    return (backs[1] - backs[0]) / apart if apart > 40.0 else 0.0


def _medial_difference(lungs: LabelArray, thorax: Thorax, where: BoolArray) -> float:
    """How much further the left lung keeps from the midline than the right one, median over (slice, row), mm."""
    right, left = lungs == RIGHT_LUNG, lungs == LEFT_LUNG
    both = right.any(axis=2) & left.any(axis=2) & where
    if both.sum() < 5:
        return 0.0
    middle = np.broadcast_to(thorax.midline[:, None], both.shape)
    to_right = middle - (lungs.shape[2] - 1 - right[:, :, ::-1].argmax(axis=2))
    to_left = left.argmax(axis=2) - middle
    return float(np.median((to_left - to_right)[both])) * thorax.spacing[2]


def not_a_chest(air_ml: float) -> Quality:
    """The quality of a scan without any lung."""
    sentence = f"No lung was found ({air_ml:.0f} ml of air inside the body): not a chest, or both lungs without air."
    measures = {"right_lung_ml": 0.0, "left_lung_ml": 0.0, "heart_mediastinum_ml": 0.0, "air_ml": air_ml}
    return Quality((Flag("not_a_chest", air_ml, 150.0, sentence),), measures)
