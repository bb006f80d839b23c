"""One call of ``attention_maps``: which layer, in closed form or by gradients, and what becomes of each method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import NetworkContract, UndeclaredNetwork, grid_of_layer, voxels_of
from ..geometry import FeatureGrid
from ..modules import suggest_modules, untouched
from ..probing import probe_grid
from .capture import Calls, merge_calls, run_from_layers, run_whole
from .find_head import check_declared, find_head
from .gradients import maps_by_gradients
from .inputs import Batch
from .linear_head import CLOSED_FORMS, LinearHead, closed_form_maps
from .methods import gradcam, guided_backprop, guided_gradcam, place_of
from .on_input import OnInput, maps_of_input, occlusion_of_input
from .resample import to_cells, to_input_grid, voxel_grid
from .result import AttentionMaps
from .targets import SegmentationTarget, Targets, logits_of, parse_targets, scores_of, select

__all__ = ["Explanation"]

INPUT = "input"
"""What the layer of methods is called that look at the input."""

ByLayer = dict[str, AttentionMaps]


@dataclass(frozen=True)
class Explanation:
    """What is explained, and how.

    Args:
        core: the network, unwrapped.
        contract: what it says of itself.
        batch: what it is given.
        targets: see ``attention_maps``.
        layers: name -> module of those that were named.
        create_graph: see there.
        chunk: see there.
    """

    core: nn.Module
    contract: NetworkContract | UndeclaredNetwork
    batch: Batch
    targets: Targets
    layers: Mapping[str, nn.Module]
    create_graph: bool
    chunk: int | None

    def explain(self, functions: Mapping[str, Callable[..., Any]], cells: bool) -> dict[str, ByLayer]:
        """Method -> layer -> maps."""
        by_place: dict[str, dict[str, Callable[..., Any]]] = {}
        for method, function in functions.items():
            by_place.setdefault(place_of(function), {})[method] = function
        found: dict[str, ByLayer] = {}
        of_layers = {**by_place.get("layer", {}), **by_place.get("head", {})}
        if "guided layer" in by_place:
            of_layers.setdefault("gradcam", gradcam)
        if of_layers:
            found.update(self._of_layers(of_layers, sorted(by_place.get("head", {}))))
        reach = self._reach(found) if cells else None
        for place, guided in (("input", False), ("guided", True)):
            if place in by_place:
                found.update(self._of_input(by_place[place], guided, reach))
        for method in by_place.get("guided layer", {}):
            found[method] = self._guided_gradcam(method, found["gradcam"], reach)
        for method in by_place.get("scores", {}):
            found[method] = self._occlusion(method, reach)
        return {method: found[method] for method in functions}

    def _of_layers(
        self, functions: Mapping[str, Callable[..., Tensor]], head_methods: Sequence[str]
    ) -> dict[str, ByLayer]:
        for method in head_methods:
            self._check_head(method)
        if not self.layers:
            name, head = self._own_layer()
            own = replace(self, layers={name: self.core.get_submodule(name)})
            closed = own._closed(functions, name, head)
            return own._by_gradients(functions) if closed is None else closed
        return self._by_gradients(functions)

    def _own_layer(self) -> tuple[str, Callable[[Calls], LinearHead] | None]:
        """The layer to explain where none is named; for a head that was found, how to build it of the layer's calls."""
        if isinstance(self.contract, NetworkContract):
            return self.contract.attention_layer, None
        try:
            with untouched(self.core, self.batch.image.device):
                found = find_head(self.core, self.batch.detached())
        except ValueError as error:
            name = type(self.core).__name__
            msg = f"{name} names no attention layer of its own, and {error}; give layer; {suggest_modules(self.core)}"
            raise ValueError(msg) from None
        return found.layer, lambda calls: found.of(self.core, self._merge(found.layer, calls[found.layer]))

    def _closed(
        self, functions: Mapping[str, Callable[..., Tensor]], name: str, head_of: Callable[[Calls], LinearHead] | None
    ) -> dict[str, ByLayer] | None:
        """Maps without a backward pass; None where there is no such form."""
        if callable(self.targets) or isinstance(self.targets, SegmentationTarget):
            return None
        with torch.set_grad_enabled(self.create_graph):
            if head_of is None:
                head = self._declared()
                logits = None if head is None else head.logits()
            else:
                output, calls = run_whole(self.core, self.batch, self.layers)
                logits, head = logits_of(output), head_of(calls)
                if not _close(head, logits):  # another way through the network than the item that was checked
                    return None
            if head is None or logits is None:
                return None
            chosen = parse_targets(self.targets, len(head.bias), len(self.batch.image))
            values = {method: _of_head(head, method, function, chosen) for method, function in functions.items()}
            logits = select(logits, chosen)
        made = {method: {name: maps} for method, maps in values.items()}
        return self._results(made, logits, chosen, closed=True)

    def _declared(self) -> LinearHead | None:
        if not isinstance(self.contract, NetworkContract) or not self.batch.alone:
            return None
        head = self.contract.linear_head(self.batch.image)
        if head is not None:
            with untouched(self.core, self.batch.image.device):  # with a graph the network may be in training mode
                check_declared(self.contract, self.batch.detached(), None if self.create_graph else head)
        return head

    def _check_head(self, method: str) -> None:
        """Refuse CAM where no global average pooling and single linear layer follow the layer."""
        reason = "its network gives each cell a weight of its own, or takes a maximum"
        try:
            with untouched(self.core, self.batch.image.device), torch.no_grad():
                one = replace(self, batch=self.batch.detached().first_item(), create_graph=False)
                head = one._declared()
                name = one.contract.attention_layer
                if head is None:
                    found = find_head(self.core, one.batch)
                    name, pooled = found.layer, found.everywhere and found.pooling == "mean"
                else:
                    pooled = head.weight.ndim == 2 and head.pooling == "mean"
        except ValueError as error:
            pooled, name, reason = False, "", str(error)
        if not pooled or (self.layers and set(self.layers) != {name}):
            where = f"it is that of {name!r} here" if pooled else reason
            msg = (
                f"{method} needs a layer that global average pooling and one linear layer follow: {where}; use hirescam"
            )
            raise ValueError(msg)

    def _by_gradients(self, functions: Mapping[str, Callable[..., Tensor]]) -> dict[str, ByLayer]:
        if self.create_graph:
            output, calls = run_whole(self.core, self.batch, self.layers)
        else:
            output, calls = run_from_layers(self.core, self.batch, self.layers, slabs=self._layout() == "slabs")
        return self.of_run(functions, output, calls)

    def of_run(self, functions: Mapping[str, Callable[..., Tensor]], output: Any, calls: Calls) -> dict[str, ByLayer]:
        """Maps of a forward pass that has been run, by gradients."""
        for name, own in calls.items():
            if not own:
                others = suggest_modules(self.core)
                msg = f"layer {name!r} did not run in this forward pass; choose one that does; {others}"
                raise ValueError(msg)
        with torch.enable_grad():  # whoever ran it may be under no_grad by now
            explained = scores_of(output, self.targets, len(self.batch.image))
            made = maps_by_gradients(
                explained.scores,
                calls,
                self._merge,
                functions,
                create_graph=self.create_graph,
                chunk=self.chunk,
                hint=f"choose another layer; {suggest_modules(self.core)}",
            )
        scores = explained.scores if self.create_graph else explained.scores.detach()
        return self._results(made, scores, explained.targets, closed=False)

    def _merge(self, name: str, calls: Sequence[Tensor]) -> Tensor:
        order = self.contract.call_order
        return merge_calls(calls, self.batch.image.shape, order, name, hint=suggest_modules(self.core))

    def _results(
        self, made: Mapping[str, Mapping[str, Tensor]], logits: Tensor, targets: Any, closed: bool
    ) -> dict[str, ByLayer]:
        grids = {name: self._grid(name) for name in next(iter(made.values()))}
        return {
            method: {
                name: AttentionMaps(maps, logits, method, targets, name, _if_fits(grids[name], maps), closed)
                for name, maps in by_layer.items()
            }
            for method, by_layer in made.items()
        }

    def _grid(self, name: str) -> FeatureGrid | None:
        item_shape = tuple(self.batch.image.shape[1:])
        try:
            if self.batch.alone:
                return grid_of_layer(self.core, name, item_shape)
            bound = _WithOthers(self.core, self.batch.detached().first_item())
            return probe_grid(bound, self.core.get_submodule(name), item_shape)
        except ValueError:
            return None

    def _reach(self, found: Mapping[str, ByLayer]) -> FeatureGrid:
        """The cells that methods of the input are brought to."""
        if found:
            return next(iter(next(iter(found.values())).values()))._placed()
        name = next(iter(self.layers), None) or self._own_layer()[0]
        grid = self._grid(name)
        if grid is None:
            msg = f"the cells of layer {name!r} have no regular places in the input; choose a layer that keeps them"
            raise ValueError(msg)
        return grid

    def _layout(self) -> str:
        return self.contract.input_layout if self.batch.image.ndim == 5 else "volume"

    def _voxels(self) -> FeatureGrid:
        return voxel_grid(voxels_of(tuple(self.batch.image.shape[1:]), self._layout()))  # type: ignore[arg-type]

    def _of_input(
        self, functions: Mapping[str, Callable[..., Tensor]], guided: bool, reach: FeatureGrid | None
    ) -> dict[str, ByLayer]:
        grid = self._voxels()
        then: Callable[[Tensor], Tensor] = (
            (lambda maps: maps) if reach is None else partial(to_cells, grid=grid, cells=reach)
        )
        found = maps_of_input(
            self.core,
            self.batch,
            functions,
            self.targets,
            self._layout(),
            guided=guided,
            create_graph=self.create_graph,
            chunk=self.chunk,
            then=then,
        )
        return {method: self._one(method, maps, found, reach or grid) for method, maps in found.values.items()}

    def _guided_gradcam(self, method: str, coarse: ByLayer, reach: FeatureGrid | None) -> ByLayer:
        guided = self._of_input({"guided_backprop": guided_backprop}, True, None)["guided_backprop"][INPUT]
        made = {}
        for name, maps in coarse.items():
            on_voxels = guided_gradcam(to_input_grid(maps.values, maps._placed()), guided.values)
            grid = guided._placed()
            values = on_voxels if reach is None else to_cells(on_voxels, grid, reach)
            made[name] = replace(guided, values=values, method=method, layer=name, grid=reach or grid)
        return made

    def _occlusion(self, method: str, reach: FeatureGrid | None) -> ByLayer:
        if self.create_graph:
            msg = "occlusion has no gradient; use create_graph with another method, such as hirescam"
            raise ValueError(msg)
        found = occlusion_of_input(self.core, self.batch, self.targets, self._layout())
        values, grid = found.values["occlusion"], found.grid
        assert grid is not None
        return {
            method: self._one(method, values if reach is None else to_cells(values, grid, reach), found, reach or grid)
        }[method]

    def _one(self, method: str, values: Tensor, found: OnInput, grid: FeatureGrid) -> ByLayer:
        explained = found.explained
        return {INPUT: AttentionMaps(values, explained.scores, method, explained.targets, INPUT, grid, False)}


class _WithOthers(nn.Module):
    """A network of several inputs as one of its image alone, to find out where cells lie."""

    def __init__(self, network: nn.Module, batch: Batch) -> None:
        super().__init__()
        self.network, self.batch = network, batch

    def forward(self, image: Tensor) -> Any:
        return self.batch.with_image(image).run(self.network)


def _of_head(head: LinearHead, method: str, function: Callable[..., Tensor], chosen: Any) -> Tensor:
    by_item = bool(chosen) and isinstance(chosen[0], tuple)
    if method in CLOSED_FORMS:
        part = head if by_item else head.select(list(chosen))
        maps = closed_form_maps(part, method)
        return select(maps, chosen) if by_item else maps
    axes = head.features.ndim - 2
    labels = sorted({label for row in chosen for label in row}) if by_item else list(chosen)
    found = [function(head.features, head.gradient(label), axes) for label in labels]
    if not found:
        return head.features.new_empty(len(head.features), 0, *head.grid)
    stacked = torch.stack(found, dim=1)
    return select(stacked, tuple(tuple(labels.index(one) for one in row) for row in chosen)) if by_item else stacked


def _close(head: LinearHead, logits: Tensor) -> bool:
    closed = head.logits().detach().to(logits.dtype)
    within = 1e-2 if logits.dtype in {torch.float16, torch.bfloat16} else 1e-4
    return closed.shape == logits.shape and bool(torch.allclose(closed, logits, rtol=within, atol=within))


def _if_fits(grid: FeatureGrid | None, maps: Tensor) -> FeatureGrid | None:
    return grid if grid is not None and grid.shape == tuple(maps.shape[2:]) else None
