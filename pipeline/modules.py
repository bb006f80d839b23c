"""The modules of a network: inside its wrappers, by name, and left as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from weakref import WeakKeyDictionary

import torch
from torch import nn

__all__ = ["eager", "find_module", "name_of_module", "suggest_modules", "untouched", "unwrap"]

NEAR = 3

_TURNS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_NEXT = threading.Lock()


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


@contextmanager
def untouched(network: nn.Module, device: torch.device | None = None) -> Iterator[None]:
    """Evaluation mode, full precision and usable gradients inside; flags, random and grad state restored after.

    Threads that come with the same network take turns, since its flags are theirs in common.

    Args:
        network: unwrapped.
        device: whose random state is kept along with the processor's; None for the processor's alone.
    """
    kind = "cpu" if device is None else device.type
    devices = [device] if device is not None and kind == "cuda" else []
    with _turn_of(network):
        flags = [(module, module.training) for module in network.modules()]
        grad_enabled = torch.is_grad_enabled()
        try:
            with (
                torch.inference_mode(False),
                torch.random.fork_rng(devices),
                torch.autocast(kind, enabled=False),
                eager(network),
            ):
                network.eval()
                yield
        finally:
            torch.set_grad_enabled(grad_enabled)
            for module, training in flags:
                module.training = training


@contextmanager
def eager(network: nn.Module) -> Iterator[None]:
    """Run what is compiled inside a network as it was written: compiled code does not call hooks that came later."""
    compiled = any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in network.modules()
    )
    with ExitStack() as stack:
        if compiled:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _turn_of(network: nn.Module) -> threading.RLock:
    with _NEXT:
        return _TURNS.setdefault(network, threading.RLock())


def find_module(network: nn.Module, layer: str | nn.Module) -> tuple[str, nn.Module]:
    """Name and module of a layer that is given as either.

    Raises:
        ValueError: if the network has no such layer; the message holds the nearest names.
        TypeError: if it is neither a name nor a module.
    """
    if isinstance(layer, nn.Module):
        return name_of_module(network, layer), layer
    if not isinstance(layer, str):
        msg = f"a layer is given by its name or as a module, got {type(layer).__name__}"
        raise TypeError(msg)
    modules = {name: module for name, module in network.named_modules() if name}
    if layer not in modules:
        near = get_close_matches(layer, modules, n=NEAR, cutoff=0.4)
        hint = f"did you mean {_either(near)}?" if near else suggest_modules(network)
        msg = f"{type(network).__name__} has no layer {layer!r}; {hint}"
        raise ValueError(msg)
    return layer, modules[layer]


def name_of_module(network: nn.Module, module: nn.Module) -> str:
    """The dotted name of a module of the network.

    Raises:
        ValueError: if it is none of its modules.
    """
    for name, known in network.named_modules():
        if known is module and name:
            return name
    msg = f"the given {type(module).__name__} is no layer of {type(network).__name__}; {suggest_modules(network)}"
    raise ValueError(msg)


def suggest_modules(network: nn.Module) -> str:
    """The last layers that give maps, as the tail of a message."""
    spatial = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    names = [name for name, module in network.named_modules() if isinstance(module, spatial)]
    return f"its last spatial layers: {', '.join(names[-NEAR:])}" if names else "it has no convolutions"


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
