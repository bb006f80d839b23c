"""The noise of a scan, measured in its soft tissue, and more of the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, uniform_filter
from scipy.signal import convolve2d

__all__ = ["Noise", "measure_noise"]

LEAST_VOXELS = 200
TISSUE_HU = (-50.0, 150.0)
"""Muscle, blood and heart, with or without a little contrast; fat and lung have edges everywhere."""
WINDOW = 5
NORMAL_MAD = 0.6745
MOST_GRAIN = 0.66
"""Of noise that is smoothed over three pixels: 2w / (1 + 2w^2) with w = 1 / sqrt(2) is 0.707."""


@dataclass(frozen=True)
class Noise:
    """Noise of a scan.

    Attributes:
        level: standard deviation, HU.
        neighbour: correlation of neighbouring pixels of a slice; sharp kernels have little, smooth ones much.
    """

    level: float
    neighbour: float

    def sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Noise of this level and grain, ``[D, H, W]``; slices are independent."""
        weight = _weight(self.neighbour)
        field = rng.standard_normal(tuple(size + pad for size, pad in zip(shape, (0, 2, 2), strict=True)), np.float32)
        for axis in (1, 2):
            middle, low, high = (_cut(field, axis, start) for start in (1, 0, 2))
            field = (middle + weight * (low + high)) / np.float32(np.sqrt(1 + 2 * weight**2))
        return field * np.float32(self.level)


def measure_noise(hu: NDArray, tissue: NDArray[np.bool_]) -> Noise:
    """Noise in soft tissue: what differs from the mean of the 5 x 5 pixels around, by its median.

    Args:
        hu: ``[D, H, W]``.
        tissue: where soft tissue is looked for, such as heart and mediastinum; its border is left out.

    Returns:
        Level 0 where there is too little of it.
    """
    box = _box(tissue)
    if box is None:
        return Noise(0.0, 0.0)
    part = hu[box].astype(np.float32)
    mean = uniform_filter(part, (1, WINDOW, WINDOW))
    inside = binary_erosion(tissue[box], np.ones((1, 5, 5), bool)) & (mean > TISSUE_HU[0]) & (mean < TISSUE_HU[1])
    if inside.sum() < LEAST_VOXELS:
        return Noise(0.0, 0.0)
    rest = part - mean
    spread = float(np.median(np.abs(rest[inside] - np.median(rest[inside]))) / NORMAL_MAD)
    both = inside[:, :, 1:] & inside[:, :, :-1]
    calm = np.clip(rest, -3 * spread, 3 * spread)  # edges of vessels are no noise
    neighbour = float(np.mean(calm[:, :, 1:][both] * calm[:, :, :-1][both]) / max(np.mean(calm[inside] ** 2), 1e-6))
    grain = float(np.interp(neighbour, _SEEN[:, 1], _SEEN[:, 0]))
    return Noise(spread / float(np.sqrt(np.interp(grain, _SEEN[:, 0], _SEEN[:, 2]))), grain)


def _weight(neighbour: float) -> float:
    """Weight of the two neighbours in a kernel (w, 1, w) whose noise has that correlation: 2w / (1 + 2w^2)."""
    if neighbour <= 0:
        return 0.0
    root = max(1 - 2 * neighbour**2, 0.0)
    return float((1 - np.sqrt(root)) / (2 * neighbour))


def _cut(field: NDArray, axis: int, start: int) -> NDArray:
    part = [slice(None)] * field.ndim
    part[axis] = slice(start, field.shape[axis] - 2 + start)
    return field[tuple(part)]


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    if not mask.any():
        return None
    spans = []
    for axis in range(3):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(spans)


def _seen_after_the_mean() -> NDArray[np.float64]:
    """Correlation of neighbours, and what is left of it and of the variance once the mean of the window is gone."""
    rows = []
    rest = -np.full((WINDOW, WINDOW), 1 / WINDOW**2)
    rest[WINDOW // 2, WINDOW // 2] += 1
    for neighbour in np.linspace(0, MOST_GRAIN, 30):
        weight = _weight(float(neighbour))
        kernel = np.array([weight, 1, weight]) / np.sqrt(1 + 2 * weight**2)
        whole = convolve2d(rest, np.outer(kernel, kernel))
        variance = (whole**2).sum()
        rows.append((neighbour, (whole[:, 1:] * whole[:, :-1]).sum() / variance, variance))
    return np.array(rows)


_SEEN = _seen_after_the_mean()
