"""Maps from forward passes that somebody else runs, so that none is run twice."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import contract_of
from ..modules import unwrap
from ..plugins import METHODS
from .capture import Calls, kept_calls
from .maps import choose_layer, maps_of_run
from .methods import place_of
from .result import AttentionMaps
from .targets import Targets

__all__ = ["AttentionListener"]


class AttentionListener:
    """Explains what a network has just said, for instance in an evaluator's own iteration.

    Between ``start`` and ``stop`` the graph of a forward pass begins at the layer, also under ``no_grad``; the output
    that the network returns meanwhile has that graph, and is to be detached once ``maps`` has used it. From the layer
    on gradients are enabled; ``stop`` sets them to what they were at ``start``.

    Args:
        network: wrapped or not.
        method: a name of ``METHODS``; those that look at the input need a pass of their own, and ``maps`` refuses them.
        targets: see ``attention_maps``.
        layer: see there.

    Raises:
        ValueError: for an unknown method or layer, or where none is named and the network has none of its own.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        method: str = "hirescam",
        targets: Targets = None,
        layer: str | nn.Module | None = None,
    ) -> None:
        self._of_layer = place_of(METHODS.get(method)) == "layer"
        self._core = unwrap(network)
        self._layers: dict[str, nn.Module] = {}
        if self._of_layer:
            self._layers = dict([choose_layer(self._core, contract_of(network), layer)])
        self._method, self._targets = method, targets
        self._listening = ExitStack()
        self._calls: Calls = {}

    def start(self) -> None:
        """Listen to the next forward pass."""
        self.stop()
        self._listening.callback(torch.set_grad_enabled, torch.is_grad_enabled())
        self._calls = self._listening.enter_context(kept_calls(self._layers, cut=True))

    def stop(self) -> None:
        """Listen no longer."""
        self._listening.close()

    def maps(self, inputs: Tensor, output: Any) -> AttentionMaps:
        """Maps of the pass that was listened to, which ends the listening; what was kept of it is let go.

        Args:
            inputs: that the network was given.
            output: that it gave.

        Raises:
            ValueError: as ``attention_maps``, for instance where the network ran several times.
        """
        self.stop()
        calls, self._calls = self._calls, {}
        if not self._of_layer:
            msg = f"{self._method} cannot be read off a forward pass; call attention_maps"
            raise ValueError(msg)
        [name] = self._layers
        return maps_of_run(
            self._core, inputs, output, calls.get(name, []), method=self._method, targets=self._targets, layer=name
        )
