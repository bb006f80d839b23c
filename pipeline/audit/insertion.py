"""Put a lesion of known kind, size and place, a confounder, or another acquisition into a scan.

The scan stays as it was everywhere else. What is put in has the density of its tissue, covers the voxels of its border
in part, and carries noise of the level and grain that the scan's soft tissue has. It is no copy of a real lesion:
it has no spicules, no vessels that lead to it, and pushes nothing aside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.volume import Volume
from ..errors import DataError
from .kinds import Wish
from .recipes import PUT
from .scene import Scene
from .texture import measure_noise

__all__ = ["Insertion", "insert"]

DARKEST, BRIGHTEST = -1024, 3071


@dataclass(frozen=True)
class Insertion:
    """A scan with one thing put in.

    Attributes:
        volume: the scan, int16, in the axes of the given one.
        covered: share of each voxel that was covered, float32, same axes; 1 everywhere for another acquisition.
        wish: what was put in.
        place: such as ``right_upper``.
        centre_mm: of what was put in, RAS+ mm; None where it is everywhere.
    """

    volume: Volume
    covered: NDArray[np.float32]
    wish: Wish
    place: str
    centre_mm: tuple[float, float, float] | None


def insert(volume: Volume, organs: Volume, wish: Wish, *, place: str = "", seed: int = 0) -> Insertion:
    """Put one thing into a scan.

    Args:
        volume: HU.
        organs: 0 background, 1 right lung, 2 left lung, 3 heart and mediastinum, on the scan's voxels.
        wish: kind and size (``parse_wish``).
        place: of what goes into a lung: one of ``LUNG_THIRDS``; ``right`` or ``left`` of an effusion; empty for any.
        seed: of place, shape and noise.

    Raises:
        DataError: if organs and scan have different voxels, or there is no room for it; the message says for what.
    """
    if organs.array.shape != volume.array.shape or not np.allclose(organs.affine, volume.affine, atol=1e-2):
        msg = f"organs {organs.array.shape} and scan {volume.array.shape} do not lie on the same voxels"
        raise DataError(msg)
    scan, labels = volume.reoriented(), organs.reoriented().array
    hu = np.array(scan.array, dtype=np.float32, order="C")
    rng = np.random.default_rng([seed, *wish.kind.name.encode()])
    scene = Scene(hu, labels, scan.spacing, measure_noise(hu, labels == 3), rng, np.zeros(hu.shape, np.float32))
    centre, name = PUT[wish.kind.name](scene, wish, place)
    if not scene.covered.any():
        msg = f"{wish} covers no voxel of this scan"
        raise DataError(msg)
    whole = np.clip(np.rint(scene.hu), DARKEST, BRIGHTEST).astype(np.int16)
    changed = Volume(np.where(scene.covered > 0, whole, scan.array).astype(np.int16), scan.affine)
    world = None if centre is None else tuple(float(v) for v in (scan.affine @ [*centre, 1.0])[:3])
    covered = Volume(scene.covered, scan.affine).reoriented(volume.axes).array
    return Insertion(changed.reoriented(volume.axes), covered, wish, name, world)  # type: ignore[arg-type]
