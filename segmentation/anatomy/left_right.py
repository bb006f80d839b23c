"""Right from left: by the midline, and by shape where the lungs touch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from ..morphology import bounding_box, component_sizes, components, erode
from ..types import LEFT_LUNG, RIGHT_LUNG, BoolArray, LabelArray
from .midline import Midline

__all__ = ["right_share", "split_component"]


def right_share(mask: BoolArray, midline: Midline) -> float:
    """Share of a mask on the patient's right of the midline."""
    total = int(mask.sum())
    return float((mask & right_of(midline, mask.shape)).sum()) / total if total else 0.0


def right_of(midline: Midline, shape: Sequence[int]) -> BoolArray:
    """Bool [D, 1, W]: columns on the patient's right of the midline (lower column numbers)."""
    return np.arange(shape[2])[None, None, :] < midline.column[:, None, None]


def split_component(mask: BoolArray, midline: Midline, spacing: Sequence[float]) -> LabelArray:
    """Split two lungs that touch: shrink until they part, then give every voxel to the nearer rest.

    Args:
        mask: one connected component that lies on both sides of the midline, [D, H, W].
        midline: of the same grid.
        spacing: millimetres.

    Returns:
        uint8 [D, H, W] with 1 (right) and 2 (left); split by the midline if no shrinking parts them.
    """
    out = np.zeros(mask.shape, dtype=np.uint8)
    box = bounding_box(mask)
    part = mask[box]
    inner = midline.crop(box)
    on_right = right_of(inner, part.shape)
    step = max(2.0, min(spacing[1:]))
    core = part
    for _ in range(round(16.0 / step)):
        core = erode(core, step, (max(spacing[0], 2.0 * step + 1e-3), *spacing[1:]) if spacing[0] > step else spacing)
        seeds = _opposite_parts(core, on_right)
        if seeds is not None:
            out[box] = np.where(part, _nearest(seeds, inner, spacing), 0)
            return out
    out[box] = np.where(part, np.where(on_right, RIGHT_LUNG, LEFT_LUNG), 0)
    return out


def _opposite_parts(core: BoolArray, on_right: BoolArray) -> LabelArray | None:
    """The pieces of a shrunken mask as right and left, if two large ones lie on opposite sides."""
    labels, count = components(core)
    if count < 2:
        return None
    sizes = component_sizes(labels, count)
    right = component_sizes(labels, count, on_right)
    share = right / np.maximum(sizes, 1)
    large = sizes > 0.12 * sizes.sum()
    if (
        not ((large & (share > 0.75)).any() and (large & (share < 0.25)).any())
        or (large & (share >= 0.25) & (share <= 0.75)).any()
    ):
        return None
    side = np.where(share > 0.5, RIGHT_LUNG, LEFT_LUNG).astype(np.uint8)
    side[sizes < 0.02 * sizes.sum()] = 0
    side[0] = 0
    return side[labels]


def _nearest(seeds: LabelArray, midline: Midline, spacing: Sequence[float]) -> LabelArray:
    """Label of the nearer seed for every voxel within 60 mm of the midline, of the side for the others."""
    reach = int(60.0 / spacing[2])
    low = max(0, int(midline.column.min()) - reach)
    high = min(seeds.shape[2], int(midline.column.max()) + reach + 1)
    out = np.full(seeds.shape, LEFT_LUNG, dtype=np.uint8)
    out[:, :, :low] = RIGHT_LUNG
    band = np.ascontiguousarray(seeds[:, :, low:high])
    to_right, to_left = (_distance(band == label, spacing) for label in (RIGHT_LUNG, LEFT_LUNG))
    out[:, :, low:high] = np.where(to_right <= to_left, RIGHT_LUNG, LEFT_LUNG)
    return np.where(seeds > 0, seeds, out)


def _distance(mask: BoolArray, spacing: Sequence[float]) -> npt.NDArray[np.float32]:
    """Squared distance in mm to a mask (negative inside); Maurer's exact transform on one thread."""
    image = sitk.GetImageFromArray(mask.view(np.uint8))
    image.SetSpacing(tuple(float(s) for s in reversed(spacing)))
    transform = sitk.SignedMaurerDistanceMapImageFilter()
    transform.SetSquaredDistance(True)
    transform.SetUseImageSpacing(True)
    transform.SetInsideIsPositive(False)
    transform.SetNumberOfThreads(1)
    return sitk.GetArrayFromImage(transform.Execute(image))  # a view would outlive the image that it looks into
