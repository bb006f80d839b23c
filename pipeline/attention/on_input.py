"""Methods that look at the input itself: its gradient, guided or not, and what covering parts of it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..geometry import FeatureGrid
from .capture import run_network
from .gradients import gradients_by_target
from .guided import GuidedReLUs, check_guidable
from .inputs import Batch, from_voxels, to_voxels
from .methods import occlusion
from .targets import Explained, Targets, fixed_target, scores_of

__all__ = ["OnInput", "maps_of_input", "occlusion_of_input"]


@dataclass(frozen=True)
class OnInput:
    """Maps ``[B, M, *grid]`` of several methods and what they explain."""

    values: dict[str, Tensor]
    explained: Explained
    grid: FeatureGrid | None = None


def maps_of_input(
    network: nn.Module,
    batch: Batch,
    methods: Mapping[str, Callable[..., Tensor]],
    targets: Targets,
    layout: str,
    *,
    guided: bool,
    create_graph: bool = False,
    chunk: int | None = None,
    then: Callable[[Tensor], Tensor] = lambda maps: maps,
) -> OnInput:
    """One forward pass with the whole graph, and one backward pass a target.

    Args:
        network: unwrapped.
        batch: what it is given.
        methods: functions of input, gradient and number of spatial axes.
        targets: see ``attention_maps``.
        layout: of the image.
        guided: let ReLUs pass positive gradients only.
        create_graph: whether the maps can be differentiated.
        chunk: targets whose backward passes go together.
        then: what becomes of each map ``[B, *voxels]`` as soon as it is made; eighty of a volume do not fit in memory.

    Raises:
        ValueError: if the scores do not depend on the input, or guided methods meet no ReLU.
    """
    image = batch.image
    if not image.is_floating_point():
        msg = f"{' and '.join(methods)} need an input of floating point numbers, got {image.dtype}; give inputs.float()"
        raise ValueError(msg)
    image = image if create_graph and image.requires_grad else image.detach().requires_grad_()
    mode = GuidedReLUs()
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        if guided:
            check_guidable(network)
            stack.enter_context(mode)  # for the backward pass too, where checkpoints run forward again
        explained = scores_of(run_network(network, batch.with_image(image)), targets, len(image))
        if guided and not mode.met:
            _refuse_without_relus(network, methods)
        scores, kept = explained.scores, image if create_graph else image.detach()
        maps: dict[str, list[Tensor]] = {method: [] for method in methods}
        calls = {"": [image]}
        passes = gradients_by_target(
            scores,
            calls,
            lambda _, found: to_voxels(found[0], layout),
            create_graph=create_graph,
            chunk=1 if guided else chunk,
        )
        voxels = to_voxels(kept, layout)
        for gradient in passes:
            for method, function in methods.items():
                maps[method].append(then(function(voxels, gradient[""], voxels.ndim - 2)))
    empty = voxels.new_empty(len(voxels), 0, *voxels.shape[2:])
    values = {method: torch.stack(found, dim=1) if found else empty for method, found in maps.items()}
    return OnInput(values, explained if create_graph else Explained(scores.detach(), explained.targets))


def occlusion_of_input(network: nn.Module, batch: Batch, targets: Targets, layout: str, **options: Any) -> OnInput:
    """``occlusion`` of a network's scores, all items under the same box at once.

    Args:
        network: unwrapped.
        batch: what it is given.
        targets: see ``attention_maps``; where a class is predicted is what the whole input says.
        layout: of the image.
        options: of ``occlusion``.
    """
    with torch.no_grad():
        output = run_network(network, batch)
        fixed = fixed_target(output, targets, len(batch.image))
        explained = scores_of(output, fixed, len(batch.image))

        def score(volume: Tensor) -> Tensor:
            covered = batch.with_image(from_voxels(volume, batch.image))
            return scores_of(run_network(network, covered), fixed, len(volume)).scores

        maps, grid = occlusion(score, to_voxels(batch.image, layout), **options)
    return OnInput({"occlusion": maps}, explained, grid)


def _refuse_without_relus(network: nn.Module, methods: Mapping[str, Any]) -> None:
    kinds = {type(module).__name__ for module in network.modules() if _is_activation(module)}
    others = f"; its activations are {', '.join(sorted(kinds))}" if kinds else ""
    msg = (
        f"{' and '.join(methods)} is defined for ReLUs, and none ran in {type(network).__name__}{others}; "
        "use gradient_x_input"
    )
    raise ValueError(msg)


def _is_activation(module: nn.Module) -> bool:
    return type(module).__module__ == "torch.nn.modules.activation" and not any(True for _ in module.children())
