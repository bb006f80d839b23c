"""A scan as parts (each lung, heart and mediastinum, the rest of the body, all else), and parts painted over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from organcam.segmentation.anatomy.body import body_mask

from ..data.volume import Volume

__all__ = ["BODY", "OUTSIDE", "PARTS", "medians_of", "paint_over", "parts_of"]

OUTSIDE, BODY = 0, 4
PARTS = {1: "right lung", 2: "left lung", 3: "heart and mediastinum", BODY: "elsewhere in the body", OUTSIDE: "outside"}
COARSE_MM = 2.0


def parts_of(scan: Volume, organs: Volume) -> Volume:
    """Label map of the parts: organs 1 to 3, 4 for the rest of the body, 0 for what lies outside it.

    The body is the patient's tissue and what it encloses in a slice; the table lies outside.
    """
    straight, labels = scan.reoriented(), organs.reoriented().array
    step = max(1, round(COARSE_MM / straight.spacing[1]))
    spacing = (straight.spacing[0], straight.spacing[1] * step, straight.spacing[2] * step)
    tissue = body_mask(straight.array[:, ::step, ::step].astype(np.float32), spacing)
    sides = [np.logical_or.accumulate(view, axis=2) for view in (tissue, tissue[:, :, ::-1])]
    filled = sides[0] & sides[1][:, :, ::-1]
    fine = np.repeat(np.repeat(filled, step, axis=1), step, axis=2)[:, : labels.shape[1], : labels.shape[2]]
    parts = np.where(labels > 0, labels, np.where(fine, BODY, OUTSIDE)).astype(np.uint8)
    return Volume(parts, straight.affine).reoriented(scan.axes)


def medians_of(scan: Volume, parts: Volume) -> dict[int, float]:
    """Median HU of each part that is there."""
    return {value: float(np.median(scan.array[held])) for value in PARTS if (held := parts.array == value).any()}


def paint_over(scan: Volume, parts: Volume, values: Sequence[int], fills: Mapping[int, float]) -> Volume:
    """The scan with some of its parts filled with one value each.

    What is left of a part is its outline: how large an organ is can still be read from it.

    Args:
        scan: HU.
        parts: of ``parts_of``.
        values: which parts.
        fills: part -> HU, best the median over many scans, so that nothing of this scan's own density stays.
    """
    array: NDArray = np.array(scan.array)
    for value in values:
        if value in fills:
            array[parts.array == value] = fills[value]
    return Volume(array, scan.affine)
