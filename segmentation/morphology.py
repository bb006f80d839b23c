"""Binary morphology in millimetres on anisotropic grids, by shifted ORs.

A ball is approximated by a box followed by an octahedron (37 % and 63 % of the radius): along the axes it is exact,
along the diagonals within 4 %. On 4 million voxels a 10 mm dilation takes 30 ms where an exact distance map takes 150
to 900 ms, and needs one copy of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import cc3d
import numpy as np
import numpy.typing as npt

from .types import BoolArray

__all__ = [
    "bounding_box",
    "close",
    "component_sizes",
    "components",
    "dilate",
    "erode",
    "fill_holes",
    "largest_component",
    "open_mask",
    "steps",
]

Spacing = Sequence[float]


def steps(radius_mm: float, spacing: Spacing) -> tuple[int, ...]:
    """Radius in whole voxels for each axis, rounded to the nearest."""
    return tuple(int(radius_mm / s + 0.5) for s in spacing)


def dilate(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Grow a mask by about ``radius_mm``; what lies outside the array does not grow in.

    Args:
        mask: bool, any number of dimensions.
        radius_mm: millimetres; axes whose spacing is more than twice that are left alone.
        spacing: millimetres for each axis.
    """
    radius = steps(radius_mm, spacing)
    out = mask.copy()
    box = tuple(int(0.37 * r + 0.5) for r in radius)
    for axis, r in enumerate(box):
        _or_line(out, axis, r)
    diamond = tuple(r - b for r, b in zip(radius, box, strict=True))
    longest = max(diamond, default=0)
    for k in range(longest):
        source = out.copy()
        for axis, r in enumerate(diamond):
            if (k + 1) * r // longest > k * r // longest:
                _or_shift(out, source, axis, 1)
    return out


def erode(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Shrink a mask by about ``radius_mm``; the border of the array does not eat into it."""
    return ~dilate(~mask, radius_mm, spacing)


def open_mask(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Remove what is thinner than twice ``radius_mm``."""
    return dilate(erode(mask, radius_mm, spacing), radius_mm, spacing) & mask


def close(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Fill gaps narrower than twice ``radius_mm``; the array's border closes nothing by itself."""
    pad = steps(radius_mm, spacing)
    inner = tuple(slice(p, p + n) for p, n in zip(pad, mask.shape, strict=True))
    padded = np.zeros([n + 2 * p for p, n in zip(pad, mask.shape, strict=True)], dtype=bool)
    padded[inner] = mask
    return np.ascontiguousarray(erode(dilate(padded, radius_mm, spacing), radius_mm, spacing)[inner]) | mask


def components(mask: BoolArray, connectivity: int = 6) -> tuple[npt.NDArray[np.integer], int]:
    """Connected components of a 2D or 3D mask: labels from 1, and how many."""
    data = np.ascontiguousarray(mask)
    labels, count = cc3d.connected_components(data, connectivity=connectivity, return_N=True)  # type: ignore[call-overload]
    return labels, int(count)


def component_sizes(labels: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.int64]:
    """Voxels of each component; index 0 (background) is set to 0."""
    sizes = np.zeros(count + 1, dtype=np.int64)
    for plane in (
        labels if labels.size > 1_000_000 else (labels,)
    ):  # slice by slice: bincount makes an int64 copy of what it is given
        found = np.bincount(plane.ravel())
        sizes[: found.size] += found
    sizes[0] = 0
    return sizes


def largest_component(mask: BoolArray, connectivity: int = 6) -> BoolArray:
    """The largest connected component, or an empty mask."""
    labels, count = components(mask, connectivity)
    if count == 0:
        return np.zeros_like(mask)
    return labels == int(component_sizes(labels, count).argmax())


def fill_holes(mask: BoolArray) -> BoolArray:
    """Fill background components that do not touch any face of the array."""
    labels, count = components(~mask)
    if count <= 1:
        return mask.copy()
    outside = np.zeros(count + 1, dtype=bool)
    for axis in range(mask.ndim):
        outside[np.unique(labels.take((0, -1), axis=axis))] = True
    outside[0] = False
    return ~outside[labels]


def bounding_box(mask: BoolArray, margin: Sequence[int] | int = 0) -> tuple[slice, ...]:
    """Slices of the smallest box that holds the mask, widened by ``margin`` voxels and cut at the array.

    An empty mask gives empty slices.
    """
    margins = (margin,) * mask.ndim if isinstance(margin, int) else tuple(margin)
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        if hit.size == 0:
            return (slice(0, 0),) * mask.ndim
        box.append(slice(max(0, int(hit[0]) - margins[axis]), min(mask.shape[axis], int(hit[-1]) + 1 + margins[axis])))
    return tuple(box)


def _or_shift(out: BoolArray, source: BoolArray, axis: int, by: int) -> None:
    """OR ``source``, shifted by ``by`` voxels both ways along ``axis``, into ``out``."""
    if by <= 0 or by >= out.shape[axis]:
        return
    ahead: list[slice] = [slice(None)] * out.ndim
    back: list[slice] = [slice(None)] * out.ndim
    ahead[axis], back[axis] = slice(by, None), slice(None, -by)
    a, b = tuple(ahead), tuple(back)
    out[a] |= source[b]
    out[b] |= source[a]


def _or_line(out: BoolArray, axis: int, radius: int) -> None:
    """Dilate in place by a line of ``2 * radius + 1`` voxels, in log2(radius) doublings."""
    reach = 0
    while reach < radius:
        by = min(reach + 1 if reach else 1, radius - reach)
        _or_shift(out, out.copy(), axis, by)
        reach += by
