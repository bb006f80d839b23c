"""Does a map say what the network did: checks that need neither lesions nor readers.

Draelos and Carin, "Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks" (2020):
completeness (section 3.5), locations used (section 5.4). Adebayo et al., "Sanity checks for saliency maps" (2018): the
randomisation cascade. All work on raw signed maps; any scaling would undo what they measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from ...attention import AttentionMaps, attention_maps
from ...attention.capture import merge_calls, run_from_layers, run_network
from ...attention.inputs import Inputs, parse_inputs
from ...attention.targets import scores_of
from ...contract import contract_of
from ...modules import find_module, untouched, unwrap

__all__ = [
    "completeness_gap",
    "deletion_gaps",
    "distance_to_used",
    "method_agreement",
    "randomisation_cascade",
    "rank_correlation",
    "sign_flips",
]


def completeness_gap(attention: Tensor, logits: Tensor, bias: Tensor) -> Tensor:
    """By how much a map and the bias miss the score; 0 for HiResCAM before one linear layer.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        logits: ``[B, M]``.
        bias: of the linear layer, ``[M]``.

    Returns:
        ``[B, M]``: sum of the map plus bias less the score, signed, in units of the score.

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> completeness_gap(torch.tensor([[[2.0, -1.0]]]), torch.tensor([[1.5]]), torch.tensor([0.5])).tolist()
        [[0.0]]
    """
    if attention.ndim < 3 or logits.shape != attention.shape[:2] or bias.shape != attention.shape[1:2]:
        shapes = f"{list(attention.shape)}, {list(logits.shape)} and {list(bias.shape)}"
        msg = f"completeness needs attention [B, M, *grid], logits [B, M] and bias [M], got {shapes}"
        raise ValueError(msg)
    return attention.flatten(2).sum(-1) + bias - logits


def deletion_gaps(network: nn.Module, inputs: Inputs, maps: AttentionMaps, places: Sequence[Sequence[int]]) -> Tensor:
    """How far the fall of the score is from what the map said, where one place of the feature map is set to 0.

    Before one linear layer a HiResCAM map says it exactly; one forward pass for each place.

    Args:
        network: that was explained; left as it was.
        inputs: that it was given.
        maps: of a layer of it, of these inputs.
        places: cells of the map, one index per axis each.

    Returns:
        ``[places, B, M]``: fall of the score less the map's value there.

    Raises:
        ValueError: if a place lies outside the map, or the layer does not give these maps.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch._C.Generator object at ...>
        >>> network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 1)).double()
        >>> image = torch.randn(1, 1, 5, 5).double()
        >>> maps = attention_maps(network, image)
        >>> bool(deletion_gaps(network, image, maps, [(0, 1), (2, 2)]).abs().max() < 1e-12)
        True
    """
    grid = tuple(maps.values.shape[2:])
    for place in places:
        if len(place) != len(grid) or not all(0 <= at < size for at, size in zip(place, grid, strict=True)):
            msg = f"place {tuple(place)} does not lie in maps of {grid} cells"
            raise ValueError(msg)
    core, batch = unwrap(network), parse_inputs(inputs)
    name, layer = find_module(core, maps.layer)
    targets: Any = maps.targets
    with untouched(core, batch.image.device), torch.no_grad():
        batch = batch.detached()
        _, calls = run_from_layers(core, batch, {name: layer})
        numbers = _numbered(calls[name])
        where = merge_calls(numbers, batch.image.shape, contract_of(core).call_order, name)
        if tuple(where.shape[2:]) != grid:
            msg = f"layer {name!r} gives {tuple(where.shape[2:])} cells for these inputs, the maps have {grid}"
            raise ValueError(msg)
        torch.set_grad_enabled(False)
        gaps = []
        for place in places:
            cell: Any = (slice(None), slice(None), *place)
            with _without(layer, where[cell].flatten(), numbers):
                after = scores_of(run_network(core, batch), targets, len(batch.image)).scores
            gaps.append(maps.logits.detach() - after - maps.values.detach()[cell])
    return torch.stack(gaps) if gaps else maps.logits.new_empty(0, *maps.logits.shape)


def distance_to_used(attention: Tensor, used: Tensor) -> Tensor:
    """L2 distance of a map to the evidence that the network used, both divided by their largest absolute value.

    Draelos and Carin 2020, table 1: 0 everywhere for HiResCAM, 0.6 to 3 for Grad-CAM.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        used: what each place adds to the score, same shape (``organcam.attention.contributions``).

    Returns:
        ``[B, M]``.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> distance_to_used(torch.tensor([[[2.0, 4.0]]]), torch.tensor([[[1.0, 0.5]]])).item()  # (0.5, 1) to (1, 0.5)
        0.7071067690849304
    """
    _check_alike(attention, used)
    return torch.linalg.vector_norm(_scaled(attention) - _scaled(used), dim=-1)


def sign_flips(attention: Tensor, used: Tensor) -> Tensor:
    """Share of the places that a map shows with the sign opposite to their use, of those that were used.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``.
        used: what each place adds to the score, same shape.

    Returns:
        ``[B, M]`` in [0, 1]; NaN where nothing was used.

    Raises:
        ValueError: if the shapes differ.
    """
    _check_alike(attention, used)
    left, right = attention.detach().flatten(2), used.detach().flatten(2)
    return (left * right < 0).sum(-1) / (right != 0).sum(-1)


def rank_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Spearman's correlation of two maps over their places; equal values share their rank.

    Args:
        left: ``[B, M, *grid]``.
        right: same shape.

    Returns:
        ``[B, M]``, float64, on the processor; NaN for a map that is the same everywhere.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> rank_correlation(torch.tensor([[[1.0, 2.0, 9.0]]]), torch.tensor([[[0.0, 5.0, 6.0]]])).round().item()
        1.0
    """
    _check_alike(left, right)
    ranks = []
    for maps in (left, right):
        found = torch.from_numpy(rankdata(maps.detach().double().flatten(2).cpu().numpy(), axis=-1))
        found = found - found.mean(-1, keepdim=True)
        ranks.append(found / torch.linalg.vector_norm(found, dim=-1, keepdim=True))
    return (ranks[0] * ranks[1]).sum(-1).clamp(-1, 1)


def method_agreement(maps: Mapping[str, Tensor]) -> dict[tuple[str, str], float]:
    """Mean rank correlation of every two methods, over items and labels whose maps are not the same everywhere.

    Args:
        maps: method -> ``[B, M, *grid]``, all on the same cells.

    Raises:
        ValueError: if the shapes differ.
    """
    names = list(maps)
    return {
        (one, other): float(rank_correlation(maps[one], maps[other]).nanmean())
        for number, one in enumerate(names)
        for other in names[number + 1 :]
    }


def randomisation_cascade(
    network: nn.Module,
    inputs: Inputs,
    *,
    method: str = "hirescam",
    layer: str | None = None,
    parts: Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, Tensor]:
    """How much of a map is left as the network forgets what it has learned, from its last part to its first.

    Adebayo et al. 2018, cascading randomisation: a method that explains the network gives another map each time. One
    whose maps stay alike (guided backpropagation is known for it) shows the image.

    Args:
        network: left as it was; a copy is randomised.
        inputs: that it takes.
        method: see ``attention_maps``.
        layer: see there.
        parts: names of the modules to randomise one after the other, each on top of those before; None for the
            network's parts, last first.
        seed: of the new weights.

    Returns:
        Part -> rank correlation with the first map, ``[B, M]``.

    Raises:
        ValueError: if a part has no weights that can be made anew.
    """
    copy = deepcopy(unwrap(network))
    first = _maps_of(copy, inputs, method, layer)
    found: dict[str, Tensor] = {}
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        for name in _parts(copy) if parts is None else parts:
            _, part = find_module(copy, name)
            if not _forget(part):
                msg = f"{name!r} holds no weights that can be made anew (reset_parameters)"
                raise ValueError(msg)
            found[name] = rank_correlation(first, _maps_of(copy, inputs, method, layer))
    return found


def _maps_of(network: nn.Module, inputs: Inputs, method: str, layer: str | None) -> Tensor:
    return attention_maps(network, inputs, method=method, layer=layer).values


def _parts(network: nn.Module) -> list[str]:
    """Direct children with weights to make anew, last first; of a network that is one wrapped module, its children."""
    prefix, inner = "", network
    while True:
        children = [(name, child) for name, child in inner.named_children() if any(True for _ in child.parameters())]
        if len(children) != 1 or hasattr(children[0][1], "reset_parameters"):
            break
        prefix, inner = f"{prefix}{children[0][0]}.", children[0][1]
    return [prefix + name for name, child in reversed(children) if _can_forget(child)]


def _can_forget(part: nn.Module) -> bool:
    return any(hasattr(module, "reset_parameters") for module in part.modules())


def _forget(part: nn.Module) -> bool:
    modules: list[Any] = [module for module in part.modules() if hasattr(module, "reset_parameters")]
    for module in modules:
        module.reset_parameters()
    return bool(modules)


def _numbered(calls: Sequence[Tensor]) -> list[Tensor]:
    """Tensors like the calls that hold the place of each value, counted through all of them."""
    numbers, start = [], 0
    for call in calls:
        numbers.append(torch.arange(start, start + call.numel(), device=call.device).reshape(call.shape))
        start += call.numel()
    return numbers


@contextmanager
def _without(layer: nn.Module, places: Tensor, numbers: Sequence[Tensor]) -> Iterator[None]:
    """Some values of a layer's output are 0 meanwhile."""
    calls = iter(numbers)

    def delete(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.masked_fill(torch.isin(next(calls), places), 0.0)

    handle = layer.register_forward_hook(delete)
    try:
        yield
    finally:
        handle.remove()


def _scaled(maps: Tensor) -> Tensor:
    flat = maps.detach().flatten(2)
    largest = flat.abs().amax(-1, keepdim=True)
    return flat / largest.where(largest > 0, 1.0)


def _check_alike(left: Tensor, right: Tensor) -> None:
    if left.shape != right.shape or left.ndim < 3:
        msg = f"both maps must have the shape [B, M, *grid], got {list(left.shape)} and {list(right.shape)}"
        raise ValueError(msg)
