"""Attention maps of any number of outputs from one forward pass, without a trace left on the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

from torch import Tensor, nn

from ..contract import NetworkContract, UndeclaredNetwork, contract_of
from ..modules import eager, find_module, suggest_modules, untouched, unwrap
from ..plugins import METHODS
from .explanation import Explanation
from .gradients import check_chunk
from .inputs import Batch, Inputs, parse_inputs, refuse_nonfinite
from .methods import place_of
from .resample import resized_grid, voxel_grid
from .result import AttentionMaps
from .targets import Targets

__all__ = ["attention_by_method", "attention_maps", "choose_layer", "maps_of_run"]

Layer = str | nn.Module


@overload
def attention_maps(
    network: nn.Module,
    inputs: Inputs,
    *,
    method: str = ...,
    targets: Targets = ...,
    layer: Layer | None = ...,
    upsample: bool | Sequence[int] | None = ...,
    create_graph: bool = ...,
    chunk: int | None = ...,
) -> AttentionMaps: ...


@overload
def attention_maps(
    network: nn.Module,
    inputs: Inputs,
    *,
    method: str = ...,
    targets: Targets = ...,
    layer: list[Layer] | tuple[Layer, ...],
    upsample: bool | Sequence[int] | None = ...,
    create_graph: bool = ...,
    chunk: int | None = ...,
) -> dict[str, AttentionMaps]: ...


def attention_maps(
    network: nn.Module,
    inputs: Inputs,
    *,
    method: str = "hirescam",
    targets: Targets = None,
    layer: Layer | list[Layer] | tuple[Layer, ...] | None = None,
    upsample: bool | Sequence[int] | None = None,
    create_graph: bool = False,
    chunk: int | None = None,
) -> AttentionMaps | dict[str, AttentionMaps]:
    """Attention of one, some or all outputs of any network, raw and signed.

    A network whose scores are linear in one feature map gives all maps by one product after one forward pass: it says
    so (``linear_head``), or it is found out; both are checked against autograd with the first item that is explained.
    Every other network runs forward once; the layer's output is cut loose there, and one short backward pass per
    target, from score to that layer, gives the gradients. Both agree to rounding.

    The network runs in evaluation mode and in its own precision (outside autocast). Training flags, gradients, hooks
    and random state are afterwards as before, also after an exception; frozen networks, ``no_grad``, ``inference_mode``
    and compiled parts are no obstacle. Threads that explain the same network take turns.

    Args:
        network: also wrapped in DistributedDataParallel, DataParallel or torch.compile (the network within is used). It
            returns logits ``[B, K]``, or ``[B, K, *voxels]`` for segmentation, or a dictionary with "logits", or a
            tuple that starts with them.
        inputs: ``[B, ...]`` as the network takes it; ``[B, S, 3, H, W]`` for slab-wise networks. Several inputs as a
            tuple, or by name in a dictionary; maps are of the first.
        method: a name of ``METHODS``. Of a layer: "hirescam", "gradcam", "gradcam_plus_plus", "xgradcam", "layercam",
            and "cam" where global average pooling and one linear layer follow. Of the input's voxels: "gradient",
            "gradient_x_input", "guided_backprop", "guided_gradcam" (of a layer too) and "occlusion".
        targets: indices of the wanted outputs, or a single one; a list of them for each item; None for all. Of a
            segmentation network the classes, each over the voxels where it is predicted, or a ``SegmentationTarget``.
            Or a function of the network's output that gives scores ``[B]`` or ``[B, M]``.
        layer: a module or its dotted name; its output is ``[B, F, *grid]``, or in a slab-wise network
            ``[rows, F, h, w]``. A list of several gives a dictionary by name from the same pass. None for the network's
            own choice (``organcam.contract.NetworkContract``), or the layer that one linear layer follows. Naming a
            layer always means the backward path.
        upsample: True for maps on the voxels of the input, or the size of the image they shall be on; None for the
            layer's own cells. Choose few targets then: 80 maps of 405 x 420 x 420 voxels are 23 GB.
        create_graph: give maps and logits with the graph of the whole network, for a loss on them. The network then
            runs as it stands: its training mode, random state, autocast and grad mode are the caller's.
        chunk: targets whose backward passes go together; None for as many as gain by it.

    Raises:
        ValueError: for an unknown method, layer or target, for a network without a layer of its own where none is
            named, for a layer that does not run, gives no map or does not lead to the logits, for slabs in an unknown
            order, for axes in another order than the network takes, and for inputs, logits or maps with NaN or
            infinity.
        TypeError: if inputs, targets or layer are of another type.
    """
    found = attention_by_method(
        network,
        inputs,
        methods=(method,),
        targets=targets,
        layer=layer,
        upsample=upsample,
        create_graph=create_graph,
        chunk=chunk,
    )
    return found[method]


def attention_by_method(
    network: nn.Module,
    inputs: Inputs,
    *,
    methods: Sequence[str] = ("hirescam", "gradcam"),
    targets: Targets = None,
    layer: Layer | list[Layer] | tuple[Layer, ...] | None = None,
    upsample: bool | Sequence[int] | None = None,
    cells: bool = False,
    create_graph: bool = False,
    chunk: int | None = None,
) -> dict[str, Any]:
    """``attention_maps`` of several methods from the same forward pass (and the same backward passes, if any).

    Arguments and errors as there; ``methods`` are names, the result has one entry for each.

    Args:
        network: see there.
        inputs: see there.
        methods: names.
        targets: see there.
        layer: see there.
        upsample: see there.
        cells: bring methods that look at the input to the layer's cells (their evidence is summed over each), so that
            all maps can be kept and compared together.
        create_graph: see there.
        chunk: see there.
    """
    functions = {method: METHODS.get(method) for method in methods}
    check_chunk(chunk)
    core = unwrap(network)
    batch = parse_inputs(inputs)
    several = isinstance(layer, (list, tuple))
    named: Sequence[Layer] = [] if layer is None else list(layer) if isinstance(layer, (list, tuple)) else [layer]
    run = Explanation(
        core, contract_of(network), batch, targets, dict(find_module(core, one) for one in named), create_graph, chunk
    )
    _refuse_unread_layer(functions, run, cells)
    with eager(core) if create_graph else untouched(core, batch.image.device):
        if not create_graph:
            run = replace(run, batch=batch.detached())
        found = run.explain(functions, cells)
    finished: dict[str, Any] = {}
    for method, by_layer in found.items():
        for name, maps in by_layer.items():
            _validate_results(maps)
            by_layer[name] = _finished(maps, upsample, batch)
        finished[method] = by_layer if several else next(iter(by_layer.values()))
    return finished


def maps_of_run(
    network: nn.Module,
    inputs: Inputs,
    output: Any,
    calls: Sequence[Tensor],
    *,
    method: str,
    targets: Targets,
    layer: str,
) -> AttentionMaps:
    """``attention_maps`` of a forward pass that has been run already.

    Args:
        network: unwrapped.
        inputs: that it was given.
        output: that it gave, with a graph from the calls.
        calls: what the layer gave.
        method: a method that looks at a layer.
        targets: see ``attention_maps``.
        layer: name of the layer.

    Raises:
        ValueError: as there.
    """
    batch = parse_inputs(inputs)
    module = network.get_submodule(layer)
    run = Explanation(network, contract_of(network), batch.detached(), targets, {layer: module}, False, None)
    maps = run.of_run({method: METHODS.get(method)}, output, {layer: list(calls)})[method][layer]
    _validate_results(maps)
    return _finished(maps, None, batch)


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


def _finished(maps: AttentionMaps, upsample: bool | Sequence[int] | None, batch: Batch) -> AttentionMaps:
    """With what is known of the input, and on the image's voxels if that is wanted."""
    maps = replace(maps, affines=batch.affines, image=batch.source)
    if upsample is None or upsample is False:
        return maps
    grid = maps._placed()
    size = grid.input_shape if upsample is True else tuple(upsample)
    voxels = resized_grid(voxel_grid(size), grid.input_shape)
    return replace(maps, values=maps.on_image(size), grid=voxels)


def _refuse_unread_layer(functions: Mapping[str, Callable[..., Any]], run: Explanation, cells: bool) -> None:
    if run.layers and not cells and all(place_of(one) in {"input", "guided", "scores"} for one in functions.values()):
        msg = f"{' and '.join(functions)} looks at the input, not at a layer; leave layer out, or use hirescam"
        raise ValueError(msg)


def _validate_results(maps: AttentionMaps) -> None:
    refuse_nonfinite(maps.logits, "the network's logits hold")
    refuse_nonfinite(maps.values, f"the {maps.method} maps of layer {maps.layer!r} hold")
