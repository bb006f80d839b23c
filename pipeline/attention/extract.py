"""Attention maps of any number of labels from one forward pass, without a trace left on the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import did_you_mean
from .linear_head import CLOSED_FORMS, LinearHead, closed_form_maps
from .methods import METHODS, get_method

__all__ = ["AttentionMaps", "attention_by_method", "attention_maps", "unwrap"]


@dataclass(frozen=True)
class AttentionMaps:
    """Attention of some labels.

    Args:
        values: ``[B, M, *grid]``, raw and signed; for a slab-wise network the grid is (S, h, w).
        logits: ``[B, M]``, of the same labels.
        method: "hirescam" or "gradcam".
        labels: index of each of the M labels among the network's outputs.
        closed_form: whether the maps came from the linear layer's weights instead of a backward pass.
    """

    values: Tensor
    logits: Tensor
    method: str
    labels: tuple[int, ...]
    closed_form: bool


def attention_maps(
    network: nn.Module,
    inputs: Tensor,
    method: str = "hirescam",
    labels: Sequence[int] | None = None,
    target_layer: str | None = None,
) -> AttentionMaps:
    """HiResCAM or Grad-CAM of one, some or all labels, raw and signed.

    A network that offers ``linear_head(inputs)`` with mean pooling gives all maps by one product after one forward
    pass. Every other network runs forward once; the target layer's output is cut loose there, and one short backward
    pass per label, from logit to that layer, gives the gradients. Both agree to rounding.

    The network runs in evaluation mode and in its own precision (outside autocast). Training flags, gradients, hooks
    and random state are afterwards as before, also after an exception; frozen networks and ``no_grad`` are no obstacle.

    Args:
        network: also wrapped in DistributedDataParallel, DataParallel or torch.compile (the network within is used). It
            returns logits ``[B, M]``, or a dictionary with "logits", or a tuple that starts with them.
        inputs: ``[B, ...]`` as the network takes it; ``[B, S, 3, H, W]`` for slab-wise networks.
        method: "hirescam" or "gradcam".
        labels: indices of the wanted outputs; None for all.
        target_layer: dotted name of a module whose output is ``[B, F, *grid]`` (or ``[B * S, F, h, w]`` in a
            slab-wise network). None for the network's own choice: its linear head, else its attribute
            ``attention_layer``. Naming a layer always means the backward path.

    Raises:
        ValueError: for an unknown method, layer or label, for a network without a layer of its own where none is named,
            and for a layer that does not run, runs more than once, or does not lead to the logits.
    """
    return attention_by_method(network, inputs, (method,), labels, target_layer)[method]


def attention_by_method(
    network: nn.Module,
    inputs: Tensor,
    methods: Sequence[str] = tuple(METHODS),
    labels: Sequence[int] | None = None,
    target_layer: str | None = None,
) -> dict[str, AttentionMaps]:
    """``attention_maps`` of several methods from the same forward pass (and the same backward passes, if any).

    Arguments and errors as there; ``methods`` are names, the result has one entry for each.
    """
    for method in methods:
        get_method(method)
    core = unwrap(network)
    x = inputs.detach().as_subclass(Tensor)  # MONAI's MetaTensor would carry the scan's affine over to the maps
    with _untouched(core, x.device):
        x = x.clone() if x.is_inference() else x  # autograd refuses tensors made under inference_mode
        if target_layer is None and hasattr(core, "linear_head") and set(methods) <= set(CLOSED_FORMS):
            head = _linear_head(core, x)
            if head.pooling == "mean":
                return _by_closed_form(head, methods, labels)
        if target_layer is None:
            target_layer = _own_layer(core)
        return _by_gradients(core, x, methods, labels, target_layer)


def unwrap(network: nn.Module) -> nn.Module:
    """The network inside DistributedDataParallel, DataParallel and torch.compile."""
    core = network
    while True:
        wrapped = getattr(core, "_orig_mod", None)
        if wrapped is None and isinstance(core, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            wrapped = core.module
        if wrapped is None:
            return core
        core = wrapped


@torch.no_grad()
def _linear_head(core: nn.Module, x: Tensor) -> LinearHead:
    return core.linear_head(x)  # type: ignore[operator]


@torch.no_grad()
def _by_closed_form(head: LinearHead, methods: Sequence[str], labels: Sequence[int] | None) -> dict[str, AttentionMaps]:
    wanted = _parse_labels(labels, head.bias.numel())
    chosen = head if labels is None else head.select(list(wanted))
    logits = chosen.logits()
    return {method: AttentionMaps(closed_form_maps(chosen, method), logits, method, wanted, True) for method in methods}


def _by_gradients(
    core: nn.Module, x: Tensor, methods: Sequence[str], labels: Sequence[int] | None, name: str
) -> dict[str, AttentionMaps]:
    layer = _find_layer(core, name)
    with torch.no_grad():
        logits, calls = _forward_from(core, x, layer)
    if not calls:
        msg = f"layer {name!r} did not run in this forward pass; choose one that does"
        raise ValueError(msg)
    slabs = _slabs(calls, x, name)
    if logits.ndim != 2 or len(logits) != len(x):
        msg = f"attention needs logits [B, M], the network gave {list(logits.shape)} for {len(x)} inputs"
        raise ValueError(msg)
    wanted = _parse_labels(labels, logits.shape[1])
    activation = _to_grid(calls, slabs)
    values = {method: activation.new_empty(len(x), len(wanted), *activation.shape[2:]) for method in methods}
    for place, label in enumerate(wanted):
        gradient = _to_grid(_gradients(logits[:, label], calls, name), slabs)
        for method, maps in values.items():
            maps[:, place] = METHODS[method](activation, gradient, activation.ndim - 2)
    chosen = logits[:, list(wanted)].detach()
    return {method: AttentionMaps(maps, chosen, method, wanted, False) for method, maps in values.items()}


def _forward_from(core: nn.Module, x: Tensor, layer: nn.Module) -> tuple[Tensor, list[Tensor]]:
    """Logits with a graph that starts at the layer, and the layer's output at each of its calls."""
    calls: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            msg = f"the target layer must return one tensor, got {type(output).__name__}"
            raise ValueError(msg)
        # Grad mode goes on here only: what comes before the layer needs no graph, which is where the memory goes.
        torch.set_grad_enabled(True)
        leaf = output.detach().requires_grad_()
        calls.append(leaf)
        return leaf.clone()  # a following in-place ReLU may then overwrite it

    handle = layer.register_forward_hook(cut)
    try:
        return _logits_of(core(x)), calls
    finally:
        handle.remove()


def _gradients(scores: Tensor, calls: list[Tensor], name: str) -> list[Tensor]:
    found: tuple[Tensor | None, ...] = (None,)
    if scores.requires_grad:
        found = torch.autograd.grad(scores.sum(), calls, retain_graph=True, allow_unused=True)
    gradients = [gradient for gradient in found if gradient is not None]
    if len(gradients) != len(calls):
        msg = f"the logits do not depend on layer {name!r} (or on one of its {len(calls)} calls); choose another layer"
        raise ValueError(msg)
    return gradients


def _slabs(calls: list[Tensor], x: Tensor, name: str) -> int | None:
    """S where the layer gave ``[B * S, F, h, w]``, in one call or chunk by chunk; None for ``[B, F, *grid]``."""
    rows = sum(call.shape[0] for call in calls)
    if x.ndim == 5 and calls[0].ndim == 4 and rows == x.shape[0] * x.shape[1]:
        return int(x.shape[1])
    if len(calls) > 1:
        msg = f"layer {name!r} runs {len(calls)} times in one forward pass; choose a layer that runs once"
        raise ValueError(msg)
    if calls[0].ndim < 3 or rows != x.shape[0]:
        shapes = f"{list(calls[0].shape)} for inputs {list(x.shape)}"
        msg = f"layer {name!r} must give [B, F, *grid] or [B * S, F, h, w], got {shapes}"
        raise ValueError(msg)
    return None


def _to_grid(parts: list[Tensor], slabs: int | None) -> Tensor:
    """One detached ``[B, F, *grid]`` of a layer's calls."""
    whole = torch.cat([part.detach() for part in parts]) if len(parts) > 1 else parts[0].detach()
    return whole if slabs is None else whole.unflatten(0, (-1, slabs)).transpose(1, 2)


def _logits_of(output: Any) -> Tensor:
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        msg = f"the network must return logits, a dictionary with 'logits' or a tuple that starts with them, got {kind}"
        raise ValueError(msg)
    return output


def _own_layer(core: nn.Module) -> str:
    name = getattr(core, "attention_layer", None)
    if isinstance(name, str):
        return name
    names = [name for name, _ in core.named_modules() if name]
    msg = f"{type(core).__name__} names no attention layer of its own; give target_layer. Legal: {', '.join(names)}"
    raise ValueError(msg)


def _find_layer(core: nn.Module, name: str) -> nn.Module:
    modules = {known: module for known, module in core.named_modules() if known}
    if name not in modules:
        msg = f"unknown layer {name!r} of {type(core).__name__}: {did_you_mean(name, modules)}"
        raise ValueError(msg)
    return modules[name]


def _parse_labels(labels: Sequence[int] | None, count: int) -> tuple[int, ...]:
    wanted = tuple(range(count)) if labels is None else tuple(int(label) for label in labels)
    wrong = [label for label in wanted if not 0 <= label < count]
    if wrong:
        msg = f"label {wrong[0]} is out of range; the network has labels 0 to {count - 1}"
        raise ValueError(msg)
    return wanted


@contextmanager
def _untouched(core: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode, full precision and usable gradients inside; flags, random and grad state restored after."""
    flags = [(module, module.training) for module in core.modules()]
    devices = [device] if device.type == "cuda" else []
    grad_enabled = torch.is_grad_enabled()
    try:
        with (
            torch.inference_mode(False),
            torch.random.fork_rng(devices),
            torch.autocast(device.type, enabled=False),
        ):
            core.eval()
            yield
    finally:
        torch.set_grad_enabled(grad_enabled)
        for module, training in flags:
            module.training = training
