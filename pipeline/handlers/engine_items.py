"""Reading single scans out of a MONAI engine, whether its batches have been decollated or not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import decollate_batch
from torch import Tensor

__all__ = ["engine_items", "find_entry", "plain"]


def engine_items(state: Any, keys: tuple[Hashable, ...]) -> list[dict[Hashable, Any]]:
    """The chosen entries of every scan of the current iteration.

    An entry is looked for in the engine's output, in its predictions, in its targets, and in the batch, in this order.

    Args:
        state: of a MONAI engine after its iteration; ``output`` and ``batch`` are dictionaries, or lists of
            dictionaries once MONAI has decollated them.
        keys: names of the entries; one that is nowhere is left out.

    Returns:
        One dictionary per scan.
    """
    output, batch = state.output, state.batch
    if not isinstance(output, (list, tuple)):
        return decollate_batch(_choose(output, batch, keys))
    sources = batch if isinstance(batch, (list, tuple)) and len(batch) == len(output) else [None] * len(output)
    return [_choose(one, source, keys) for one, source in zip(output, sources, strict=True)]


def find_entry(item: Mapping[Hashable, Any], key: Hashable, meant: str) -> Any:
    """An entry that must be there.

    Raises:
        KeyError: naming the entry, what it is for, and what the item has.
    """
    if key not in item:
        has = ", ".join(sorted(map(str, item))) or "none of the wanted entries"
        msg = f"neither the engine's output nor its batch has {key!r} ({meant}); found: {has}"
        raise KeyError(msg)
    return item[key]


def plain(value: Any) -> Tensor:
    """A tensor without MONAI's metadata."""
    tensor = torch.as_tensor(value)
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor


def _choose(output: Any, batch: Any, keys: tuple[Hashable, ...]) -> dict[Hashable, Any]:
    sources = [source for source in (output, batch) if isinstance(source, Mapping)]
    nested = [source[key] for source in sources[:1] for key in ("pred", "label") if key in source]
    places = [*sources[:1], *(value for value in nested if isinstance(value, Mapping)), *sources[1:]]
    chosen = {}
    for key in keys:
        for place in places:
            # "label" is both the targets as a whole and one of them
            if key in place and place[key] is not None and not isinstance(place[key], Mapping):
                chosen[key] = place[key]
                break
    return chosen
