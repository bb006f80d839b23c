"""Finds the one linear layer that makes a network's scores of one feature map, and checks it against autograd.

One item goes through the network once; of the last linear layer or convolution that ran, the input is compared with
what the modules before it gave: the same values flattened, averaged over the grid, or as they are. Then the maps that
follow from its weights are compared with a backward pass. What was found is kept as long as the network lives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from ..contract import NetworkContract, contract_of
from .capture import merge_calls, run_from_layers, run_network
from .inputs import Batch
from .linear_head import LinearHead
from .targets import logits_of

__all__ = ["FoundHead", "check_declared", "find_head"]

LAST = 8
"""How many of the latest feature maps are remembered: modules inside each other give the same one."""

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Share of the largest value by which closed form and autograd may differ; 1e-2 in half precision."""


@dataclass(frozen=True)
class FoundHead:
    """Where a network's linear head is.

    Args:
        layer: name of the module that gives the features.
        linear: name of the linear layer or convolution on them.
        everywhere: one weight per feature (pooled, or the same at all places) instead of one per cell.
        pooling: of its scores over cells and slabs, "mean" or "max".
    """

    layer: str
    linear: str
    everywhere: bool
    pooling: str

    def of(self, network: nn.Module, features: Tensor) -> LinearHead:
        """The head on some features ``[B, F, *grid]``."""
        module = network.get_submodule(self.linear)
        assert isinstance(module, (nn.Linear, _ConvNd))
        weight = module.weight
        if self.everywhere:
            weight = weight.flatten(1)
        elif isinstance(module, nn.Linear):
            window = features.shape[2:] if weight.shape[1] == prod(features.shape[1:]) else features.shape[3:]
            weight = weight.reshape(len(weight), features.shape[1], *window)
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias
        return LinearHead(features.to(weight.dtype), weight, bias, self.pooling)


def find_head(network: nn.Module, batch: Batch, order: str | None = None) -> FoundHead:
    """The linear head of a network that does not declare one; its first item goes through it at the first time.

    Args:
        network: in evaluation mode.
        batch: what it takes.
        order: of slabs, see ``merge_calls``.

    Raises:
        ValueError: if there is none, with the reason.
    """
    found = _remembered(network, batch, "found", partial(_search_and_check, network, batch, order))
    if isinstance(found, str):
        raise ValueError(found)
    return found


def check_declared(network: NetworkContract, batch: Batch, head: LinearHead | None = None) -> None:
    """Check a declared linear head against autograd, once for each shape of an item: one more forward pass of one item.

    Args:
        network: in evaluation mode.
        batch: what it takes.
        head: that it gave for this batch in evaluation mode; None if it has not been asked yet.

    Raises:
        ValueError: if network and declaration do not agree.
    """

    def check() -> str | None:
        one = batch.first_item()
        assert isinstance(network, nn.Module)
        own = network.linear_head(one.image) if head is None else head
        if own is None:
            return None
        layer, order = network.attention_layer, network.call_order
        features = own.features[:1].detach()
        parts = LinearHead(features, own.weight.detach(), own.bias.detach(), own.pooling)
        reason = _difference(
            network, one, layer, lambda z: replace(parts, features=z.to(features.dtype)), order, features
        )
        if reason is None:
            return None
        name = type(network).__name__
        return f"the linear_head that {name} declares on {layer!r} is not what makes its logits: {reason}"

    reason = _remembered(network, batch, "declared", check)
    if isinstance(reason, str):
        raise ValueError(reason)


_KNOWN: WeakKeyDictionary[Any, dict[tuple[object, ...], Any]] = WeakKeyDictionary()


def _remembered(network: Any, batch: Batch, kind: str, find: Any) -> Any:
    key = (kind, tuple(batch.image.shape[1:]), repr(network))
    known = _KNOWN.setdefault(network, {})
    if key not in known:
        known[key] = find()
    return known[key]


def _search_and_check(network: nn.Module, batch: Batch, order: str | None) -> FoundHead | str:
    one = batch.first_item()
    with torch.no_grad():
        found = _search(network, one)
    if isinstance(found, str):
        return found
    try:
        reason = _difference(network, one, found.layer, partial(found.of, network), order)
    except ValueError as error:
        reason = str(error)
    return found if reason is None else f"{found.linear!r} on {found.layer!r} does not make its logits: {reason}"


def _search(network: nn.Module, batch: Batch) -> FoundHead | str:
    maps: deque[tuple[str, Tensor, int]] = deque(maxlen=LAST)
    last: list[tuple[str, Tensor, str | None, bool]] = []  # name, output, layer, everywhere
    single: list[str] = []  # convolutions over several places that are left with one

    def keep(module: nn.Module, inputs: Any, output: Any, name: str) -> None:
        if isinstance(module, (nn.Linear, _ConvNd)) and not isinstance(module, _ConvTransposeNd):
            last[:] = [(name, output, *_origin(module, inputs[0], maps))]
        if isinstance(module, _ConvNd) and prod(module.kernel_size) > 1 and prod(output.shape[2:]) == 1:
            single.append(name)
        if isinstance(output, Tensor) and output.ndim >= 3 and prod(output.shape[2:]) > 1:
            maps.append((name, output, output._version))

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(partial(keep, name=name)).remove)
        output = run_network(network, batch)
    logits = logits_of(output)
    if logits.ndim != 2 or len(logits) != 1:
        return f"its output {list(logits.shape)} is no row of logits for each item"
    if not last:
        return "it has no linear layer"
    name, scores, layer, everywhere = last[0]
    if layer is None and single:
        size = list(batch.image.shape[2:])
        return f"its last feature maps have a single cell for inputs of {size}, which says nothing of places"
    if layer is None:
        return f"its last linear layer {name!r} does not follow a feature map directly"
    pooling = _pooling(scores, logits)
    if pooling is None:
        return f"its logits are not what its last linear layer {name!r} gives, nor the mean or maximum of that"
    return FoundHead(layer, name, everywhere, pooling)


def _origin(module: nn.Linear | _ConvNd, x: Tensor, maps: Sequence[tuple[str, Tensor, int]]) -> tuple[str | None, bool]:
    """Which module's output a linear layer sees, and whether with one weight per feature."""
    for name, z, version in reversed(maps):
        if z._version != version:
            continue  # overwritten since
        if isinstance(module, nn.Linear):
            if x.ndim != 2 or len(z) != len(x):
                continue
            if x.shape[1] == z[0].numel() and torch.equal(z.flatten(1), x):
                return name, False
            if x.shape[1] == z.shape[1] and torch.allclose(z.flatten(2).mean(-1), x, rtol=1e-4, atol=1e-6):
                return name, True
        elif z.shape == x.shape and torch.equal(z, x) and module.groups == 1:
            kernel, window = module.weight.shape[2:], z.shape[2:]
            if kernel == window and set(module.padding) == {0}:
                return name, False
            if set(kernel) == {1} and set(module.stride) == {1}:
                return name, True
    return None, False


def _pooling(scores: Tensor, logits: Tensor) -> str | None:
    """How the rows and cells of a linear layer's output become the logits of one item."""
    if not isinstance(scores, Tensor) or scores.ndim < 2 or scores.shape[1] != logits.shape[1]:
        return None
    by_label = scores.transpose(0, 1).flatten(1)
    for pooling, pooled in (("mean", by_label.mean(1)), ("max", by_label.amax(1))):
        if torch.allclose(pooled, logits[0], rtol=1e-4, atol=1e-5):
            return pooling
    return None


def _difference(
    network: nn.Module,
    batch: Batch,
    layer: str,
    head_of: Callable[[Tensor], LinearHead],
    order: str | None,
    features: Tensor | None = None,
) -> str | None:
    """Where logits or gradients of a head differ from the network's own, None where they do not."""
    output, calls = run_from_layers(
        network, batch, {layer: network.get_submodule(layer)}, slabs=contract_of(network).input_layout == "slabs"
    )
    logits, own = logits_of(output), calls[layer]
    if not own or not logits.requires_grad:
        return f"the logits do not depend on {layer!r}"
    with torch.enable_grad():
        z = merge_calls([call.detach() for call in own], batch.image.shape, order, layer)
        z = z.requires_grad_()
        head = head_of(z)
        closed = head.logits()
        mix = torch.linspace(1, 2, closed.shape[1], dtype=closed.dtype, device=closed.device)
        if closed.shape != logits.shape:
            return f"it gives {list(closed.shape)} logits, the network {list(logits.shape)}"
        ours = torch.autograd.grad((closed * mix).sum(), z)[0]
        theirs = torch.autograd.grad((logits * mix).sum(), own, allow_unused=True)
    reached = [one for one in theirs if one is not None]
    if len(reached) < len(own):
        return f"the logits do not depend on {layer!r}"
    gradient = merge_calls(reached, batch.image.shape, order, layer)
    summed = LinearHead(head.features.abs(), head.weight.abs(), head.bias.abs()).logits()  # of what cancels in a logit
    triples = [("logits", closed, logits, summed), ("gradients", ours, gradient, gradient)]
    if features is not None:
        triples.insert(0, ("features", features, z, z))
    for what, left, right, scale in triples:
        gap, size = _gap(left, right, scale)
        if gap > TOLERANCE.get(right.dtype, 1e-2) * size:
            return f"the {what} of closed form and network differ by {gap:.2g} of {size:.2g}"
    return None


def _gap(left: Tensor, right: Tensor, scale: Tensor) -> tuple[float, float]:
    if left.shape != right.shape:
        return float("inf"), 1.0
    gap = (left.detach().double() - right.detach().double()).abs().max()
    return float(gap), float(scale.detach().abs().max())
