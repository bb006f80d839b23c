"""Which outputs of a network are to be explained."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from torch import Tensor

__all__ = ["Targets", "parse_targets"]

Targets = int | Sequence[int] | Tensor | None
"""One output, several, or None for all."""


def parse_targets(targets: Targets, count: int) -> tuple[int, ...]:
    """Indices of the wanted outputs among ``count``.

    Raises:
        TypeError: if it is neither an index nor a sequence of them.
        ValueError: if an index is out of range.

    Example:
        >>> parse_targets(None, 3), parse_targets(2, 3), parse_targets([1, 0], 3)
        ((0, 1, 2), (2,), (1, 0))
    """
    if targets is None:
        return tuple(range(count))
    try:
        given = targets.flatten().tolist() if isinstance(targets, Tensor) else targets
        wanted = (index(given),) if hasattr(given, "__index__") else tuple(index(one) for one in given)
    except TypeError:
        msg = f"targets must be an index, a sequence of indices or None for all, got {targets!r}"
        raise TypeError(msg) from None
    wrong = [one for one in wanted if not 0 <= one < count]
    if wrong:
        msg = f"target {wrong[0]} is out of range; the network has outputs 0 to {count - 1}"
        raise ValueError(msg)
    return wanted
