"""One forward pass that keeps what layers gave, and the order of a layer's calls."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from .inputs import Batch, wrong_axes

__all__ = ["Calls", "kept_calls", "merge_calls", "run_from_layers", "run_network", "run_whole"]

Calls = dict[str, list[Tensor]]
"""Name of a layer -> its output at each of its calls."""


def run_from_layers(
    network: nn.Module, batch: Batch, layers: Mapping[str, nn.Module], slabs: bool = False
) -> tuple[Any, Calls]:
    """The output with a graph that starts at the layers, and what they gave.

    What comes before the layers has no graph, which is where the memory goes.

    Args:
        network: unwrapped.
        batch: what it is given.
        layers: by name.
        slabs: whether it takes slabs, and so may run the layer for one chunk of them after another.
    """
    modes: list[bool] = []
    with torch.no_grad(), _no_graph_before(network, layers.values()) if slabs else nullcontext():
        output, calls = run_whole(network, batch, layers, cut=True, modes=modes)
        modes.append(torch.is_grad_enabled())
    if not all(modes[1:]):  # a grad mode that the network itself sets ended behind a layer, and the graph with it
        with torch.enable_grad():
            output, calls = run_whole(network, batch, layers, cut=True)
    return output, calls


def run_whole(
    network: nn.Module,
    batch: Batch,
    layers: Mapping[str, nn.Module],
    cut: bool = False,
    modes: list[bool] | None = None,
) -> tuple[Any, Calls]:
    """The same with the graph that the caller's grad mode asks for; arguments as of ``kept_calls``."""
    with kept_calls(layers, cut, modes) as calls:
        return run_network(network, batch), calls


def run_network(network: nn.Module, batch: Batch) -> Any:
    """The network's output.

    Raises:
        ValueError: if it failed because axes of the image are in another order than the network takes.
    """
    try:
        return batch.run(network)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = wrong_axes(network, batch.image, error)
        if reason is None:
            raise
        raise ValueError(reason) from error


@contextmanager
def kept_calls(layers: Mapping[str, nn.Module], cut: bool, modes: list[bool] | None = None) -> Iterator[Calls]:
    """What layers give meanwhile in this thread, call by call.

    Args:
        layers: by name.
        cut: whether the graph begins there.
        modes: takes the grad mode in which each call found the network; only with ``cut``.
    """
    calls: Calls = {name: [] for name in layers}
    owner = threading.get_ident()
    handles = []
    for name, layer in layers.items():

        def keep(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> Tensor | None:
            if threading.get_ident() != owner:
                return None  # somebody else runs the same network
            if not isinstance(output, Tensor):
                msg = f"layer {name!r} must return one tensor, got {type(output).__name__}; choose a module inside it"
                raise ValueError(msg)
            if cut:
                if modes is not None:
                    modes.append(torch.is_grad_enabled())
                torch.set_grad_enabled(True)
                if len(layers) == 1 or not output.requires_grad:  # else it may lead back to another of the layers
                    output = output.detach().requires_grad_()
            calls[name].append(output)
            return output.clone()  # a following in-place ReLU may then overwrite it

        handles.append(layer.register_forward_hook(keep))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _no_graph_before(network: nn.Module, layers: Iterable[nn.Module]) -> Iterator[None]:
    """No graph of what comes before a layer in the second chunk of slabs either.

    From the layer's first call on, grad mode is on. Modules that have run before it, and are now given nothing that
    comes from the layer, need no graph; it would hold the activations of a whole chunk.
    """
    wanted, owner = set(layers), threading.get_ident()
    before: set[nn.Module] = set()
    paused: list[nn.Module] = []

    def enter(module: nn.Module, args: Any, named: Any) -> None:
        if threading.get_ident() != owner:
            return
        if not torch.is_grad_enabled():
            if not paused:
                before.add(module)
        elif module in before and not any(one.requires_grad for one in _tensors((args, named))):
            torch.set_grad_enabled(False)
            paused.append(module)

    def leave(module: nn.Module, _args: Any, _output: Any) -> None:
        if threading.get_ident() == owner and paused and paused[-1] is module:
            paused.pop()
            torch.set_grad_enabled(True)

    with ExitStack() as hooks:
        for module in network.modules():
            if wanted.isdisjoint(module.modules()):  # the graph begins inside the others
                hooks.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                hooks.callback(module.register_forward_hook(leave).remove)
        yield


def _tensors(values: Any) -> list[Tensor]:
    return [one for one in tree_flatten(values)[0] if isinstance(one, Tensor)]


def merge_calls(
    calls: Sequence[Tensor], input_shape: Sequence[int], order: str | None, name: str, hint: str = ""
) -> Tensor:
    """A layer's calls as one ``[B, F, *grid]``.

    Args:
        calls: ``[B, F, *grid]`` once, or slabs as rows ``[rows, F, h, w]`` in one call or several.
        input_shape: of the batch.
        order: whose rows come first, see ``organcam.contract.CallOrder``; None where the network does not say, which
            is enough for a single item.
        name: of the layer, for messages.
        hint: what to say of other layers where this one gives no map.

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
            f"a layer whose output keeps the axes of the input{hint and '; '}{hint}"
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
