"""The published rule (explainable-ct-ai, commit 63428de), voxel for voxel, eight times faster.

Per axial slice: HU under -300, components that touch the slice's border removed, and of more than two components those
at least as large as the second; then 3D pieces under 1,000,000 voxels removed. Heart is every other voxel of a box
between the lungs. Its quirks are kept: left and right part at the middle of the image, the limits are in voxels of
0.8 mm, and a scan without any lung gets a heart and passes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from .types import HEART_MEDIASTINUM, LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray

__all__ = [
    "HU_THRESHOLD",
    "MIN_VOXELS",
    "ReferenceOrgans",
    "clean_extrema",
    "lung_extrema",
    "reference_lungs",
    "reference_organs",
    "two_largest_per_slice",
]

HU_THRESHOLD = -300
MIN_VOXELS = 1_000_000
RIGHT_BORDER, LEFT_BORDER = 130, 300
MEAN_RIGHT, MEAN_LEFT = 55, 390
"""Means of the 25,355 training scans, put in for a border beyond its limit; they only tell good from bad."""


@dataclass(frozen=True)
class ReferenceOrgans:
    """Organs of the published rule.

    Attributes:
        labels: uint8, 1 right lung, 2 left lung, 3 heart; all zero if ``bad``.
        bad: whether a lung was taken for missing.
        extrema: lung box as found (z0, z1, y0, y1, x0, x1), max exclusive; infinite where there is no lung.
    """

    labels: LabelArray
    bad: bool
    extrema: tuple[float, float, float, float, float, float]


def two_largest_per_slice(volume: npt.NDArray[np.generic], threshold: float = HU_THRESHOLD) -> BoolArray:
    """The 2D step: air that does not touch the slice's border, ties for the second place kept.

    Args:
        volume: HU, [D, H, W] in the frame (I, P, L).
        threshold: HU, exclusive.
    """
    out = np.zeros(volume.shape, dtype=bool)
    for k in range(volume.shape[0]):
        labels, count = cc3d.connected_components(
            np.ascontiguousarray(volume[k] < threshold), connectivity=8, return_N=True
        )
        if count == 0:
            continue
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            sizes[line] = 0
        if (sizes > 0).sum() > 2:
            sizes[sizes < np.partition(sizes, -2)[-2]] = 0
        out[k] = (sizes > 0)[labels]
    return out


def reference_lungs(
    volume: npt.NDArray[np.generic], threshold: float = HU_THRESHOLD, min_voxels: int = MIN_VOXELS
) -> BoolArray:
    """Lung map of the published rule: the 2D step, then 6-connected pieces of fewer than ``min_voxels`` removed.

    Fewer, not fewer or as many: scikit-image 0.26 changed ``remove_small_objects`` to the latter.
    """
    air = two_largest_per_slice(volume, threshold)
    labels, count = cc3d.connected_components(air, connectivity=6, return_N=True)
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in labels:
        found = np.bincount(plane.ravel())
        sizes[: found.size] += found
    keep = sizes >= min_voxels
    keep[0] = False
    return keep[labels]


def lung_extrema(lungs: BoolArray) -> tuple[float, float, float, float, float, float]:
    """Box of all lung voxels (z0, z1, y0, y1, x0, x1), max exclusive; (inf, -inf) pairs without any."""
    out: list[float] = []
    for axis in range(3):
        hit = np.flatnonzero(lungs.any(axis=tuple(a for a in range(3) if a != axis)))
        out += [float(hit[0]), float(hit[-1] + 1)] if hit.size else [float("inf"), float("-inf")]
    return tuple(out)  # type: ignore[return-value]


def clean_extrema(
    extrema: tuple[float, ...], shape: tuple[int, ...], mean_right: int = MEAN_RIGHT, mean_left: int = MEAN_LEFT
) -> tuple[tuple[int, ...], int, int]:
    """The published clean-up: infinite borders become the volume's, borders beyond their limit the training mean.

    Returns:
        The finite box, and the right and left border after the replacement.
    """
    limits = (0, shape[0], 0, shape[1], 0, shape[2])
    box = tuple(int(v) if np.isfinite(v) else limit for v, limit in zip(extrema, limits, strict=True))
    right = mean_right if box[4] > RIGHT_BORDER else box[4]
    left = mean_left if box[5] < LEFT_BORDER else box[5]
    return box, right, left


def reference_organs(lungs: BoolArray, mean_right: int = MEAN_RIGHT, mean_left: int = MEAN_LEFT) -> ReferenceOrgans:
    """Split a lung map into organs by the published rule.

    Args:
        lungs: lung map, [D, H, W] in the frame (I, P, L).
        mean_right, mean_left: training means of the lung box's borders.
    """
    extrema = lung_extrema(lungs)
    box, right, left = clean_extrema(extrema, lungs.shape, mean_right, mean_left)
    labels = np.zeros(lungs.shape, dtype=np.uint8)
    bad = right < box[4] or left > box[5]
    if not bad:
        z0, z1, y0, y1, x0, x1 = box
        quarter = (x1 - x0) // 4
        labels[z0:z1, y0:y1, x0 + quarter : x1 - quarter // 2] = HEART_MEDIASTINUM
        middle = lungs.shape[2] // 2
        labels[:, :, :middle][lungs[:, :, :middle]] = RIGHT_LUNG
        labels[:, :, middle:][lungs[:, :, middle:]] = LEFT_LUNG
    return ReferenceOrgans(labels, bad, extrema)
