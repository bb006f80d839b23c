"""A network that looks at the allowed cells, for everything that calls a network with its input alone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..attention.linear_head import LinearHead
from ..contract import CallOrder, Layout, contract_of, takes_allowed
from ..geometry import FeatureGrid
from ..modules import unwrap

__all__ = ["WithAllowed"]


class WithAllowed(nn.Module):
    """A network together with the cells that it may look at in one batch; holds to ``NetworkContract`` itself.

    ``attention_maps(WithAllowed(network, allowed), x)`` explains a network with masked pooling like any other.

    Args:
        network: takes ``allowed`` (`organcam.contract.takes_allowed`) and holds to the contract.
        allowed: ``[B, M, *grid]`` of the batch, the grid as its ``feature_grid`` says; the network may also be run on
            the first items of the batch alone.

    Raises:
        ValueError: if the network does not look at allowed cells.
    """

    def __init__(self, network: nn.Module, allowed: Tensor) -> None:
        if not takes_allowed(network):
            msg = f"{type(network).__name__} does not look at allowed cells; call it as it is"
            raise ValueError(msg)
        super().__init__()
        core = unwrap(network)
        self.network = core
        self.allowed: Tensor
        self.register_buffer("allowed", allowed, persistent=False)
        told = contract_of(core)
        self.input_layout: Layout = told.input_layout
        self.input_shape = tuple(told.input_shape)
        self.attention_layer = f"network.{told.attention_layer}"
        self.call_order: CallOrder = told.call_order or "items"

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """The network's own."""
        grid: FeatureGrid = self.network.feature_grid(input_shape)  # type: ignore[operator]
        return grid

    def linear_head(self, x: Tensor) -> LinearHead | None:
        """The network's own, with its allowed cells."""
        head: LinearHead | None = self.network.linear_head(x, allowed=self.allowed[: len(x)])  # type: ignore[operator]
        return head

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """The network's own, with its allowed cells."""
        output: Tensor | dict[str, Tensor] = self.network(x, attention=attention, allowed=self.allowed[: len(x)])
        return output
