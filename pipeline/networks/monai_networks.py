"""MONAI's classification networks by name, ``monai.DenseNet121``, with what organcam asks of a network around them."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import torch
from monai.networks import nets
from torch import Tensor, nn

from ..contract import CallOrder, Layout
from ..errors import ConfigError, did_you_mean
from ..geometry import FeatureGrid
from ..modules import find_module, untouched
from ..probing import probe_grid
from .axialnet import NETWORKS
from .own_attention import with_attention
from .weights import load_network_weights

__all__ = ["MONAI_NETWORKS", "MonaiNetwork"]

PREFIX = "monai."
POOLINGS = ("mean", "max")
ADAPTIVE = (nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.pooling._AdaptiveMaxPoolNd)


@dataclass(frozen=True)
class MonaiClass:
    """A class or function of ``monai.networks.nets``, and how its arguments are called.

    Attributes:
        make: the class or function.
        parent: where its further keyword arguments go.
        channels: its argument for the input's channels; None for one that takes ``in_shape`` instead.
        outputs: its argument for the number of labels.
        taken: arguments that it sets itself.
        defaults: of arguments that a workflow may leave out here.
    """

    make: Callable[..., nn.Module]
    parent: Callable[..., nn.Module]
    channels: str | None = "in_channels"
    outputs: str = "out_channels"
    taken: tuple[str, ...] = ()
    defaults: Mapping[str, Any] | None = None

    def options(self) -> dict[str, inspect.Parameter]:
        """What a workflow may set, in MONAI's own names."""
        found: dict[str, inspect.Parameter] = {}
        for source in (self.parent, self.make):
            hints = get_type_hints(source.__init__ if inspect.isclass(source) else source)
            found |= {
                name: given.replace(kind=given.KEYWORD_ONLY, annotation=hints.get(name, Any))
                for name, given in inspect.signature(source).parameters.items()
                if given.kind not in {given.VAR_KEYWORD, given.VAR_POSITIONAL}
            }
        own = {"spatial_dims", "in_shape", "pretrained", "progress", self.channels, self.outputs, *self.taken}
        legal = {name: given for name, given in found.items() if name not in own}
        for name, value in (self.defaults or {}).items():
            legal[name] = legal[name].replace(default=value)
        return legal

    def build(self, channels: int, shape: Sequence[int], outputs: int, options: Mapping[str, Any]) -> nn.Module:
        """A network for items ``[channels, *shape]``; nothing is downloaded."""
        arguments: dict[str, Any] = {**(self.defaults or {}), **options, self.outputs: outputs}
        if self.channels is None:
            return self.make(in_shape=(channels, *shape), **arguments)
        arguments |= {"spatial_dims": len(shape), self.channels: channels}
        network = self.make(**arguments, pretrained=False) if self._is_published() else self.make(**arguments)
        if isinstance(network, nets.EfficientNet):
            # Its one swish runs twice, so that no module of its own gives what is pooled.
            parts = [("features", nn.Identity()), ("pool", network._avg_pooling)]
            network._avg_pooling = nn.Sequential(OrderedDict(parts))  # type: ignore[assignment]
        return network

    def _is_published(self) -> bool:
        return "pretrained" in inspect.signature(self.make).parameters


class MonaiNetwork(nn.Module):
    """A network of MONAI on the slabs of a scan, one after another, or on the whole volume.

    Slabs are scored one by one and their scores pooled, as AxialNet does. The attention layer is what goes into the
    network's global pooling, or its last map; its cells are found by probing. Attention is HiResCAM by one short
    backward pass a label, which the mask loss can be differentiated through.

    Args:
        network: takes ``[N, C, *size]`` and gives logits ``[N, M]``.
        input_shape: voxels (D, H, W); any other number of slabs is taken too.
        spatial_dims: 2 for slabs, 3 for volumes.
        in_channels: C: slices per slab, or channels of the volume.
        layer: dotted name of the layer that attention is of.
        pooling: of the slabs' scores, "mean" or "max".
        chunk: slabs at a time in evaluation; None for all at once.

    Raises:
        ValueError: if an argument is not legal, or the network has no such layer.
    """

    call_order: CallOrder = "items"

    def __init__(
        self,
        network: nn.Module,
        *,
        input_shape: Sequence[int],
        spatial_dims: int,
        in_channels: int,
        layer: str,
        pooling: str = "mean",
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            msg = f"unknown pooling {pooling!r}: {did_you_mean(str(pooling), POOLINGS)}"
            raise ValueError(msg)
        if chunk is not None and chunk < 1:
            msg = f"chunk must be at least 1 slab, or None for all at once, got {chunk}"
            raise ValueError(msg)
        find_module(network, layer)
        self.network = network
        self.input_shape = tuple(int(size) for size in input_shape)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.pooling = pooling
        self.chunk = chunk
        self.attention_layer = f"network.{layer}"

    @property
    def input_layout(self) -> Layout:
        """``"slabs"`` ``[B, S, C, H, W]`` or ``"volume"`` ``[B, C, D, H, W]``."""
        return "slabs" if self.spatial_dims == 2 else "volume"

    def feature_grid(self, input_shape: Sequence[int]) -> FeatureGrid:
        """Where the cells of the attention layer lie, by probing.

        Raises:
            ValueError: if the shape is another one than the network was built for (slabs may be more or fewer), or the
                layer's cells have no regular places.
        """
        shape = tuple(int(size) for size in input_shape)
        slabs = self.spatial_dims == 2
        if shape[slabs:] != self.input_shape[slabs:] or (slabs and (shape[0] < 1 or shape[0] % self.in_channels)):
            _, H, W = self.input_shape
            legal = f"({self.in_channels} S, {H}, {W})" if slabs else str(self.input_shape)
            msg = f"expected input of {legal} voxels, got {shape}"
            raise ValueError(msg)
        key = (repr(self.network), self.attention_layer, self.in_channels, shape)
        if key not in _PROBED:
            C = self.in_channels
            item = (shape[0] // C, C, *shape[1:]) if slabs else (C, *shape)
            _PROBED[key] = probe_grid(self, self.get_submodule(self.attention_layer), item, self.input_layout)
        return _PROBED[key]

    def forward(self, x: Tensor, attention: bool = False) -> Tensor | dict[str, Tensor]:
        """Logits, and on request the attention that the mask loss works on.

        Args:
            x: ``[B, S, C, H, W]`` or, with ``spatial_dims=3``, ``[B, C, D, H, W]``.
            attention: whether to return HiResCAM of the attention layer too.

        Returns:
            Logits ``[B, M]``; with ``attention`` a dictionary of ``logits`` and ``attention`` ``[B, M, *grid]``, raw,
            signed and, where gradients are recorded, differentiable.

        Raises:
            ValueError: if the shape of ``x`` is another one.
        """
        if attention:
            return with_attention(self, x)
        C, (D, H, W) = self.in_channels, self.input_shape
        wanted = (C, H, W) if self.spatial_dims == 2 else (C, D, H, W)
        if x.ndim != 5 or tuple(x.shape[-len(wanted) :]) != wanted or 0 in x.shape:
            legal = f"[B, S, {C}, {H}, {W}]" if self.spatial_dims == 2 else f"[B, {C}, {D}, {H}, {W}]"
            msg = f"expected input {legal}, got {list(x.shape)}"
            raise ValueError(msg)
        plain = x.as_subclass(Tensor)
        if self.spatial_dims == 3:
            return self.network(plain)
        slabs = plain.flatten(0, 1)
        parts = (slabs,) if self.chunk is None or self.training else slabs.split(self.chunk)
        scores = torch.cat([self.network(part) for part in parts]).unflatten(0, tuple(x.shape[:2]))
        return scores.mean(1) if self.pooling == "mean" else scores.amax(1)

    def linear_head(self, x: Tensor) -> None:
        """None: not known of networks of others."""


_PROBED: dict[tuple[object, ...], FeatureGrid] = {}
"""What was found for one structure, since it takes seconds: a workflow builds the same network several times."""


def pooled_layer(network: nn.Module, item_shape: Sequence[int]) -> str:
    """Name of the last layer that gives a map once, before a global pooling if there is one.

    Args:
        network: on the meta device; it is run once.
        item_shape: of one input, [C, *size].

    Raises:
        ValueError: if there is none.
    """
    calls: list[tuple[str, bool]] = []
    handles = []
    for name, module in network.named_modules():
        if name:

            def keep(module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
                is_map = isinstance(output, Tensor) and output.ndim == len(item_shape) + 1
                calls.append((name, is_map and not isinstance(module, ADAPTIVE)))

            handles.append(module.register_forward_hook(keep))
    try:
        with untouched(network), torch.no_grad():
            network(torch.empty(1, *item_shape, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    names = [name for name, _ in calls]
    pools = [place for place, (name, _) in enumerate(calls) if isinstance(network.get_submodule(name), ADAPTIVE)]
    before = calls[: pools[-1]] if pools else calls
    maps = [name for name, is_map in before if is_map and names.count(name) == 1]
    if not maps:
        msg = f"{type(network).__name__} has no layer that gives a map once; name one (layer)"
        raise ValueError(msg)
    return maps[-1]


def _builder(name: str, entry: MonaiClass) -> Callable[..., MonaiNetwork]:
    options = entry.options()

    def build(
        num_labels: int = 80,
        *,
        input_shape: Sequence[int] = (405, 420, 420),
        spatial_dims: int = 2,
        in_channels: int | None = None,
        layer: str | None = None,
        pooling: str = "mean",
        weights: str | Path | None = None,
        chunk: int | None = None,
        **arguments: Any,
    ) -> MonaiNetwork:
        if spatial_dims not in {2, 3} or len(input_shape) != 3 or min(input_shape) < 1:
            msg = (
                "spatial_dims must be 2 (slabs) or 3 (volumes) and input_shape (D, H, W) in voxels, got "
                f"{spatial_dims} and {tuple(input_shape)}"
            )
            raise ValueError(msg)
        missing = [key for key, given in options.items() if given.default is given.empty and key not in arguments]
        strange = [key for key in arguments if key not in options]
        if strange:
            msg = f"{name} has no argument {strange[0]!r}: {did_you_mean(strange[0], options)}"
            raise ValueError(msg)
        if missing:
            msg = f"{name} needs {' and '.join(missing)}"
            raise ValueError(msg)
        channels = in_channels if in_channels is not None else 3 if spatial_dims == 2 else 1
        shape = tuple(input_shape)[3 - spatial_dims :]
        with torch.device("meta"):
            twin = entry.build(channels, shape, num_labels, arguments)
        try:
            last = pooled_layer(twin, (channels, *shape))
        except RuntimeError as error:
            told = str(error).splitlines()[0]
            msg = f"{name} does not take {'slabs' if spatial_dims == 2 else 'volumes'} of {shape} voxels: {told}"
            raise ValueError(msg) from None
        chosen = layer if layer is not None else last
        network = MonaiNetwork(
            entry.build(channels, shape, num_labels, arguments),
            input_shape=input_shape,
            spatial_dims=spatial_dims,
            in_channels=channels,
            layer=chosen,
            pooling=pooling,
            chunk=chunk,
        )
        if weights is not None:
            _load(network, name, weights)
        return network

    own = inspect.signature(build).parameters
    fixed = [given for given in own.values() if given.kind is not given.VAR_KEYWORD]
    hints = {key: hint for key, hint in get_type_hints(build).items() if key != "return"}
    build.__signature__ = inspect.Signature([*fixed, *options.values()])  # type: ignore[attr-defined]
    build.__annotations__ = {**hints, **{key: given.annotation for key, given in options.items()}}
    build.__doc__ = DOCUMENTATION.format(name=name.removeprefix(PREFIX)) + "".join(
        f"    {key}: see MONAI.\n" for key in options
    )
    return build


DOCUMENTATION = """MONAI's {name} on slabs or volumes, see ``MonaiNetwork``.

Args:
    num_labels: M.
    input_shape: voxels (D, H, W).
    spatial_dims: 2 for slabs, 3 for volumes.
    in_channels: slices per slab, channels of the volume; null for 3 and 1.
    layer: dotted name of the layer that attention is of; null for what goes into the global pooling.
    pooling: of the slabs' scores, mean or max.
    weights: file of weights in MONAI's names; the last linear layer's may be of other labels.
    chunk: slabs at a time in evaluation; null for all at once.
"""


def _load(network: MonaiNetwork, name: str, source: str | Path) -> None:
    """Weights of everything but the last linear layer, which may have been trained for other labels."""
    if any(parameter.is_meta for parameter in network.parameters()):
        return
    inner = network.network
    linear = [key for key, module in inner.named_modules() if isinstance(module, nn.Linear)]
    fresh = load_network_weights(inner, source)
    tail = f"{linear[-1]}." if linear else ""
    lacking = [key for key in fresh if not key.endswith("num_batches_tracked") and not (tail and key.startswith(tail))]
    if lacking:
        msg = f"weights {str(source)!r} do not fit {name}: {len(lacking)} tensors are missing, first {lacking[0]!r}"
        raise ConfigError(msg)


def _classes() -> dict[str, MonaiClass]:
    densenets = ("DenseNet", "DenseNet121", "DenseNet169", "DenseNet201", "DenseNet264")
    resnets = ("resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet200")
    senets = ("SENet154", "SEResNet50", "SEResNet101", "SEResNet152", "SEResNext50", "SEResNext101")
    resnet = {"channels": "n_input_channels", "outputs": "num_classes"}
    return {
        **{name: MonaiClass(getattr(nets, name), nets.DenseNet) for name in densenets},
        "ResNet": MonaiClass(nets.ResNet, nets.ResNet, taken=("feed_forward",), **resnet),  # type: ignore[arg-type]
        **{
            name: MonaiClass(
                getattr(nets, name),
                nets.ResNet,
                taken=("block", "layers", "block_inplanes", "feed_forward"),
                **resnet,  # type: ignore[arg-type]
            )
            for name in resnets
        },
        **{
            name: MonaiClass(getattr(nets, name), nets.SENet, "in_channels", "num_classes", ("block",))
            for name in senets
        },
        "EfficientNetBN": MonaiClass(
            nets.EfficientNetBN,
            nets.EfficientNetBN,
            "in_channels",
            "num_classes",
            ("adv_prop",),
            {"model_name": "efficientnet-b0"},
        ),
        "Classifier": MonaiClass(nets.Classifier, nets.Classifier, None, "classes"),
    }


MONAI_NETWORKS: dict[str, MonaiClass] = _classes()
"""Name in ``monai.networks.nets`` -> how it is built; in a workflow ``monai.<name>``."""

for _name, _entry in MONAI_NETWORKS.items():
    NETWORKS.register(PREFIX + _name)(_builder(PREFIX + _name, _entry))
