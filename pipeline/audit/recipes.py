"""What each kind of thing looks like, and where it goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter1d, minimum_filter1d, uniform_filter1d

from ..errors import DataError
from .kinds import Wish
from .places import in_lung, on_heart, outer_surface
from .scene import Scene
from .shapes import capsules, ellipsoid, ragged
from .texture import Noise

__all__ = ["PUT", "Put"]

AIR_HU = -1000.0
SKIN_HU = -150.0
BRONCHI = 0.92
"""Share of a consolidation that is airless; the rest keeps what was there, bronchi with air in them among it."""

Put = tuple[tuple[float, float, float] | None, str]


def _nodule(scene: Scene, wish: Wish, place: str) -> Put:
    size, hu = _size(wish)
    centre, name = in_lung(scene.hu, scene.organs, scene.spacing, size / 2, place, scene.rng)
    axes = size / 2 * scene.rng.uniform(0.85, 1.0, 3)
    axes[int(scene.rng.integers(3))] = size / 2
    reach = (size, size, size)
    scene.paint(centre, reach, ellipsoid((axes[0], axes[1], axes[2])), hu, scene.lung(1, 2))
    return centre, name


def _ragged(scene: Scene, wish: Wish, place: str) -> Put:
    size, hu = _size(wish)
    centre, name = in_lung(scene.hu, scene.organs, scene.spacing, size / 4, place, scene.rng)
    lung = scene.lung(1 if name.startswith("right") else 2)
    share = BRONCHI if wish.kind.name == "consolidation" else 1.0
    scene.paint(centre, (size * 0.8,) * 3, ragged(size / 2, scene.rng), hu, lung, share)
    return centre, name


def _effusion(scene: Scene, wish: Wish, place: str) -> Put:
    """Free fluid of a person on the back: all of a lung behind a level, as deep as wanted."""
    size, hu = _size(wish)
    side = place or ("right", "left")[int(scene.rng.integers(2))]
    if side not in ("right", "left"):
        msg = f"unknown place '{place}' of an effusion. Legal: right, left"
        raise DataError(msg)
    lung = scene.lung(1 if side == "right" else 2)
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    if not rows.size:
        msg = f"no {side} lung to put an effusion into"
        raise DataError(msg)
    level = rows[-1] + 0.5 - size / scene.spacing[1]
    share = np.clip(np.arange(scene.hu.shape[1]) + 0.5 - level, 0, 1).astype(np.float32)[None, :, None]
    box = (slice(None), slice(max(int(level) - 1, 0), int(rows[-1]) + 1), slice(None))
    coverage = (lung[box] * share[:, box[1]]).astype(np.float32)
    scene.blend(box, coverage, hu)
    middle = np.argwhere(coverage > 0).mean(axis=0)
    return (float(middle[0]), float(middle[1]) + box[1].start, float(middle[2])), f"{side}_lung"


def _calcification(scene: Scene, wish: Wish, _: str) -> Put:
    size, hu = _size(wish)
    centre, name = on_heart(scene.organs, scene.spacing, scene.rng)
    scene.paint(centre, (size, size, size), ellipsoid((size / 2, size / 4, size / 4)), hu)
    return centre, name


def _device(scene: Scene, wish: Wish, _: str) -> Put:
    """A generator under the skin below the left collar bone, and its lead to the heart."""
    size, hu = _size(wish)
    body = scene.body()
    lungs = np.flatnonzero((scene.organs > 0).any(axis=(1, 2)))
    heart = np.argwhere(scene.organs == 3)
    if not lungs.size or not len(heart):
        msg = "no lungs and heart beside which a device could lie"
        raise DataError(msg)
    z = int(lungs[0] + 0.12 * (lungs[-1] - lungs[0]))
    columns = np.flatnonzero(body[z].any(axis=0))
    x = int(columns[0] + 0.72 * (columns[-1] - columns[0]))
    y = int(np.flatnonzero(body[z, :, x])[0]) + round(14 / scene.spacing[1])
    centre = (float(z), float(y), float(x))
    axes = (size / 2, 5.0, size / 2)
    scene.paint(centre, (size, 12.0, size), ellipsoid(axes), hu)
    tip = heart.mean(axis=0)
    tip[0] += 0.15 * np.ptp(heart[:, 0])
    top = np.array([heart[:, 0].min(), tip[1], tip[2]])
    points = (np.stack([np.array(centre), top, tip]) - np.array(centre)) * np.array(scene.spacing)
    reach = np.abs(points).max(axis=0) + 5
    scene.paint(centre, (reach[0], reach[1], reach[2]), capsules(points, 1.4), hu)
    return centre, "chest_wall"


def _on_skin(scene: Scene, wish: Wish, level: float) -> tuple[int, int, int]:
    found = outer_surface(scene.body(), level, 0.5 + float(scene.rng.choice([-1, 1])) * scene.rng.uniform(0.1, 0.2))
    if found is None:
        msg = f"no body on which a {wish.kind.name} could lie"
        raise DataError(msg)
    return found


def _token(scene: Scene, wish: Wish, _: str) -> Put:
    size, hu = _size(wish)
    z, y, x = _on_skin(scene, wish, scene.rng.uniform(0.35, 0.65))
    centre = (float(z), y - 2 / scene.spacing[1], float(x))
    scene.paint(centre, (size, 8.0, size), ellipsoid((size / 2, 3.5, size / 2)), hu)
    return centre, "skin"


def _tube(scene: Scene, wish: Wish, _: str) -> Put:
    """A hose along the body, before it."""
    size, hu = _size(wish)
    z, _front, x = _on_skin(scene, wish, 0.5)
    rows = np.flatnonzero(scene.body().any(axis=(0, 2)))
    centre = (float(z), max(float(rows[0]) - (size / 2 + 4) / scene.spacing[1], size / 2 / scene.spacing[1]), float(x))
    length = scene.hu.shape[0] * scene.spacing[0]
    points = np.array([[-length, 0.0, 0.0], [length, 0.0, 0.0]])
    reach = (length, size, size)
    scene.paint(centre, reach, capsules(points, size / 2), hu)
    scene.paint(centre, reach, capsules(points, 0.6 * size / 2), AIR_HU)
    return centre, "before_the_body"


def _fat(scene: Scene, wish: Wish, _: str) -> Put:
    """A layer of fat at both flanks, outside the skin; the elbows of the scan's field of view cut it off."""
    size, hu = _size(wish)
    tissue = scene.body()
    left, right = (np.logical_or.accumulate(view, axis=2) for view in (tissue, tissue[:, :, ::-1]))
    body = left & right[:, :, ::-1]  # with all that lies between, the lungs among it
    wide = maximum_filter1d(body.astype(np.uint8), 2 * round(size / scene.spacing[2]) + 1, axis=2) > 0
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    flank = np.zeros((1, body.shape[1], 1), bool)
    flank[:, int(rows[0] + len(rows) / 4) : int(rows[-1] - len(rows) / 4)] = True
    inner = minimum_filter1d(body.astype(np.uint8), 5, axis=2) > 0  # the skin's own voxels hold air in part
    layer = wide & ~inner & flank & (scene.hu < SKIN_HU)
    scene.blend((slice(None),) * 3, layer.astype(np.float32), hu)
    return None, "flanks"


def _marker(scene: Scene, wish: Wish, _: str) -> Put:
    """A letter L in the corner of every slice, as burnt-in text is."""
    size, hu = _size(wish)
    height, width = (round(size / step) for step in scene.spacing[1:])
    thick = max(1, round(0.18 * size / scene.spacing[2]))
    letter = np.zeros((max(height, 2), max(width, 2)), np.float32)
    letter[:, :thick] = 1
    letter[-thick:] = 1
    box = (slice(None), slice(2, 2 + len(letter)), slice(2, 2 + letter.shape[1]))
    room = scene.hu[box].shape[1:]
    scene.blend(box, np.broadcast_to(letter[: room[0], : room[1]], scene.hu[box].shape).copy(), hu)
    return None, "corner"


def _noise(scene: Scene, wish: Wish, _: str) -> Put:
    assert wish.kind.hu is not None
    return _everywhere(scene, scene.hu + Noise(wish.kind.hu, scene.noise.neighbour).sample(scene.hu.shape, scene.rng))


def _blur(scene: Scene, wish: Wish, _: str) -> Put:
    """A softer kernel."""
    assert wish.size_mm is not None
    return _everywhere(scene, gaussian_filter(scene.hu, (0, *(wish.size_mm / step for step in scene.spacing[1:]))))


def _thick(scene: Scene, wish: Wish, _: str) -> Put:
    """Slices of that thickness, on the same positions."""
    assert wish.size_mm is not None
    return _everywhere(scene, uniform_filter1d(scene.hu, max(2, round(wish.size_mm / scene.spacing[0])), axis=0))


def _offset(scene: Scene, wish: Wish, _: str) -> Put:
    """Another calibration."""
    assert wish.kind.hu is not None
    return _everywhere(scene, scene.hu + np.float32(wish.kind.hu))


def _everywhere(scene: Scene, hu: NDArray) -> Put:
    scene.hu[...] = hu
    scene.covered[...] = 1
    return None, "everywhere"


def _size(wish: Wish) -> tuple[float, float]:
    assert wish.size_mm is not None
    assert wish.kind.hu is not None
    return wish.size_mm, wish.kind.hu


PUT: dict[str, Callable[[Scene, Wish, str], Put]] = {
    "nodule": _nodule,
    "mass": _ragged,
    "consolidation": _ragged,
    "effusion": _effusion,
    "calcification": _calcification,
    "device": _device,
    "token": _token,
    "tube": _tube,
    "fat": _fat,
    "marker": _marker,
    "noise": _noise,
    "blur": _blur,
    "thick": _thick,
    "brighter": _offset,
    "darker": _offset,
}
