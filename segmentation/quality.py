"""Quality of one segmentation: measurements in ml and mm, and a flag with a sentence for each reason to doubt it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .airways import Airways
from .morphology import component_sizes, components, open_mask
from .thorax import Thorax
from .types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, Flag, FloatArray, LabelArray, Quality

__all__ = ["LIMITS", "Evidence", "assess", "measure", "not_a_chest"]

LIMITS: dict[str, float] = {
    "lung_ml": 150.0,
    "total_low_ml": 1200.0,
    "total_high_ml": 10000.0,
    "ratio": 2.2,
    "ratio_note": 1.8,
    "top_cm2": 15.0,
    "bottom_cm2": 25.0,
    "side_ml": 20.0,
    "height_mm": 140.0,
    "height_high_mm": 380.0,
    "heart_low_ml": 200.0,
    "heart_high_ml": 3500.0,
    "aerated": 0.75,
    "side_aerated": 0.55,
    "effusion_ml": 150.0,
    "effusion_share": 0.15,
    "pneumothorax_ml": 80.0,
    "bone_ratio": 1.0,
    "flip_votes": 2.0,
}
"""Limits of the flags; ml, mm, cm2 or shares."""


@dataclass(frozen=True)
class Evidence:
    """What the steps saw, on the working grid; arrays [D, H, W]."""

    volume: FloatArray
    labels: LabelArray
    closed: LabelArray
    cut: BoolArray
    airways: Airways
    thorax: Thorax
    starts_at_top: bool
    ends_at_bottom: bool


def measure(seen: Evidence) -> dict[str, float]:
    """Every measurement; see ``assess`` for what they mean."""
    spacing = seen.thorax.spacing
    voxel = float(np.prod(spacing)) / 1000.0
    pixel = spacing[1] * spacing[2] / 100.0
    count = np.bincount(seen.labels.ravel(), minlength=4) * voxel
    aerated = np.bincount(seen.closed.ravel(), minlength=3) * voxel
    lung = (seen.labels == RIGHT_LUNG) | (seen.labels == LEFT_LUNG)
    area = lung.sum(axis=(1, 2)) * pixel
    out = {
        "right_lung_ml": count[RIGHT_LUNG],
        "left_lung_ml": count[LEFT_LUNG],
        "heart_ml": count[HEART_MEDIASTINUM],
        "ratio": _ratio(count[RIGHT_LUNG], count[LEFT_LUNG]),
        "height_mm": (seen.thorax.bottom - seen.thorax.top + 1) * spacing[0],
        "right_aerated": aerated[RIGHT_LUNG] / max(count[RIGHT_LUNG], 1e-6),
        "left_aerated": aerated[LEFT_LUNG] / max(count[LEFT_LUNG], 1e-6),
        "right_dense_ml": max(0.0, count[RIGHT_LUNG] - aerated[RIGHT_LUNG]),
        "left_dense_ml": max(0.0, count[LEFT_LUNG] - aerated[LEFT_LUNG]),
        "top_cm2": float(area[0]) if seen.starts_at_top else 0.0,
        "bottom_cm2": float(area[-1]) if seen.ends_at_bottom else 0.0,
        "cut_ml": float((seen.cut & lung).sum()) * voxel,
        "trachea_mm": seen.airways.length_mm,
        "pneumothorax_ml": _free_air_ml(seen.volume, lung, spacing),
        "spine_seen": seen.thorax.spine_seen,
        "scale": seen.thorax.scale,
    }
    out.update(_orientation(seen, lung))
    return {name: float(value) for name, value in out.items()}


def assess(measures: dict[str, float], *, padded: bool, trachea: bool) -> Quality:
    """Flags from the measurements.

    Args:
        measures: of ``measure``.
        padded: whether a circular field of view was filled up with padding.
        trachea: whether a trachea was found.
    """
    m, flags = measures, []

    def flag(name: str, value: float, limit: str, sentence: str, severity: str = "bad") -> None:
        flags.append(Flag(name, float(value), LIMITS[limit], sentence, severity))

    total = m["right_lung_ml"] + m["left_lung_ml"]
    for side in ("right", "left"):
        ml, dense, aerated = m[f"{side}_lung_ml"], m[f"{side}_dense_ml"], m[f"{side}_aerated"]
        aired = ml * aerated
        if aired < LIMITS["lung_ml"]:
            sentence = f"The {side} lung holds {aired:.0f} ml of air-filled lung: missing, removed, or white-out."
            flag(f"{side}_lung_missing", aired, "lung_ml", sentence)
        elif aerated < LIMITS["side_aerated"]:
            sentence = f"Only {100 * aerated:.0f} % of the {side} lung is air-filled: white-out or large effusion."
            flag("white_out", aerated, "side_aerated", sentence)
        elif 1 - aerated > LIMITS["effusion_share"]:
            sentence = (
                f"{100 * (1 - aerated):.0f} % of the {side} hemithorax are dense: large effusion or consolidation."
            )
            flag("large_effusion", 1 - aerated, "effusion_share", sentence, "note")
        elif dense > LIMITS["effusion_ml"]:
            sentence = f"{dense:.0f} ml of the {side} hemithorax are dense: effusion, consolidation or mass."
            flag("dense_disease", dense, "effusion_ml", sentence, "note")
    if total < LIMITS["total_low_ml"]:
        flag("volume_low", total, "total_low_ml", f"Both lungs hold {total:.0f} ml together.")
    if total > LIMITS["total_high_ml"]:
        flag("volume_high", total, "total_high_ml", f"Both lungs hold {total:.0f} ml together: leak to the outside?")
    if m["ratio"] > LIMITS["ratio"]:
        flag("side_ratio", m["ratio"], "ratio", f"One lung is {m['ratio']:.1f} times the other.")
    elif m["ratio"] > LIMITS["ratio_note"]:
        sentence = f"One lung is {m['ratio']:.1f} times the other: resection or volume loss?"
        flag("volume_loss", m["ratio"], "ratio_note", sentence, "note")
    if m["top_cm2"] > LIMITS["top_cm2"]:
        flag("truncated_top", m["top_cm2"], "top_cm2", f"The first slice cuts {m['top_cm2']:.0f} cm2 of lung.")
    if m["bottom_cm2"] > LIMITS["bottom_cm2"]:
        flag(
            "truncated_bottom", m["bottom_cm2"], "bottom_cm2", f"The last slice cuts {m['bottom_cm2']:.0f} cm2 of lung."
        )
    if m["cut_ml"] > LIMITS["side_ml"]:
        name = "circular_field_of_view" if padded else "truncated_side"
        flag(name, m["cut_ml"], "side_ml", f"{m['cut_ml']:.0f} ml of lung reach the border of the field of view.")
    if m["height_mm"] < LIMITS["height_mm"]:
        flag("short", m["height_mm"], "height_mm", f"The lungs are {m['height_mm']:.0f} mm high: part of a chest.")
    if m["height_mm"] > LIMITS["height_high_mm"]:
        flag(
            "leak", m["height_mm"], "height_high_mm", f"The lungs are {m['height_mm']:.0f} mm high: leak to bowel gas?"
        )
    if not trachea:
        flags.append(
            Flag("no_trachea", 0.0, 16.0, "No trachea was found: not a whole chest, or head and feet swapped.")
        )
    if m["heart_ml"] < LIMITS["heart_low_ml"]:
        flag("heart_small", m["heart_ml"], "heart_low_ml", f"Heart and mediastinum hold {m['heart_ml']:.0f} ml.")
    if m["heart_ml"] > LIMITS["heart_high_ml"]:
        flag("heart_large", m["heart_ml"], "heart_high_ml", f"Heart and mediastinum hold {m['heart_ml']:.0f} ml.")
    if m["pneumothorax_ml"] > LIMITS["pneumothorax_ml"]:
        sentence = f"{m['pneumothorax_ml']:.0f} ml of the lungs are pure air: pneumothorax or a large bulla?"
        flag("free_air", m["pneumothorax_ml"], "pneumothorax_ml", sentence, "note")
    if m["upside_down"] >= 1.0:
        flags.append(
            Flag("head_foot_flip", m["upside_down"], 1.0, "The lungs narrow towards the feet: head and feet swapped?")
        )
    if m["bone_front_to_back"] > LIMITS["bone_ratio"]:
        sentence = "There is more bone at the front of the midline than at its back: front and back swapped?"
        flag("front_back_flip", m["bone_front_to_back"], "bone_ratio", sentence)
    if m["mirror_votes"] >= LIMITS["flip_votes"]:
        sentence = (
            f"{m['mirror_votes']:.0f} of 3 signs (heart, aorta, liver) lie on the wrong side: left and right swapped?"
        )
        flag("left_right_flip", m["mirror_votes"], "flip_votes", sentence)
    flags.sort(key=lambda f: f.severity != "bad")
    return Quality(tuple(flags), m)


def _ratio(a: float, b: float) -> float:
    return max(a, b) / max(min(a, b), 1e-3)


def _free_air_ml(volume: FloatArray, lung: BoolArray, spacing: tuple[float, float, float]) -> float:
    """Largest piece of the lungs that is as empty as room air (under -985 HU after averaging)."""
    labels, count = components(open_mask(lung & (volume < -985.0), 3.0, spacing))
    return float(component_sizes(labels, count).max(initial=0)) * float(np.prod(spacing)) / 1000.0


def _orientation(seen: Evidence, lung: BoolArray) -> dict[str, float]:
    """Signs of swapped axes.

    ``upside_down`` is the width of the lungs a tenth below their top over that at six tenths, 1 and more if they narrow
    towards the feet. ``mirror_votes`` counts the signs on the wrong side: heart, descending aorta, right dome.
    """
    thorax = seen.thorax
    columns = lung.any(axis=1)
    width = np.where(
        columns.any(axis=1), columns.shape[1] - columns[:, ::-1].argmax(axis=1) - columns.argmax(axis=1), 0
    )
    height = thorax.bottom - thorax.top
    upper = float(width[thorax.top + int(0.08 * height)])
    lower = float(width[thorax.top + int(0.60 * height)])
    offset = _heart_offset(seen.labels, thorax)
    aorta = _beside_spine(seen.labels, thorax)
    dome = _dome_difference(seen.labels, thorax)
    votes = float(offset < -4.0) + float(aorta < -3.0) + float(dome < -4.0)
    agree = float(offset > 6.0) + float(aorta > 4.0)
    return {
        "upside_down": upper / max(lower, 1.0),
        "heart_left_mm": offset,
        "aorta_left_mm": aorta,
        "right_dome_higher_mm": dome,
        "mirror_votes": votes if agree == 0 else 0.0,
        "bone_front_to_back": _bone_front_to_back(seen.volume, lung, thorax),
    }


def _bone_front_to_back(volume: FloatArray, lung: BoolArray, thorax: Thorax) -> float:
    """Bone near the midline before the lungs' middle over bone behind it: sternum against spine."""
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    middle = int(0.5 * (rows[0] + rows[-1]))
    column = float(np.median(thorax.midline[thorax.top : thorax.bottom + 1]))
    reach = 25.0 / thorax.spacing[2]
    strip = volume[thorax.top : thorax.bottom + 1, :, max(0, int(column - reach)) : int(column + reach) + 1] > 180.0
    return float(strip[:, :middle].sum()) / max(1.0, float(strip[:, middle:].sum()))


def _heart_offset(labels: LabelArray, thorax: Thorax) -> float:
    """How far the middle of the heart lies left of the spine, mm."""
    start = int(thorax.carina + 30.0 / thorax.spacing[0])
    heart = labels[start:] == HEART_MEDIASTINUM
    heart = heart & (thorax.before_spine(labels.shape[1])[start:] > 30.0)
    if not heart.any():
        return 0.0
    across = np.broadcast_to(thorax.from_midline(labels.shape[2])[start:], heart.shape)
    return float(across[heart].mean())


def _beside_spine(labels: LabelArray, thorax: Thorax) -> float:
    """How much further the left lung keeps from the spine than the right one, where the descending aorta is, mm."""
    start = int(thorax.carina + 15.0 / thorax.spacing[0])
    stop = int(thorax.carina + 0.75 * (thorax.bottom - thorax.carina))
    before = thorax.before_spine(labels.shape[1])[start:stop, :, 0]
    rows = (before > -12.0) & (before < 12.0)
    part = labels[start:stop]
    right, left = part == RIGHT_LUNG, part == LEFT_LUNG
    both = right.any(axis=2) & left.any(axis=2) & rows
    if both.sum() < 5:
        return 0.0
    middle = np.broadcast_to(thorax.midline[start:stop, None], both.shape)
    to_right = middle - (labels.shape[2] - right[:, :, ::-1].argmax(axis=2))
    to_left = left.argmax(axis=2) - middle
    return float(np.median((to_left - to_right)[both])) * thorax.spacing[2]


def _dome_difference(labels: LabelArray, thorax: Thorax) -> float:
    """How much higher the right dome is than the left one, mm."""
    domes = []
    for label in (RIGHT_LUNG, LEFT_LUNG):
        lung = labels == label
        footprint = lung.any(axis=0)
        if not footprint.any():
            return 0.0
        lowest = lung.shape[0] - 1 - lung[::-1].argmax(axis=0)
        domes.append(float(np.percentile(lowest[footprint], 35)))
    return (domes[1] - domes[0]) * thorax.spacing[0]


def not_a_chest(air_ml: float) -> Quality:
    """The quality of a scan without any lung."""
    sentence = f"No lung was found ({air_ml:.0f} ml of air inside the body): not a chest, or both lungs without air."
    flag = Flag("not_a_chest", air_ml, LIMITS["lung_ml"], sentence)
    return Quality((flag,), {"right_lung_ml": 0.0, "left_lung_ml": 0.0, "heart_ml": 0.0, "air_ml": air_ml})
