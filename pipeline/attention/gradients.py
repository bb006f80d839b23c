"""Maps by gradients from scores back to layers, for any network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .capture import Calls

__all__ = ["Merge", "check_chunk", "gradients_by_target", "maps_by_gradients"]

Merge = Callable[[str, Sequence[Tensor]], Tensor]
"""Makes one ``[B, F, *grid]`` of a layer's calls."""

TOGETHER = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Values of an activation times targets up to which backward passes go together. On a processor only what is small
gains by it (20 % for the last blocks of a DenseNet, nothing for a U-Net)."""


def maps_by_gradients(
    scores: Tensor,
    calls: Calls,
    merge: Merge,
    methods: Mapping[str, Callable[..., Tensor]],
    *,
    create_graph: bool = False,
    chunk: int | None = None,
    hint: str = "choose another layer",
) -> dict[str, dict[str, Tensor]]:
    """``[B, M, *grid]`` for each method and layer; one short backward pass a target, shared by methods and layers.

    Args:
        scores: ``[B, M]`` with a graph from the calls.
        calls: what the layers gave.
        merge: see there.
        methods: functions of activation, gradient and number of spatial axes.
        create_graph: whether the maps can be differentiated.
        chunk: targets whose backward passes go together; None for as many as gain by it.
        hint: what to say of other layers where the scores do not depend on one of these.

    Raises:
        ValueError: if the scores do not depend on a layer.
    """
    kept = {
        name: merge(name, found if create_graph else [call.detach() for call in found]) for name, found in calls.items()
    }
    maps: dict[str, dict[str, list[Tensor]]] = {method: {name: [] for name in calls} for method in methods}
    for gradients in gradients_by_target(scores, calls, merge, create_graph=create_graph, chunk=chunk, hint=hint):
        for method, function in methods.items():
            for name, gradient in gradients.items():
                maps[method][name].append(function(kept[name], gradient, kept[name].ndim - 2))
    return {
        method: {name: _stacked(found, kept[name]) for name, found in by_layer.items()}
        for method, by_layer in maps.items()
    }


def gradients_by_target(
    scores: Tensor,
    calls: Calls,
    merge: Merge,
    *,
    create_graph: bool = False,
    chunk: int | None = None,
    hint: str = "choose another network",
) -> Iterator[dict[str, Tensor]]:
    """For one target after the other the gradient at every layer, ``[B, F, *grid]``; arguments as there."""
    everything = [call for found in calls.values() for call in found]
    count = scores.shape[1]
    together = 1 if create_graph or count < 2 else _together(chunk, everything)
    for start in range(0, count, together):
        part = scores[:, start : start + together]
        keep = create_graph or start + together < count
        by_call = _gradients(part, everything, create_graph=create_graph, keep=keep)
        _check_reached(by_call, calls, hint)
        for target in range(part.shape[1]):
            place, found = 0, {}
            for name, own in calls.items():
                own_calls = by_call[place : place + len(own)]
                found[name] = merge(name, [one[target] for one in own_calls if one is not None])
                place += len(own)
            yield found


def _together(chunk: int | None, calls: Sequence[Tensor]) -> int:
    if chunk is not None:
        return chunk
    values = sum(call.numel() for call in calls)
    return max(1, TOGETHER.get(calls[0].device.type, 1) // max(1, values))


def _gradients(scores: Tensor, calls: Sequence[Tensor], *, create_graph: bool, keep: bool) -> Sequence[Tensor | None]:
    """``[targets, *call]`` for each call; None where the scores do not depend on it."""
    count = scores.shape[1]
    found: Sequence[Tensor | None] = [None] * len(calls)
    if scores.requires_grad:
        options: dict[str, Any] = {"create_graph": create_graph, "allow_unused": True}
        if count == 1:
            alone = torch.autograd.grad(scores.sum(), calls, retain_graph=keep, **options)
            found = [None if one is None else one[None] for one in alone]
        else:
            chosen = torch.eye(count, dtype=scores.dtype, device=scores.device)[:, None].expand(-1, len(scores), -1)
            try:
                found = torch.autograd.grad(scores, calls, chosen, retain_graph=True, is_grads_batched=True, **options)
            except RuntimeError:  # an operation that knows no batches of gradients
                alone_of = [
                    torch.autograd.grad(scores[:, target].sum(), calls, retain_graph=True, **options)
                    for target in range(count)
                ]
                found = [None if one[0] is None else torch.stack(one) for one in zip(*alone_of, strict=True)]
    return found


def _check_reached(found: Sequence[Tensor | None], calls: Calls, hint: str) -> None:
    given = iter(found)
    for name, own in calls.items():
        if any(next(given) is None for _ in own):
            times = "" if len(own) == 1 else f" (or on one of its {len(own)} calls)"
            what = "the input" if name == "" else f"layer {name!r}"
            msg = f"the logits do not depend on {what}{times}; {hint}"
            raise ValueError(msg)


def _stacked(maps: list[Tensor], activation: Tensor) -> Tensor:
    return torch.stack(maps, dim=1) if maps else activation.new_empty(len(activation), 0, *activation.shape[2:])


def check_chunk(chunk: int | None) -> None:
    """Raise a ValueError where a chunk is less than 1."""
    if chunk is not None and chunk < 1:
        msg = f"chunk must be at least 1 target, or None for as many as gain by it, got {chunk}"
        raise ValueError(msg)
