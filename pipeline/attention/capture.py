"""One forward pass that keeps what a layer gave, and the order of a layer's calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["kept_calls", "logits_of", "merge_calls", "run_from_layer", "run_whole"]


def run_from_layer(network: nn.Module, x: Tensor, layer: nn.Module) -> tuple[Tensor, list[Tensor]]:
    """Logits with a graph that starts at the layer, and the layer's output at each of its calls.

    What comes before the layer has no graph, which is where the memory goes.
    """
    with torch.no_grad():
        logits, calls = _run(network, x, layer, cut=True)
    if calls and not logits.requires_grad:  # the layer lies in a part that the network itself runs under no_grad
        with torch.enable_grad():
            logits, calls = _run(network, x, layer, cut=True)
    return logits, calls


def run_whole(network: nn.Module, x: Tensor, layer: nn.Module) -> tuple[Tensor, list[Tensor]]:
    """The same with the graph of the whole network, for maps that a loss goes through."""
    return _run(network, x, layer, cut=False)


def _run(network: nn.Module, x: Tensor, layer: nn.Module, cut: bool) -> tuple[Tensor, list[Tensor]]:
    with kept_calls(layer, cut) as calls:
        return logits_of(network(x)), calls


@contextmanager
def kept_calls(layer: nn.Module, cut: bool) -> Iterator[list[Tensor]]:
    """What the layer gives meanwhile, call by call; with ``cut`` the graph begins there."""
    calls: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            msg = f"the layer must return one tensor, got {type(output).__name__}; choose a module inside it"
            raise ValueError(msg)
        if cut:
            torch.set_grad_enabled(True)
            output = output.detach().requires_grad_()
        calls.append(output)
        return output.clone()  # a following in-place ReLU may then overwrite it

    handle = layer.register_forward_hook(keep)
    try:
        yield calls
    finally:
        handle.remove()


def logits_of(output: Any) -> Tensor:
    """The logits in what a network returned: alone, under "logits" in a dictionary, or first in a tuple.

    Raises:
        ValueError: if they are nowhere.
    """
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        msg = f"the network must return logits, a dictionary with 'logits' or a tuple that starts with them, got {kind}"
        raise ValueError(msg)
    return output


def merge_calls(calls: Sequence[Tensor], input_shape: Sequence[int], order: str | None, name: str) -> Tensor:
    """A layer's calls as one ``[B, F, *grid]``.

    Args:
        calls: ``[B, F, *grid]`` once, or slabs as rows ``[rows, F, h, w]`` in one call or several.
        input_shape: of the batch.
        order: whose rows come first, see ``organcam.contract.CallOrder``; None where the network does not say, which
            is enough for a single item.
        name: of the layer, for messages.

    Raises:
        ValueError: if the output is no map, or the order of the rows is not known.
    """
    items, shape = input_shape[0], calls[0].shape
    rows = sum(call.shape[0] for call in calls)
    in_rows = len(input_shape) == 5 and len(shape) == 4
    if any(call.shape[1:] != shape[1:] for call in calls) or (len(calls) > 1 and not in_rows):
        msg = f"layer {name!r} runs {len(calls)} times in one forward pass; choose a layer that runs once"
        raise ValueError(msg)
    if len(shape) != len(input_shape) and not in_rows:
        msg = (
            f"layer {name!r} gives {list(shape)} for inputs {list(input_shape)}, which is no map [B, F, *grid]; choose "
            "a layer whose output keeps the axes of the input"
        )
        raise ValueError(msg)
    if len(calls) == 1 and rows == items and not (in_rows and order is not None and input_shape[1] == 1):
        return calls[0]
    slabs, rest = divmod(rows, items)
    if rest or not in_rows or slabs not in {input_shape[1], input_shape[2]}:
        msg = (
            f"layer {name!r} gives {rows} rows {list(shape)} in {len(calls)} calls for inputs {list(input_shape)}: "
            "neither the items of the batch nor their slabs; choose another layer"
        )
        raise ValueError(msg)
    if order is None and items > 1:
        msg = (
            f"layer {name!r} sees slabs as a batch ({rows} rows in {len(calls)} calls for {items} items), and the "
            "network does not say in which order: give one item at a time, or declare call_order (NetworkContract)"
        )
        raise ValueError(msg)
    whole = torch.cat(list(calls)) if len(calls) > 1 else calls[0]
    if order == "slabs":
        return whole.unflatten(0, (slabs, items)).movedim(0, 2)
    return whole.unflatten(0, (items, slabs)).transpose(1, 2)
