"""Binary morphology in millimetres on anisotropic grids, by shifted ORs of packed bits.

A ball is approximated by a box followed by an octahedron (37 % and 63 % of the radius): along the axes it is exact,
along the diagonals within 4 %. Masks are packed 64 voxels to a word along their last axis, so that 4 million of them
fit into half a megabyte of cache: a 10 mm dilation takes 4 ms where one of bytes takes 16 ms and an exact distance map
150 to 900 ms.
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
    "lowest_slices",
    "open_mask",
    "steps",
]

PLANES = 16
"""Slices that are counted together."""

Spacing = Sequence[float]
Bits = npt.NDArray[np.uint64]


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
    return _unpack(_grown(_pack(mask), steps(radius_mm, spacing), mask.shape[-1]), mask.shape)


def erode(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Shrink a mask by about ``radius_mm``; the border of the array does not eat into it."""
    return _unpack(_shrunk(_pack(mask), steps(radius_mm, spacing), mask.shape[-1]), mask.shape)


def open_mask(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Remove what is thinner than twice ``radius_mm``."""
    bits, radius, width = _pack(mask), steps(radius_mm, spacing), mask.shape[-1]
    return _unpack(_grown(_shrunk(bits, radius, width), radius, width) & bits, mask.shape)


def close(mask: BoolArray, radius_mm: float, spacing: Spacing) -> BoolArray:
    """Fill gaps narrower than twice ``radius_mm``; the array's border closes nothing by itself."""
    radius = steps(radius_mm, spacing)
    inner = tuple(slice(p, p + n) for p, n in zip(radius, mask.shape, strict=True))
    padded = np.zeros([n + 2 * p for p, n in zip(radius, mask.shape, strict=True)], dtype=bool)
    padded[inner] = mask
    width = padded.shape[-1]
    closed = _unpack(_shrunk(_grown(_pack(padded), radius, width), radius, width), padded.shape)
    return closed[inner] | mask


def components(mask: BoolArray, connectivity: int = 6) -> tuple[npt.NDArray[np.integer], int]:
    """Connected components of a 2D or 3D mask: labels from 1, and how many."""
    data = np.ascontiguousarray(mask)
    labels, count = cc3d.connected_components(  # type: ignore[call-overload]
        data, connectivity=connectivity, return_N=True, binary_image=True
    )
    return labels, int(count)


def component_sizes(
    labels: npt.NDArray[np.integer], count: int, where: BoolArray | None = None
) -> npt.NDArray[np.int64]:
    """Voxels of each component, or of its part in ``where`` (broadcast); index 0 (background) is set to 0."""
    if where is not None:
        labels = np.where(where, labels, labels.dtype.type(0))
    # What bincount is given it copies as int64: only what is no background, and a few slices at a time.
    sizes = np.zeros(count + 1, dtype=np.int64)
    planes = labels.reshape(-1, labels.shape[-1] * (labels.shape[-2] if labels.ndim > 1 else 1))
    for start in range(0, len(planes), PLANES):
        part = planes[start : start + PLANES]
        sizes += np.bincount(part[part != 0], minlength=count + 1)
    return sizes


def largest_component(mask: BoolArray, connectivity: int = 6) -> BoolArray:
    """The largest connected component, or an empty mask."""
    out, box = np.zeros_like(mask), bounding_box(mask)
    labels, count = components(mask[box], connectivity)
    if count:
        out[box] = labels == int(component_sizes(labels, count).argmax())
    return out


def fill_holes(mask: BoolArray) -> BoolArray:
    """Fill background components that do not touch any face of the array."""
    out, box = mask.copy(), bounding_box(mask)  # what reaches its faces goes on outside it
    labels, count = components(~mask[box])
    if count == 0:
        return out
    outside = np.zeros(count + 1, dtype=bool)
    for axis in range(mask.ndim):
        outside[np.unique(labels.take((0, -1), axis=axis))] = True
    outside[0] = False
    out[box] = ~outside[labels]
    return out


def bounding_box(mask: BoolArray, margin: Sequence[int] | int = 0) -> tuple[slice, ...]:
    """Slices of the smallest box that holds the mask, widened by ``margin`` voxels and cut at the array.

    An empty mask gives empty slices.
    """
    margins = (margin,) * mask.ndim if isinstance(margin, int) else tuple(margin)
    box: list[slice] = []
    rest: BoolArray = mask
    for axis in range(mask.ndim):
        hit = np.flatnonzero(rest.any(axis=tuple(range(1, rest.ndim))))
        if hit.size == 0:
            return (slice(0, 0),) * mask.ndim
        box.append(slice(max(0, int(hit[0]) - margins[axis]), min(mask.shape[axis], int(hit[-1]) + 1 + margins[axis])))
        rest = np.asarray(rest[hit[0] : hit[-1] + 1].any(axis=0))
    return tuple(box)


def lowest_slices(mask: BoolArray) -> npt.NDArray[np.float64]:
    """Last slice along the first axis of every (row, column) with the mask, -1 where there is none, [H, W]."""
    out = np.full(mask.shape[1:], -1.0)
    for k, plane in enumerate(mask):
        np.copyto(out, k, where=plane)
    return out


def _pack(mask: BoolArray) -> Bits:
    """Voxels of the last axis as bits of 64-bit words, lowest first, [words, *other axes]; bits beyond it are 0.

    The words lie in front so that every operation runs over long lines of memory.
    """
    packed = np.packbits(mask, axis=-1, bitorder="little")
    out = np.zeros((*mask.shape[:-1], -(-mask.shape[-1] // 64) * 8), dtype=np.uint8)
    out[..., : packed.shape[-1]] = packed
    return np.ascontiguousarray(np.moveaxis(out.view("<u8"), -1, 0))


def _unpack(bits: Bits, shape: Sequence[int]) -> BoolArray:
    if 0 in shape:
        return np.zeros(shape, dtype=bool)
    lines = np.ascontiguousarray(np.moveaxis(bits, 0, -1)).view(np.uint8)
    return np.unpackbits(lines, axis=-1, count=shape[-1], bitorder="little").view(bool)


def _grown(bits: Bits, radius: Sequence[int], width: int) -> Bits:
    """Dilate packed bits by ``radius`` voxels along each axis: a box, then an octahedron."""
    out = bits.copy()
    box = tuple(int(0.37 * r + 0.5) for r in radius)
    for axis, r in enumerate(box):
        _or_line(out, axis, r, width)
    diamond = tuple(r - b for r, b in zip(radius, box, strict=True))
    longest = max(diamond, default=0)
    for k in range(longest):
        source = out.copy()
        for axis, r in enumerate(diamond):
            if (k + 1) * r // longest > k * r // longest:
                _or_shift(out, source, axis, 1, width)
    return out


def _shrunk(bits: Bits, radius: Sequence[int], width: int) -> Bits:
    """Erode packed bits: what lies outside the array does not shrink them."""
    return _inverted(_grown(_inverted(bits, width), radius, width), width)


def _inverted(bits: Bits, width: int) -> Bits:
    return _without_padding(~bits, width)


def _without_padding(bits: Bits, width: int) -> Bits:
    """Clear the bits beyond the last axis, in place."""
    if width % 64:
        bits[-1] &= np.uint64((1 << width % 64) - 1)
    return bits


def _or_shift(out: Bits, source: Bits, axis: int, by: int, width: int) -> None:
    """OR ``source``, shifted by ``by`` voxels both ways along ``axis`` of the mask, into ``out``."""
    if axis == out.ndim - 1:
        if 0 < by < width:
            _or_shift_bits(out, source, by)
            _without_padding(out, width)
        return
    if by <= 0 or by >= out.shape[axis + 1]:
        return
    ahead: list[slice] = [slice(None)] * out.ndim
    back: list[slice] = [slice(None)] * out.ndim
    ahead[axis + 1], back[axis + 1] = slice(by, None), slice(None, -by)
    a, b = tuple(ahead), tuple(back)
    out[a] |= source[b]
    out[b] |= source[a]


def _or_shift_bits(out: Bits, source: Bits, by: int) -> None:
    """The same along the packed axis, over the borders of words."""
    words, rest = divmod(by, 64)
    n = len(out)
    up, down = np.uint64(rest), np.uint64(64 - rest)
    out[words:] |= source[: n - words] << up
    out[: n - words] |= source[words:] >> up
    if rest and n - words > 1:
        out[words + 1 :] |= source[: n - words - 1] >> down
        out[: n - words - 1] |= source[words + 1 :] << down


def _or_line(out: Bits, axis: int, radius: int, width: int) -> None:
    """Dilate in place by a line of ``2 * radius + 1`` voxels, in log2(radius) doublings."""
    reach = 0
    while reach < radius:
        by = min(reach + 1 if reach else 1, radius - reach)
        _or_shift(out, out.copy(), axis, by, width)
        reach += by
