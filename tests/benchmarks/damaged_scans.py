"""Ways of spoiling a scan whose organs are known, so that the organs of the spoilt one are known too.

All scans are in the frame (I, P, L). Warps move image and truth alike; painted disease lies inside the true lungs and
leaves the truth as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy import ndimage as ndi

Array = np.ndarray
RIGHT, LEFT, HEART = 1, 2, 3
FLUID_HU, TISSUE_HU, CONTRAST_HU = 12.0, 45.0, 300.0


@dataclass(frozen=True)
class Scan:
    """A scan with its true organs.

    Attributes:
        hu: [D, H, W], int16.
        organs: uint8, same shape, 0 to 3.
        spacing: millimetres.
        painted: bool, same shape, disease that was put in.
        vessel: bool, same shape, an aorta that was put in.
    """

    name: str
    hu: Array
    organs: Array
    spacing: tuple[float, float, float]
    painted: Array | None = None
    vessel: Array | None = None

    def lung(self, label: int) -> Array:
        """One lung."""
        return self.organs == label


Damage = Callable[[Scan], Scan]


def _rng(scan: Scan) -> np.random.Generator:
    return np.random.default_rng(len(scan.name) + scan.hu.shape[0])


def _mm(scan: Scan) -> tuple[Array, Array, Array]:
    """Millimetres along the three axes, ready to broadcast."""
    z, y, x = (np.arange(n, dtype=np.float32) * mm for n, mm in zip(scan.hu.shape, scan.spacing, strict=True))
    return z[:, None, None], y[None, :, None], x[None, None, :]


def _paint(scan: Scan, where: Array, hu: float, *, bubbles: Array | None = None) -> Scan:
    """Fill part of the lungs, with the rim of half-filled voxels between it and the chest wall."""
    rim = ndi.binary_dilation(where, iterations=1) & (scan.organs == 0) & (scan.hu < 0)
    out = scan.hu.astype(np.float32)
    soft = np.where(where | rim, 1.0, ndi.gaussian_filter(where.astype(np.float32), 0.7))
    soft[(scan.organs == 0) & ~rim] = 0.0
    value = hu + _rng(scan).normal(0.0, 14.0, out.shape)
    out = out * (1 - soft) + value * soft
    if bubbles is not None:
        out[where & bubbles] = -700.0
    return replace(scan, hu=np.rint(out).astype(np.int16), painted=where)


def _highest(lung: Array, score: Array, share: float) -> Array:
    """The part of a lung, ``share`` of its voxels, with the highest score."""
    values = np.broadcast_to(score, lung.shape)[lung]
    return lung & (score >= np.quantile(values, 1.0 - share))


def effusion(scan: Scan, label: int, share: float) -> Scan:
    """Free fluid behind a lying patient's lung: a level with a meniscus at the wall, somewhat higher at the base."""
    lung, (z, y, _) = scan.lung(label), _mm(scan)
    inside = np.stack([ndi.distance_transform_edt(plane, sampling=scan.spacing[1:]) for plane in lung])
    return _paint(scan, _highest(lung, y + 0.25 * z + 15.0 * np.exp(-inside / 10.0), share), FLUID_HU)


def subpulmonic(scan: Scan, label: int, share: float) -> Scan:
    """Fluid between the lung's base and the diaphragm, recess included."""
    lung = scan.lung(label)
    depth = lung.shape[0]
    z = np.arange(depth)[:, None, None]
    footprint = lung.any(axis=0)
    lowest = np.where(footprint, depth - 1 - lung[::-1].argmax(axis=0), -1)
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    over = footprint & (lowest > slices[0] + 0.55 * (slices[-1] - slices[0]))
    height = np.where(over, (lowest - z) * scan.spacing[0], 1e4)
    return _paint(scan, _highest(lung, -height, share), FLUID_HU)


def consolidation(scan: Scan, label: int, share: float, *, bronchogram: bool) -> Scan:
    """An airless lower part behind an oblique plane, as a lower lobe lies; with air-filled bronchi or without."""
    lung, (z, y, _) = scan.lung(label), _mm(scan)
    where = _highest(lung, z + 0.5 * y, share)
    return _paint(scan, where, TISSUE_HU, bubbles=_bronchi(scan, where) if bronchogram else None)


def atelectasis(scan: Scan, label: int, thickness_mm: float) -> Scan:
    """Airless lung on the diaphragm, from nothing in front to its full thickness at the back."""
    lung, (z, _, _) = scan.lung(label), _mm(scan)
    depth = lung.shape[0]
    footprint = lung.any(axis=0)
    lowest = np.where(footprint, depth - 1 - lung[::-1].argmax(axis=0), -1)
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    over = footprint & (lowest > slices[0] + 0.55 * (slices[-1] - slices[0]))
    rows = np.flatnonzero(over.any(axis=1))
    way = np.clip((np.arange(lung.shape[1]) - rows[0]) / (rows[-1] - rows[0]), 0.0, 1.0)[None, :, None]
    return _paint(scan, lung & over & (lowest * scan.spacing[0] - z < thickness_mm * way), TISSUE_HU)


def _bronchi(scan: Scan, where: Array, count: int = 14) -> Array:
    """Lines from the middle of the medial side of a region to its voxels, two to three millimetres wide."""
    places = np.argwhere(where)
    spacing = np.asarray(scan.spacing)
    middle = np.argwhere(scan.organs == HEART).mean(axis=0)
    root = places[np.argmin((((places - middle) * spacing) ** 2).sum(axis=1))]
    out = np.zeros_like(where)
    for end in places[_rng(scan).integers(0, len(places), count)]:
        steps = np.linspace(0.0, 1.0, int(np.abs(end - root).max()) * 3 + 2)[:, None]
        line = np.rint(root + (end - root) * steps).astype(int)
        out[tuple(line.T)] = True
    return ndi.binary_dilation(out, np.ones((1, 2, 2), bool)) & where


def dome(scan: Scan, label: int, up_mm: float, edge_mm: float = 35.0) -> Scan:
    """One hemidiaphragm with the abdomen below it moved up or down; its attachment at the ribs stays."""
    lung = scan.lung(label)
    depth, dz = lung.shape[0], scan.spacing[0]
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    footprint = lung.any(axis=0)
    lowest = np.where(footprint, depth - 1.0 - lung[::-1].argmax(axis=0), -1.0)
    over = ndi.binary_opening(lowest > slices[0] + 0.5 * (slices[-1] - slices[0]), iterations=2)
    nearest = ndi.distance_transform_edt(~over, return_distances=False, return_indices=True)
    surface = ndi.gaussian_filter(lowest[tuple(nearest)], [6.0 / mm for mm in scan.spacing[1:]])
    way = np.clip(ndi.distance_transform_edt(over, sampling=scan.spacing[1:]) / edge_mm, 0.0, 1.0)
    shift = up_mm / dz * way**2 * (3.0 - 2.0 * way)
    start = float(slices[0] + 0.25 * (slices[-1] - slices[0]))
    moved = np.clip(surface - shift, start + 2.0, depth - 1.5)
    z = np.arange(depth, dtype=np.float32)[:, None, None]
    above = start + (z - start) * (surface - start) / (moved - start)
    below = surface + (z - moved) * (depth - 1.0 - surface) / np.maximum(depth - 1.0 - moved, 1e-3)
    source = np.where(z <= start, z, np.where(z < moved, above, below))
    return _along_z(scan, np.where(shift != 0, np.clip(source, 0, depth - 1), z))


def sloping_wall(scan: Scan, label: int, up_mm: float, in_mm: float = 45.0) -> Scan:
    """A raised dome under a back that leans forward in its lower half, so that the posterior recess ends higher."""
    raised = dome(scan, label, up_mm)
    lung = raised.lung(label)
    slices, rows = np.flatnonzero(lung.any(axis=(1, 2))), np.flatnonzero(lung.any(axis=(0, 2)))
    middle = 0.5 * (slices[0] + slices[-1])
    down = np.clip((np.arange(lung.shape[0]) - middle) / (slices[-1] - middle), 0.0, 1.0)[:, None, None]
    columns = np.flatnonzero(lung.any(axis=(0, 1)))
    centre = 0.5 * (columns[0] + columns[-1])
    aside = np.clip(1.4 - np.abs(np.arange(lung.shape[2]) - centre) / (0.5 * len(columns)), 0.0, 1.0)[None, None]
    inward = in_mm / scan.spacing[1] * down * aside
    front, back, y = float(rows[0]), float(rows[-1]), np.arange(lung.shape[1], dtype=np.float32)[None, :, None]
    before = front + (y - front) * (back - front) / (back - front - inward)
    source = np.where(y < front, y, np.where(before <= back, before, y + inward))
    return _along_rows(raised, np.clip(source, 0, lung.shape[1] - 1))


def _along_rows(scan: Scan, source: Array) -> Scan:
    turned = replace(scan, hu=scan.hu.swapaxes(0, 1), organs=scan.organs.swapaxes(0, 1))
    moved = _along_z(turned, source.swapaxes(0, 1))
    hu, organs = (np.ascontiguousarray(x.swapaxes(0, 1)) for x in (moved.hu, moved.organs))
    return replace(scan, hu=hu, organs=organs)


def _along_z(scan: Scan, source: Array) -> Scan:
    low = np.floor(source).astype(np.intp)
    high = np.minimum(low + 1, scan.hu.shape[0] - 1)
    part = (source - low).astype(np.float32)
    hu = np.take_along_axis(scan.hu, low, 0) * (1 - part) + np.take_along_axis(scan.hu, high, 0) * part
    organs = np.take_along_axis(scan.organs, np.where(part > 0.5, high, low), 0)
    return replace(scan, hu=np.rint(hu).astype(np.int16), organs=organs)


def colon(scan: Scan, label: int) -> Scan:
    """Gas in the bowel right under a dome that it has pushed up."""
    raised = dome(scan, label, 40.0)
    lung, (z, y, x) = raised.lung(label), _mm(raised)
    footprint = lung.any(axis=0)
    lowest = np.where(footprint, lung.shape[0] - 1.0 - lung[::-1].argmax(axis=0), 1e4) * scan.spacing[0]
    inside = ndi.distance_transform_edt(footprint, sampling=scan.spacing[1:])
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    middle_of_lung = scan.spacing[0] * (slices[0] + 0.4 * (slices[-1] - slices[0]))
    row, column = np.unravel_index(np.where((lowest > middle_of_lung) & footprint, inside, 0).argmax(), inside.shape)
    top = lowest[row, column] + 9.0 + 20.0
    away = ((z - top) / 20.0) ** 2 + ((y - y[0, row, 0]) / 40.0) ** 2 + ((x - x[0, 0, column]) / 34.0) ** 2
    gas = (away < 1.0) & (raised.organs == 0) & ~ndi.binary_dilation(lung, iterations=2)
    hu = raised.hu.copy()
    hu[gas] = -975 + _rng(scan).normal(0, 12, int(gas.sum())).astype(np.int16)
    return replace(raised, hu=hu)


def contrast(scan: Scan) -> Scan:
    """Heart, aorta and the vessels of the lung as dense as in angiography."""
    central = (scan.organs == HEART) & (scan.hu > 0) & (scan.hu < 160)
    central = ndi.binary_opening(central, iterations=2)
    out = scan.hu.astype(np.float32) + CONTRAST_HU * ndi.gaussian_filter(central.astype(np.float32), 0.8)
    vessels = np.isin(scan.organs, (RIGHT, LEFT)) & (scan.hu > -300)
    out[vessels] += 200
    return replace(scan, hu=np.rint(out).astype(np.int16))


def lateral_aorta(scan: Scan, hu: float) -> Scan:
    """A wide, winding descending aorta that lies in the left lung's place beside the spine."""
    lungs = np.isin(scan.organs, (RIGHT, LEFT))
    slices = np.flatnonzero(lungs.any(axis=(1, 2)))
    z, y, x = _mm(scan)
    top, height = slices[0] * scan.spacing[0], (slices[-1] - slices[0]) * scan.spacing[0]
    left = np.argwhere(scan.lung(LEFT) & np.isin(np.arange(lungs.shape[0]), slices)[:, None, None])
    medial = np.quantile(left[:, 2], 0.05) * scan.spacing[2]
    back = np.quantile(left[:, 1], 0.8) * scan.spacing[1]
    way = np.clip((z - top) / height, 0.0, 1.0)
    column = medial + 20.0 + 12.0 * np.sin(2.5 * np.pi * way)
    tube = ((y - back) ** 2 + (x - column) ** 2 < 17.0**2) & (way > 0.33) & (way < 0.85)
    where = tube & (scan.lung(LEFT) | (scan.organs == HEART))
    out = _paint(scan, where & scan.lung(LEFT), hu)
    values = out.hu.copy()
    values[where] = hu
    organs = np.where(where, HEART, out.organs).astype(np.uint8)
    return replace(out, hu=values, organs=organs, painted=None, vessel=where)


def thick(scan: Scan, mm: float = 8.0) -> Scan:
    """Neighbouring slices averaged to about ``mm``."""
    step = max(1, round(mm / scan.spacing[0]))
    depth = scan.hu.shape[0] // step * step
    hu = scan.hu[:depth].reshape(-1, step, *scan.hu.shape[1:]).mean(axis=1)
    votes = scan.organs[:depth].reshape(-1, step, *scan.hu.shape[1:])
    organs = np.stack([(votes == k).sum(axis=1) for k in range(4)]).argmax(axis=0).astype(np.uint8)
    return replace(
        scan, hu=np.rint(hu).astype(np.int16), organs=organs, spacing=(scan.spacing[0] * step, *scan.spacing[1:])
    )


def rotated(scan: Scan, plane: tuple[int, int], degrees: float) -> Scan:
    """Turned about the middle in one plane, on the same grid; what comes in is air."""
    a, b = plane
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = cosine
    matrix[a, b], matrix[b, a] = sine * scan.spacing[b] / scan.spacing[a], -sine * scan.spacing[a] / scan.spacing[b]
    middle = (np.asarray(scan.hu.shape) - 1) / 2
    turn = partial(ndi.affine_transform, matrix=matrix, offset=middle - matrix @ middle)
    outside = float(scan.hu[0, 0, 0])
    return replace(scan, hu=turn(scan.hu, order=1, cval=outside), organs=turn(scan.organs, order=0, cval=0))


def smaller(scan: Scan, label: int, share: float = 0.7) -> Scan:
    """One side of the chest narrower, with everything in it."""
    columns = np.flatnonzero((scan.organs == HEART).any(axis=(0, 1)))
    middle, width = 0.5 * (columns[0] + columns[-1]), scan.hu.shape[2]
    x = np.arange(width, dtype=np.float64)
    own = x < middle if label == RIGHT else x > middle
    source = np.where(own, middle + (x - middle) / share, x)
    low = np.clip(np.floor(source), 0, width - 2).astype(int)
    part = np.clip(source - low, 0.0, 1.0).astype(np.float32)
    hu = scan.hu[:, :, low] * (1 - part) + scan.hu[:, :, low + 1] * part
    outside = (source < 0) | (source > width - 1)
    hu[:, :, outside] = scan.hu[0, 0, 0]
    organs = np.where(outside, 0, scan.organs[:, :, np.clip(np.rint(source), 0, width - 1).astype(int)])
    return replace(scan, hu=np.rint(hu).astype(np.int16), organs=organs.astype(np.uint8))


def cropped(scan: Scan, axis: int, low: float, high: float) -> Scan:
    """Part of an axis, as shares of the lungs' extent (0 to 1 keeps all that lies outside them too)."""
    others = tuple(a for a in range(3) if a != axis)
    used = np.flatnonzero(np.isin(scan.organs, (RIGHT, LEFT)).any(axis=others))
    start = 0 if low <= 0 else int(used[0] + low * len(used))
    stop = scan.hu.shape[axis] if high >= 1 else int(used[0] + high * len(used))
    part: list[slice] = [slice(None)] * 3
    part[axis] = slice(start, stop)
    return replace(scan, hu=scan.hu[tuple(part)].copy(), organs=scan.organs[tuple(part)].copy())


def circle(scan: Scan) -> Scan:
    """A round field of view that cuts both lungs, padded."""
    lungs = np.isin(scan.organs, (RIGHT, LEFT))
    rows, columns = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    _, y, x = _mm(scan)
    middle = [0.5 * (used[0] + used[-1]) * mm for used, mm in zip((rows, columns), scan.spacing[1:], strict=True)]
    radius = 0.42 * len(columns) * scan.spacing[2]
    outside = np.broadcast_to((y - middle[0]) ** 2 + (x - middle[1]) ** 2 > radius**2, scan.hu.shape)
    return replace(
        scan, hu=np.where(outside, -1024, scan.hu), organs=np.where(outside, 0, scan.organs).astype(np.uint8)
    )


def noisy(scan: Scan) -> Scan:
    """Low dose: noise of standard deviation 120 HU."""
    return replace(scan, hu=(scan.hu + _rng(scan).normal(0, 120, scan.hu.shape)).astype(np.int16))


def replaced(scan: Scan, labels: Sequence[int], hu: float) -> Scan:
    """Whole lungs without air."""
    return _paint(scan, np.isin(scan.organs, labels), hu)


def flipped(scan: Scan, axis: int) -> Scan:
    """One axis the other way round, which no header tells."""
    organs = np.flip(scan.organs, axis)
    if axis == 2:
        organs = np.array([0, LEFT, RIGHT, HEART], np.uint8)[organs]
    return replace(scan, hu=np.ascontiguousarray(np.flip(scan.hu, axis)), organs=organs)


def damages() -> dict[str, dict[str, Damage]]:
    """Every damage by group and name."""
    both = (("right", RIGHT), ("left", LEFT))
    return {
        "as it is": {"as it is": lambda scan: scan},
        "domes": {
            f"{side} dome {up:+d} mm": partial(dome, label=k, up_mm=up) for side, k in both for up in (-30, 30, 45, 60)
        }
        | {
            f"{side} dome {up:+d} mm, sloping wall": partial(sloping_wall, label=k, up_mm=up)
            for side, k in both
            for up in (0, 45)
        }
        | {f"{side} dome +45 mm, no recess": partial(dome, label=k, up_mm=45.0, edge_mm=12.0) for side, k in both}
        | {f"{side} colon under dome": partial(colon, label=k) for side, k in both},
        "effusions": {
            f"{side} effusion {share:.0%}": partial(effusion, label=k, share=share)
            for side, k in both
            for share in (0.1, 0.2, 0.3, 0.4)
        },
        "subpulmonic": {
            f"{side} subpulmonic {share:.0%}": partial(subpulmonic, label=k, share=share)
            for side, k in both
            for share in (0.1, 0.2, 0.3)
        },
        "consolidations": {
            f"{side} consolidation 30%{', bronchogram' if air else ''}": partial(
                consolidation, label=k, share=0.3, bronchogram=air
            )
            for side, k in both
            for air in (False, True)
        },
        "atelectasis": {
            f"{side} atelectasis {mm} mm": partial(atelectasis, label=k, thickness_mm=float(mm))
            for side, k in both
            for mm in (20, 35, 50)
        },
        "vessels": {
            "contrast": contrast,
            "lateral aorta": partial(lateral_aorta, hu=45.0),
            "lateral aorta, contrast": partial(lateral_aorta, hu=320.0),
        },
        "geometry": {
            "slices of 8 mm": thick,
            "turned 10 degrees": partial(rotated, plane=(1, 2), degrees=10),
            "turned 20 degrees": partial(rotated, plane=(1, 2), degrees=20),
            "leaning 8 degrees": partial(rotated, plane=(0, 2), degrees=8),
            "tilted 8 degrees": partial(rotated, plane=(0, 1), degrees=8),
            "right side smaller": partial(smaller, label=RIGHT),
            "left side smaller": partial(smaller, label=LEFT),
            "noise sd 120": noisy,
        },
        "cuts": {
            "top 30% cut": partial(cropped, axis=0, low=0.3, high=1),
            "bottom 30% cut": partial(cropped, axis=0, low=0, high=0.7),
            "right side cut": partial(cropped, axis=2, low=0.15, high=1),
            "left side cut": partial(cropped, axis=2, low=0, high=0.85),
            "front cut": partial(cropped, axis=1, low=0.2, high=1),
            "back cut": partial(cropped, axis=1, low=0, high=0.8),
            "round field of view": circle,
        },
        "lost": {
            "white-out right": partial(replaced, labels=(RIGHT,), hu=20),
            "white-out left": partial(replaced, labels=(LEFT,), hu=20),
            "no air": partial(replaced, labels=(RIGHT, LEFT), hu=40),
            "head-foot flip": partial(flipped, axis=0),
            "front-back flip": partial(flipped, axis=1),
            "left-right flip": partial(flipped, axis=2),
        },
    }
