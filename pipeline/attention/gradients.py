"""Maps by gradients from logits back to a layer, for any network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..plugins import METHODS

__all__ = ["maps_by_gradients"]

Merge = Callable[[Sequence[Tensor]], Tensor]


def maps_by_gradients(
    logits: Tensor,
    calls: Sequence[Tensor],
    merge: Merge,
    targets: Sequence[int],
    methods: Sequence[str],
    *,
    layer: str,
    create_graph: bool = False,
) -> dict[str, Tensor]:
    """``[B, M, *grid]`` for each method; one short backward pass a target, shared by the methods.

    Args:
        logits: ``[B, K]`` with a graph from the calls.
        calls: what the layer gave.
        merge: makes one ``[B, F, *grid]`` of tensors like the calls.
        targets: M columns of the logits.
        methods: names.
        layer: its name, for messages.
        create_graph: whether the maps can be differentiated.

    Raises:
        ValueError: if the logits do not depend on the layer.
    """
    activation = merge(calls) if create_graph else merge([call.detach() for call in calls])
    found: dict[str, list[Tensor]] = {method: [] for method in methods}
    for target in targets:
        gradient = merge(_gradients(logits[:, target], calls, layer, create_graph))
        for method, maps in found.items():
            maps.append(METHODS.get(method)(activation, gradient, activation.ndim - 2))
    empty = activation.new_empty(len(activation), 0, *activation.shape[2:])
    return {method: torch.stack(maps, dim=1) if maps else empty for method, maps in found.items()}


def _gradients(scores: Tensor, calls: Sequence[Tensor], layer: str, create_graph: bool) -> list[Tensor]:
    found: Sequence[Tensor | None] = (None,)
    if scores.requires_grad:
        found = torch.autograd.grad(
            scores.sum(), list(calls), retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    gradients = [gradient for gradient in found if gradient is not None]
    if len(gradients) != len(calls):
        times = "" if len(calls) == 1 else f" (or on one of its {len(calls)} calls)"
        msg = f"the logits do not depend on layer {layer!r}{times}; choose another layer"
        raise ValueError(msg)
    return gradients
