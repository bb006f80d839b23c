"""Attention maps of any number of outputs from one forward pass, without a trace left on the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..contract import NetworkContract, UndeclaredNetwork, contract_of, grid_of_layer
from ..geometry import FeatureGrid
from ..modules import find_module, suggest_modules, untouched, unwrap
from ..plugins import METHODS
from .capture import merge_calls, run_from_layer, run_whole
from .gradients import maps_by_gradients
from .linear_head import CLOSED_FORMS, closed_form_maps
from .targets import Targets, parse_targets

__all__ = ["AttentionMaps", "attention_by_method", "attention_maps"]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of some outputs.

    Args:
        values: ``[B, M, *grid]``, raw and signed; for a slab-wise network the grid is (S, h, w).
        logits: ``[B, M]``, of the same outputs.
        method: "hirescam" or "gradcam".
        targets: index of each of the M outputs among the network's.
        layer: dotted name of the layer that was explained.
        grid: where the cells lie in the network's input; None where they have no regular places there.
        closed_form: whether the maps came from the linear layer's weights instead of a backward pass.
    """

    values: Tensor
    logits: Tensor
    method: str
    targets: tuple[int, ...]
    layer: str
    grid: FeatureGrid | None
    closed_form: bool


def attention_maps(
    network: nn.Module,
    inputs: Tensor,
    *,
    method: str = "hirescam",
    targets: Targets = None,
    layer: str | nn.Module | None = None,
    create_graph: bool = False,
) -> AttentionMaps:
    """HiResCAM or Grad-CAM of one, some or all outputs, raw and signed.

    A network that offers a ``linear_head`` gives all maps by one product after one forward pass. Every other network
    runs forward once; the layer's output is cut loose there, and one short backward pass per target, from logit to that
    layer, gives the gradients. Both agree to rounding.

    The network runs in evaluation mode and in its own precision (outside autocast). Training flags, gradients, hooks
    and random state are afterwards as before, also after an exception; frozen networks and ``no_grad`` are no obstacle.

    Args:
        network: also wrapped in DistributedDataParallel, DataParallel or torch.compile (the network within is used). It
            returns logits ``[B, K]``, or a dictionary with "logits", or a tuple that starts with them.
        inputs: ``[B, ...]`` as the network takes it; ``[B, S, 3, H, W]`` for slab-wise networks.
        method: "hirescam" or "gradcam".
        targets: indices of the wanted outputs, or a single one; None for all.
        layer: a module or its dotted name; its output is ``[B, F, *grid]``, or in a slab-wise network
            ``[rows, F, h, w]``. None for the network's own choice (``organcam.contract.NetworkContract``). Naming a
            layer always means the backward path.
        create_graph: give maps and logits with the graph of the whole network, for a loss on them. The network then
            runs as it stands: its training mode, random state, autocast and grad mode are the caller's.

    Raises:
        ValueError: for an unknown method, layer or target, for a network without a layer of its own where none is
            named, for a layer that does not run, gives no map or does not lead to the logits, for slabs in an unknown
            order, and for inputs, logits or maps with NaN or infinity.
        TypeError: if inputs, targets or layer are of another type.
    """
    return attention_by_method(
        network, inputs, methods=(method,), targets=targets, layer=layer, create_graph=create_graph
    )[method]


def attention_by_method(
    network: nn.Module,
    inputs: Tensor,
    *,
    methods: Sequence[str] = ("hirescam", "gradcam"),
    targets: Targets = None,
    layer: str | nn.Module | None = None,
    create_graph: bool = False,
) -> dict[str, AttentionMaps]:
    """``attention_maps`` of several methods from the same forward pass (and the same backward passes, if any).

    Arguments and errors as there; ``methods`` are names, the result has one entry for each.
    """
    for method in methods:
        METHODS.get(method)
    core, contract = unwrap(network), contract_of(network)
    x = _validate_inputs(inputs)
    name, module = choose_layer(core, contract, layer)
    explain = partial(_explain, core, contract, methods=methods, targets=targets, layer=(name, module))
    if create_graph:
        found = explain(x, closed=layer is None, create_graph=True)
    else:
        with untouched(core, x.device):
            x = x.detach()
            x = x.clone() if x.is_inference() else x  # autograd refuses tensors made under inference_mode
            found = explain(x, closed=layer is None, create_graph=False)
    for maps in found.values():
        _validate_results(maps)
    return found


def _explain(
    core: nn.Module,
    contract: NetworkContract | UndeclaredNetwork,
    x: Tensor,
    *,
    methods: Sequence[str],
    targets: Targets,
    layer: tuple[str, nn.Module],
    closed: bool,
    create_graph: bool,
) -> dict[str, AttentionMaps]:
    name, module = layer
    head = None
    if closed and set(methods) <= set(CLOSED_FORMS):
        with torch.set_grad_enabled(create_graph):
            head = contract.linear_head(x)
    if head is not None:
        with torch.set_grad_enabled(create_graph):
            chosen = parse_targets(targets, head.bias.numel())
            part = head if targets is None else head.select(list(chosen))
            logits, values = part.logits(), {method: closed_form_maps(part, method) for method in methods}
    else:
        everything, calls = (run_whole if create_graph else run_from_layer)(core, x, module)
        return _of_run(core, contract, x, everything, calls, methods, targets, name, create_graph)
    grid = _grid(core, name, x, values)
    return {method: AttentionMaps(maps, logits, method, chosen, name, grid, True) for method, maps in values.items()}


def maps_of_run(
    network: nn.Module,
    inputs: Tensor,
    logits: Tensor,
    calls: Sequence[Tensor],
    *,
    methods: Sequence[str],
    targets: Targets,
    layer: str,
) -> dict[str, AttentionMaps]:
    """``attention_by_method`` of a forward pass that has been run already.

    Args:
        network: unwrapped.
        inputs: that it was given.
        logits: that it gave, with a graph from the calls.
        calls: what the layer gave.
        methods: names.
        targets: see ``attention_maps``.
        layer: name of the layer.

    Raises:
        ValueError: as there.
    """
    x = _validate_inputs(inputs).detach()
    found = _of_run(network, contract_of(network), x, logits, calls, methods, targets, layer, False)
    for maps in found.values():
        _validate_results(maps)
    return found


def _of_run(
    core: nn.Module,
    contract: NetworkContract | UndeclaredNetwork,
    x: Tensor,
    logits: Tensor,
    calls: Sequence[Tensor],
    methods: Sequence[str],
    targets: Targets,
    layer: str,
    create_graph: bool,
) -> dict[str, AttentionMaps]:
    _validate_run(logits, calls, x, layer)
    chosen = parse_targets(targets, logits.shape[1])
    merge = partial(merge_calls, input_shape=x.shape, order=contract.call_order, name=layer)
    values = maps_by_gradients(logits, calls, merge, chosen, methods, layer=layer, create_graph=create_graph)
    part = logits[:, list(chosen)]
    part = part if create_graph else part.detach()
    grid = _grid(core, layer, x, values)
    return {method: AttentionMaps(maps, part, method, chosen, layer, grid, False) for method, maps in values.items()}


def _grid(core: nn.Module, name: str, x: Tensor, values: Mapping[str, Tensor]) -> FeatureGrid | None:
    try:
        grid = grid_of_layer(core, name, tuple(x.shape[1:]))
    except ValueError:
        return None
    return grid if all(grid.shape == tuple(maps.shape[2:]) for maps in values.values()) else None


def choose_layer(
    core: nn.Module, contract: NetworkContract | UndeclaredNetwork, layer: str | nn.Module | None
) -> tuple[str, nn.Module]:
    """Name and module of the layer to explain: the given one, else the network's own."""
    if layer is not None:
        return find_module(core, layer)
    if not contract.attention_layer:
        msg = f"{type(core).__name__} names no attention layer of its own; give layer; {suggest_modules(core)}"
        raise ValueError(msg)
    return find_module(core, contract.attention_layer)


def _validate_inputs(inputs: Tensor) -> Tensor:
    if not isinstance(inputs, Tensor):
        msg = f"inputs must be a tensor [B, ...] as the network takes it, got {type(inputs).__name__}"
        raise TypeError(msg)
    if inputs.ndim < 3 or not len(inputs):
        msg = f"inputs must be a batch [B, ...] of images or volumes, got shape {list(inputs.shape)}"
        raise ValueError(msg)
    x = inputs.as_subclass(Tensor)  # MONAI's MetaTensor would carry the scan's affine over to the maps
    _refuse_nonfinite(x, "inputs hold")
    return x


def _validate_run(logits: Tensor, calls: Sequence[Tensor], x: Tensor, layer: str) -> None:
    if not calls:
        msg = f"layer {layer!r} did not run in this forward pass; choose one that does"
        raise ValueError(msg)
    if logits.ndim != 2 or len(logits) != len(x):
        msg = f"attention needs logits [B, M], the network gave {list(logits.shape)} for {len(x)} inputs"
        raise ValueError(msg)


def _validate_results(maps: AttentionMaps) -> None:
    _refuse_nonfinite(maps.logits, "the network's logits hold")
    _refuse_nonfinite(maps.values, f"the {maps.method} maps of layer {maps.layer!r} hold")


def _refuse_nonfinite(values: Tensor, what: str) -> None:
    if not values.isfinite().all():
        item = int((~values.isfinite()).flatten(1).any(1).nonzero()[0])
        msg = f"{what} NaN or infinity, first in item {item} of the batch"
        raise ValueError(msg)
