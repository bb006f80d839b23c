"""What a network tells about itself: one contract for everything that feeds, explains or measures it.

A network that holds to ``NetworkContract`` is trained, explained and measured without further words. Any other network
can be explained too; of it is known only what can be found out: `contract_of` takes it as one that says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args, runtime_checkable
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from .errors import did_you_mean
from .geometry import FeatureGrid
from .modules import unwrap
from .probing import probe_grid

if TYPE_CHECKING:
    from .attention.linear_head import LinearHead

__all__ = [
    "CallOrder",
    "Layout",
    "NetworkContract",
    "UndeclaredNetwork",
    "contract_of",
    "grid_of_layer",
    "slices_of_slab",
    "takes_allowed",
    "voxels_of",
]

Layout = Literal["slabs", "volume"]
"""What a network takes: S slabs of C slices ``[B, S, C, H, W]``, or a volume ``[B, C, D, H, W]`` (image, two axes)."""

CallOrder = Literal["items", "slabs"]
"""Order of the rows of a layer that sees slabs as a batch, over all its calls: all slabs of the first item, then those
of the second ("items"), or the first slab of all items, then the second of all ("slabs")."""


SLICES = 3
"""Per slab, of a network that does not say."""


@runtime_checkable
class NetworkContract(Protocol):
    """What organcam asks of a network; ``AxialNet`` is the example.

    It is called with a batch in its layout and returns logits ``[B, M]``; networks that train with the mask loss also
    take ``attention=True`` and then return ``{"logits": [B, M], "attention": [B, M, *grid]}``, differentiable. A
    builder that is registered by name takes ``num_labels``, ``input_shape`` and the workflow's options.
    """

    @property
    def input_layout(self) -> Layout:
        """How a scan is laid out in the input."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Voxels (D, H, W) of the input that the network was built for."""

    @property
    def attention_layer(self) -> str:
        """Dotted name of the module whose output the attention is of."""

    @property
    def call_order(self) -> CallOrder:
        """Order of the rows of layers that see slabs (or slices) as a batch; "items" where none does."""

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of the attention layer's output lie in an input of (D, H, W) voxels.

        Raises:
            ValueError: if the network does not take that shape.
        """

    def linear_head(self, x: Tensor) -> LinearHead | None:
        """Attention layer's features of a batch and the one linear layer on them; None where it is not one."""


class UndeclaredNetwork:
    """A network that says nothing: a volume or image goes in, and a layer's rows are the items of the batch."""

    input_layout: Layout = "volume"
    input_shape: tuple[int, ...] = ()
    attention_layer: str = ""
    call_order: CallOrder | None = None

    def linear_head(self, x: Tensor) -> None:
        """None is known."""


def contract_of(network: nn.Module) -> NetworkContract | UndeclaredNetwork:
    """What a network says of itself, wrapped or not.

    Raises:
        ValueError: if it declares another layout or call order than there is.
    """
    core = unwrap(network)
    if not isinstance(core, NetworkContract):
        return UndeclaredNetwork()
    for name, value, legal in (
        ("input_layout", core.input_layout, get_args(Layout)),
        ("call_order", core.call_order, get_args(CallOrder)),
    ):
        if value not in legal:
            msg = f"{type(core).__name__} declares {name} {value!r}: {did_you_mean(str(value), legal)}"
            raise ValueError(msg)
    return cast(NetworkContract, core)


def slices_of_slab(network: nn.Module) -> int:
    """How many slices a slab of a network holds, wrapped or not: its ``in_channels``, or 3 where it has none.

    Example:
        >>> slices_of_slab(nn.Identity())
        3
    """
    return int(getattr(unwrap(network), "in_channels", SLICES))


def takes_allowed(network: nn.Module) -> bool:
    """Whether a network, wrapped or not, looks at the allowed cells too: ``network(x, allowed=[B, M, *grid])``.

    Such a network has an attribute ``takes_allowed`` that is true. It is given the cells where each label could lie in
    anybody, never those that a report states: at inference there is no report, and in training it would tell the label.
    """
    return bool(getattr(unwrap(network), "takes_allowed", False))


def voxels_of(item_shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Voxels (D, H, W), or (H, W), of one item of a batch.

    Example:
        >>> voxels_of((135, 3, 420, 420), "slabs"), voxels_of((1, 64, 64), "volume")
        ((405, 420, 420), (64, 64))
    """
    if layout == "slabs":
        return (item_shape[0] * item_shape[1], *item_shape[2:])
    return tuple(item_shape[1:])


def grid_of_layer(network: nn.Module, name: str, item_shape: Sequence[int]) -> FeatureGrid:
    """Where the cells of a layer lie: the network's own word for its attention layer, else found by probing.

    What was found is kept as long as the network lives.

    Args:
        network: wrapped or not.
        name: dotted name of the layer.
        item_shape: of one item of the batch, [S, C, H, W] or [C, D, H, W].

    Raises:
        ValueError: if the layer's cells have no regular places in the input.
    """
    core, contract = unwrap(network), contract_of(network)
    layout: Layout = contract.input_layout if len(item_shape) == 4 else "volume"  # slab-wise networks take images too
    if isinstance(contract, NetworkContract) and name == contract.attention_layer and len(item_shape) == 4:
        return contract.feature_grid(voxels_of(item_shape, layout))
    key = (name, tuple(item_shape), layout, repr(core))
    known = _PROBED.setdefault(core, {})
    if key not in known:
        try:
            known[key] = probe_grid(core, core.get_submodule(name), item_shape, layout)
        except ValueError as error:
            known[key] = f"layer {name!r} of {type(core).__name__} has no feature grid: {error}"
    found = known[key]
    if isinstance(found, str):
        raise ValueError(found)
    return found


_PROBED: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], FeatureGrid | str]] = WeakKeyDictionary()
