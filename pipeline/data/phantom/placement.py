"""How a person lies in the field of view: off its middle, turned, cut at top and bottom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .canvas import Grid
from .habitus import Habitus
from .settings import PhantomSettings

__all__ = ["Placement", "draw_placement", "field_of_view", "turned"]

FEWEST_SLICES = 8


@dataclass(frozen=True)
class Placement:
    """One person's place in the scanner.

    Attributes:
        shift: mm along (z, y, x) beside the habitus' own.
        degrees: turned about the long axis; positive brings the left side to the front.
        cut: mm missing of the field of view at the top and at the bottom.
    """

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    degrees: float = 0.0
    cut: tuple[float, float] = (0.0, 0.0)


def draw_placement(rng: np.random.Generator, settings: PhantomSettings) -> Placement:
    """Drawn evenly within the settings' limits, whichever of them are in use."""
    reach = rng.uniform(-1, 1, 4)
    z, y, x = (float(mm * share) for mm, share in zip(settings.off_centre_mm, reach, strict=False))
    top, bottom = (float(settings.cropped_mm * share) for share in rng.uniform(0, 1, 2))
    return Placement((z, y, x), float(settings.turned_degrees * reach[3]), (top, bottom))


def field_of_view(settings: PhantomSettings, habitus: Habitus, placement: Placement) -> Grid:
    """The scan's grid, centred on the chest but for the shifts; its top lies about 25 mm above the apices for the
    default height. Where it is cut, slices are missing, `FEWEST_SLICES` at least are left."""
    spacing, shape = settings.voxel_mm, settings.shape
    shift = np.add(habitus.shift, placement.shift)
    middle = np.array([habitus.height / 2 + 12, 6, 0]) + shift
    origin = [float(m - s * (n - 1) / 2) for m, s, n in zip(middle, spacing, shape, strict=True)]
    top, bottom = (int(mm / spacing[0]) for mm in placement.cut)
    top = min(top, shape[0] - FEWEST_SLICES)
    bottom = min(bottom, shape[0] - FEWEST_SLICES - top)
    return Grid((shape[0] - top - bottom, *shape[1:]), spacing, (origin[0] + top * spacing[0], origin[1], origin[2]))


def turned(array: NDArray, grid: Grid, degrees: float, outside: float, order: int) -> NDArray:
    """Axial slices turned about the middle of the chest, (y, x) = (0, 0) mm.

    Args:
        array: ``[D, H, W]`` on the grid.
        grid: where its voxels lie.
        degrees: see `Placement`.
        outside: value of what comes from outside the field of view.
        order: of the spline: 0 for labels, 1 for HU.

    Returns:
        The same shape and type.
    """
    angle = np.deg2rad(degrees)
    spacing, origin = np.asarray(grid.spacing[1:]), np.asarray(grid.origin[1:])
    # what lies at p mm now lay at turn @ p before
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    matrix = turn * spacing[None, :] / spacing[:, None]
    offset = (turn @ origin - origin) / spacing
    options = {"order": order, "mode": "constant", "cval": outside, "prefilter": False}
    return np.stack([ndimage.affine_transform(part, matrix, offset, **options) for part in array])
