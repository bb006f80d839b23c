"""The layers of a network that give maps, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..modules import untouched, unwrap

__all__ = ["MapLayer", "automatic_layers", "map_layers"]


class MapLayer(NamedTuple):
    """A layer whose output is a map.

    Attributes:
        name: its dotted name.
        kind: name of its class.
        grid: cells per axis of its output; of slab-wise networks those of one slab.
    """

    name: str
    kind: str
    grid: tuple[int, ...]


def map_layers(network: nn.Module, run: Callable[[], Any], input_shape: Sequence[int]) -> list[MapLayer]:
    """The layers that give more than one cell along every axis, in the order in which they finish.

    Only shapes are kept, so it takes the memory of a plain forward pass. Where a layer gives what the one inside it
    gives (a block that ends in an activation), the outermost name is told.

    Args:
        network: wrapped or not; left as it was.
        run: runs it once, in evaluation mode and without gradients.
        input_shape: of the batch it then sees, ``[B, ...]``.
    """
    core = unwrap(network)
    found: dict[str, MapLayer] = {}
    last: dict[int, str] = {}
    ranks = {len(input_shape), len(input_shape) - 1} if len(input_shape) == 5 else {len(input_shape)}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim in ranks and min(output.shape[2:]) > 1:
                found.pop(name, None)  # a layer that runs again has its place at its last run
                inner = last.get(output.data_ptr()) if output.device.type != "meta" else None
                if inner in found and found[inner].grid == tuple(output.shape[2:]) and inner.startswith(f"{name}."):
                    del found[inner]
                found[name] = MapLayer(name, type(module).__name__, tuple(output.shape[2:]))
                last[output.data_ptr()] = name

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in core.named_modules() if name]
    try:
        with untouched(core), torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return list(found.values())


def automatic_layers(layers: Sequence[MapLayer], segmentation: bool) -> list[str]:
    """Names in the order in which to try them.

    Of a classifier the last layer first: its cells hold what the score is made of. Of a segmentation network the last
    layers are the prediction itself, so that their maps say nothing new; there the coarsest layer comes first
    (Vinogradova et al., "Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation Mapping",
    2020, look at the bottleneck), of equals the last.
    """
    names = [layer.name for layer in reversed(layers)]
    if segmentation:
        cells = {layer.name: torch.Size(layer.grid).numel() for layer in layers}
        names.sort(key=lambda name: cells[name])  # stable: of equals the last one stays first
    return names
