"""Noise of the scanner: quantum noise, more of it through the shoulders and in the middle of the body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .canvas import Grid

__all__ = ["add_noise"]

Array = NDArray[np.float32]


def add_noise(hu: Array, grid: Grid, rng: np.random.Generator, level: float, carry: Array | None) -> Array:
    """Add correlated noise in place; slabs of one scan are given in order.

    Neighbouring pixels share noise where they are finer than the scanner's kernel (about 1.5 mm), neighbouring slices
    where they are closer than 2 mm. Independent of what is depicted, so that twins of an intervention share it.

    Args:
        hu: ``[D, H, W]``.
        grid: where the voxels lie.
        rng: random numbers, the same generator for all slabs of a scan.
        level: standard deviation in the middle of the body, HU.
        carry: white noise of the slice above the slab, as returned for the slab before; None at the top.

    Returns:
        White noise of the last slice, for the next slab.
    """
    if carry is None:
        carry = rng.standard_normal(hu.shape[1:], np.float32)
    white = rng.standard_normal(hu.shape, np.float32)
    last = white[-1].copy()
    noise = white
    if grid.spacing[0] < 2:
        above = np.concatenate([carry[None], white[:-1]])
        noise = white + np.float32(0.6) * above
        noise /= np.float32(np.sqrt(1 + 0.36))
    if grid.spacing[2] < 1.5:
        weight = np.float32(0.7)
        noise[:, 1:] += weight * noise[:, :-1].copy()
        noise[:, :, 1:] += weight * noise[:, :, :-1].copy()
        noise /= np.float32(1 + weight**2)
    z, y, x = (grid.axis(a).astype(np.float32) for a in range(3))
    along = 1 + 0.7 * np.exp(-np.square((z - 10) / 40))
    across = np.exp(-(np.square(y / 150)[:, None] + np.square(x / 190)[None]))
    noise *= (level * along)[:, None, None].astype(np.float32)
    noise *= across.astype(np.float32)
    hu += noise
    return last
