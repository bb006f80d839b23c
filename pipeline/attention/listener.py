"""Maps from forward passes that somebody else runs, so that none is run twice."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn

from ..contract import contract_of
from ..modules import unwrap
from ..plugins import METHODS
from .capture import kept_calls, logits_of
from .maps import AttentionMaps, choose_layer, maps_of_run
from .targets import Targets

__all__ = ["AttentionListener"]


class AttentionListener:
    """Explains what a network has just said, for instance in an evaluator's own iteration.

    Between ``start`` and ``stop`` the graph of a forward pass begins at the layer, also under ``no_grad``; the output
    that the network returns meanwhile has that graph, and is to be detached once ``maps`` has used it.

    Args:
        network: wrapped or not.
        method: "hirescam" or "gradcam".
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
        METHODS.get(method)
        self._core = unwrap(network)
        self._name, self._layer = choose_layer(self._core, contract_of(network), layer)
        self._method, self._targets = method, targets
        self._listening = ExitStack()
        self._calls: list[Tensor] = []

    def start(self) -> None:
        """Listen to the next forward pass."""
        self.stop()
        self._calls = self._listening.enter_context(kept_calls(self._layer, cut=True))

    def stop(self) -> None:
        """Listen no longer."""
        self._listening.close()

    def maps(self, inputs: Tensor, output: Any) -> AttentionMaps:
        """Maps of the pass that was listened to; what was kept of it is let go.

        Args:
            inputs: that the network was given.
            output: that it gave.

        Raises:
            ValueError: as ``attention_maps``, for instance where the network ran several times.
        """
        calls, self._calls = self._calls, []
        logits = logits_of(output)
        found = maps_of_run(
            self._core, inputs, logits, calls, methods=(self._method,), targets=self._targets, layer=self._name
        )
        return found[self._method]
