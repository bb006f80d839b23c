"""How much of one map's attention lies inside one mask: the scores of M3d-CAM.

Everything here takes a single map as an array and finds its own threshold; for batches and labels see ``overlap``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.filters import threshold_otsu

from ...errors import did_you_mean

__all__ = ["METRICS", "Metric", "check_metric", "check_threshold", "compute_score", "scale_map"]

Metric = str | Callable[[NDArray[np.float64], NDArray[np.bool_], float], float]
"""A name out of ``METRICS``, or a function of a map in [0, 1], a mask and the threshold."""


def scale_map(values: NDArray) -> NDArray[np.float64]:
    """Positive evidence of one map, scaled to a maximum of 1; a map without any becomes zero.

    M3d-CAM scales each slice or batch by itself, subtracts the minimum and divides by zero where a map is flat.

    Example:
        >>> scale_map(np.array([-4.0, 0.0, 1.0, 2.0])).tolist(), scale_map(np.array([-1.0, 0.0])).tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.0])
    """
    positive = np.clip(np.asarray(values, dtype=np.float64), 0, None)
    largest = positive.max(initial=0)
    return positive / largest if largest > 0 else positive


def _ioa(attention: NDArray[np.float64], mask: NDArray[np.bool_], threshold: float) -> float:
    lit = attention > threshold
    return _share(float((lit & mask).sum()), float(lit.sum()))


def _wioa(attention: NDArray[np.float64], mask: NDArray[np.bool_], threshold: float) -> float:
    weight = np.where(attention > threshold, attention, 0)
    return _share(float(weight[mask].sum()), float(weight.sum()))


def _iou(attention: NDArray[np.float64], mask: NDArray[np.bool_], threshold: float) -> float:
    lit = attention > threshold
    return _share(float((lit & mask).sum()), float((lit | mask).sum()))


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


METRICS: dict[str, Callable[[NDArray[np.float64], NDArray[np.bool_], float], float]] = {
    "ioa": _ioa,
    "wioa": _wioa,
    "iou": _iou,
}
"""Intersection over attention, the same weighted by the map's values, and intersection over union."""


def compute_score(attention: NDArray, mask: NDArray, metric: Metric = "wioa", threshold: str | float = "otsu") -> float:
    """How well one map agrees with one mask (Gotkowski et al., "M3d-CAM", 2020).

    The map is scaled to [0, 1] by its positive evidence (``scale_map``; M3d-CAM takes absolute values, which counts
    evidence against a class as evidence for it), and is lit where it exceeds the threshold.

    Args:
        attention: one raw map, any shape.
        mask: 0 and 1 (or bool) of the same shape.
        metric: "ioa" (share of the lit voxels inside the mask), "wioa" (the same, voxels weighted by the map), "iou",
            or a function of the scaled map, the mask and the threshold.
        threshold: "otsu" (found anew for each map), or a number in [0, 1).

    Returns:
        The score; 0 for a map without positive evidence.

    Raises:
        ValueError: for another metric or threshold, different shapes, or a mask of other values.

    Does not change when a map is multiplied by a positive number.

    Example:
        >>> attention, mask = np.array([4.0, 2.0, 1.0, -9.0]), np.array([1, 0, 0, 0])
        >>> [compute_score(attention, mask, metric, 0.2) for metric in ("ioa", "wioa", "iou")]
        [0.3333333333333333, 0.5714285714285714, 0.3333333333333333]
    """
    values, inside = np.asarray(attention), np.asarray(mask)
    if values.shape != inside.shape:
        msg = f"map {values.shape} and mask {inside.shape} have different shapes"
        raise ValueError(msg)
    if inside.dtype != np.bool_ and not np.isin(np.unique(inside), (0, 1)).all():
        msg = f"a mask holds 0 and 1 only, got values from {inside.min()} to {inside.max()}"
        raise ValueError(msg)
    score, scaled = check_metric(metric), scale_map(values)
    return float(score(scaled, inside.astype(np.bool_), _level(scaled, threshold)))


def check_metric(metric: Metric) -> Callable[[NDArray[np.float64], NDArray[np.bool_], float], float]:
    """The function of a metric.

    Raises:
        ValueError: if there is none of that name.
    """
    if callable(metric):
        return metric
    if metric not in METRICS:
        msg = f"unknown metric {metric!r}: {did_you_mean(str(metric), METRICS)}, or a function"
        raise ValueError(msg)
    return METRICS[metric]


def check_threshold(threshold: str | float) -> None:
    """Refuse what is neither "otsu" nor a share.

    Raises:
        ValueError: naming what is legal.
    """
    is_share = isinstance(threshold, (int, float)) and 0 <= threshold < 1
    if threshold != "otsu" and not is_share:
        msg = f"threshold must be 'otsu' or a number in [0, 1), got {threshold!r}"
        raise ValueError(msg)


def _level(scaled: NDArray[np.float64], threshold: str | float) -> float:
    check_threshold(threshold)
    if not isinstance(threshold, str):
        return float(threshold)
    return float(threshold_otsu(scaled)) if np.ptp(scaled) else 0.0  # a flat map has no two groups to part
