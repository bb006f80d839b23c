"""Branching trees of the lungs' vessels and airways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segments", "cross", "grow_trees"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Segments:
    """Straight pieces of vessels.

    Attributes:
        start, stop: ``[N, 3]`` mm.
        radius: ``[N]`` mm.
        generation: ``[N]``, 0 at the root.
    """

    start: Array
    stop: Array
    radius: Array
    generation: NDArray[np.int64]

    def until(self, generation: int) -> Segments:
        """The pieces of the generations before the given one."""
        keep = self.generation < generation
        return Segments(self.start[keep], self.stop[keep], self.radius[keep], self.generation[keep])


def grow_trees(
    rng: np.random.Generator,
    roots: NDArray,
    aims: NDArray,
    radius: float,
    generations: int,
    inside: Callable[[NDArray, NDArray, NDArray], NDArray[np.bool_]],
) -> Segments:
    """Halve branches, generation by generation, from roots towards given places; a branch that leaves the lung ends.

    Args:
        rng: random numbers.
        roots: ``[A, 3]`` (z, y, x) mm, where each main branch starts.
        aims: ``[A, 3]`` mm, where it heads.
        radius: of the main branches, mm; shrinks by 0.79 at each division (Murray's law for two equal daughters).
        generations: how often a branch divides, with itself.
        inside: whether points (z, y, x) lie in a lung.
    """
    base = np.asarray(roots, np.float32)
    heading = (np.asarray(aims) - base).astype(np.float32)
    reach = np.sqrt((heading * heading).sum(1, keepdims=True))
    heading /= reach
    length = reach * np.float32(0.26)
    pieces = []
    for generation in range(generations):
        tip = base + heading * length
        pieces.append(
            (base, tip, np.full(len(base), radius * 0.79**generation, np.float32), np.full(len(base), generation))
        )
        if generation > 1:
            alive = inside(tip[:, 0], tip[:, 1], tip[:, 2])
            heading, tip, length = heading[alive], tip[alive], length[alive]
        turn = cross(heading, rng.standard_normal(heading.shape, np.float32))
        turn /= np.sqrt((turn * turn).sum(1, keepdims=True))
        angle = rng.uniform(0.2, 0.62, (2, len(tip), 1)).astype(np.float32)
        angle[1] *= -1
        heading = (heading * np.cos(angle) + turn * np.sin(angle)).reshape(-1, 3)
        base = np.concatenate([tip, tip])
        length = np.concatenate([length, length])
        length = length * rng.uniform(0.74, 0.96, (len(base), 1)).astype(np.float32)
    start, stop, width, order = (np.concatenate(p) for p in zip(*pieces, strict=True))
    return Segments(start, stop, width, order)


def cross(a: Array, b: Array) -> Array:
    """Cross products of rows; several times faster than ``np.cross`` on a few hundred rows."""
    return a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]
