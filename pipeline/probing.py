"""Where the cells of any layer of any network look: the coordinates themselves are sent through the network.

A tensor that holds each voxel's coordinate along one axis goes in where the image would, and every operation passes on
coordinates instead of values: a convolution or pooling the largest of its window, an addition the larger of its
branches, an activation or normalisation that of its one voxel. What arrives at the layer is the upper end of each
cell's receptive field; negated coordinates give the lower end. A last pass gives the centre, by means over windows and,
where branches meet, by the sharpest of them: a skip connection keeps places that a deeper path has blurred.
Beyond its edges a tensor is continued as regularly as it runs inside, so that padding moves nothing and no receptive
field is cut short by a border.

No weight is read (a network on the meta device will do), and axes along which nothing varies are kept as a single
value, so that 405 x 420 x 420 voxels cost no more than 64 x 64 x 64. The tests compare with impulses and with
``organcam.geometry.compose``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

from .geometry import FeatureGrid
from .modules import find_module, untouched
from .windows import WINDOWS, window_of

__all__ = ["probe_grid"]

NO_PLACE = -float("inf")
TOLERANCE = 1e-3  # voxels
DECIMALS = 3

COPIES = {"clone", "contiguous", "_to_copy", "alias", "detach", "lift_fresh"}
MOVES = {"stack", "flip", "roll", "index", "index_select", "gather", "repeat", "pixel_shuffle"}
REDUCTIONS = {"mean", "sum", "amax", "amin", "var", "std"}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}


def probe_grid(network: nn.Module, layer: nn.Module, item_shape: Sequence[int], layout: str = "volume") -> FeatureGrid:
    """Where the cells of a layer's output lie in the network's input.

    A factor or term that is the same at all cells (squeeze-and-excitation, global context) has no place and does not
    widen the receptive field. Cells that an upsampling path sets in a repeating pattern (a transposed convolution of
    even kernel) are given the pattern's mean stride and offset.

    Args:
        network: on any device, the meta device included; left as it was.
        layer: a module of it that gives ``[B, F, *grid]``, or row by row or in several calls ``[rows, F, h, w]``, the
            rows then lying along the input's first axis.
        item_shape: of one input without the batch: [C, D, H, W], [C, H, W], or for slabs [S, C, H, W].
        layout: "volume" or "slabs" (S slabs, whose C channels are slices).

    Returns:
        The grid, in voxels; receptive field padding not counted off. Along an axis with a single cell its stride is
        the whole axis.

    Raises:
        ValueError: if the layer does not run, or its cells have no regular places in the input (tokens, global
            pooling, attention between places).

    Example:
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 3))
        >>> grid = probe_grid(network, network[2], (1, 20, 20))
        >>> grid.shape, grid.stride, grid.offset, grid.receptive_field
        ((7, 7), (2.0, 2.0), (3.0, 3.0), (7, 7))
    """
    network, layer = _in_full_precision(network, layer)
    dtype = next((parameter.dtype for parameter in network.parameters()), torch.float32)
    voxels, ramps = _coordinates(item_shape, layout, dtype)
    shape: tuple[int, ...] = ()
    axes: list[tuple[float, float, int]] = []
    for axis, ramp in enumerate(ramps):
        wide = [_Coordinates("widest"), _Coordinates("widest")]
        sharp = [_Coordinates("narrowest"), _Coordinates("narrowest")]
        ends = [_sent(network, layer, sign * ramp, item_shape, mode) for sign, mode in zip((1, -1), wide, strict=True)]
        for sign, mode in zip((1, -1), sharp, strict=True):
            _sent(network, layer, sign * ramp, item_shape, mode)
        middle = _Coordinates("centre", zip(_widths(*sharp), _widths(*wide), strict=True))
        shape, centres = _lines(axis, _sent(network, layer, ramp, item_shape, middle))
        field = int(np.ceil((ends[0] + ends[1]).max().item() - TOLERANCE)) + 1
        axes.append((*_regular(axis, centres, voxels[axis]), field))
    strides, offsets, fields = zip(*axes, strict=True)
    return FeatureGrid(shape, strides, offsets, fields, voxels)


def _in_full_precision(network: nn.Module, layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network itself, or a copy without weights where its half precision could not hold coordinates."""
    weights = [*network.parameters(), *network.buffers()]
    if not any(weight.dtype in {torch.float16, torch.bfloat16} for weight in weights):
        return network, layer
    name, _ = find_module(network, layer)
    empty = {id(weight): torch.empty_like(weight, device="meta") for weight in weights}
    for parameter in network.parameters():
        empty[id(parameter)] = nn.Parameter(empty[id(parameter)])
    copy = deepcopy(network, empty).float()
    return copy, copy.get_submodule(name)


def _coordinates(item_shape: Sequence[int], layout: str, dtype: torch.dtype) -> tuple[tuple[int, ...], list[Tensor]]:
    """Voxels per axis, and for each axis every voxel's coordinate along it, as an input of size 1 elsewhere."""
    if layout == "slabs":
        if len(item_shape) != 4:
            msg = f"slabs have the shape [S, C, H, W], got {list(item_shape)}"
            raise ValueError(msg)
        voxels = (item_shape[0] * item_shape[1], *item_shape[2:])
    elif layout == "volume":
        voxels = tuple(item_shape[1:])
    else:
        msg = f"unknown layout {layout!r}. Legal: slabs, volume"
        raise ValueError(msg)
    ramps = []
    for axis, size in enumerate(voxels):
        ramp = torch.arange(size, dtype=dtype, device="cpu")
        if layout == "slabs" and axis == 0:
            ramp = ramp.view(1, -1, item_shape[1], 1, 1)
        else:
            before = len(item_shape) - len(voxels) + 1 + axis
            ramp = ramp.view(*(1,) * before, -1, *(1,) * (len(voxels) - 1 - axis))
        ramps.append(ramp)
    return voxels, ramps


def _sent(network: nn.Module, layer: nn.Module, ramp: Tensor, item_shape: Sequence[int], mode: _Coordinates) -> Tensor:
    """What arrives at each cell of the layer, ``[*grid]``."""
    calls: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not mode.carries(output):
            msg = "the layer's output does not come from the input by operations that keep places"
            raise ValueError(msg)
        calls.append(output)

    handle = layer.register_forward_hook(keep)
    try:
        with untouched(network), torch.no_grad(), mode:
            network(mode.carry(ramp.clone().expand(1, *item_shape)))
    except ValueError:
        raise
    except Exception as error:  # whatever a network may do with coordinates in place of an image
        if not calls:
            msg = f"coordinates cannot be sent to the layer: {error}"
            raise ValueError(msg) from error
    finally:
        handle.remove()
    axes = ramp.ndim - 2
    if not calls:
        msg = "the layer did not run"
        raise ValueError(msg)
    merged = [mode.merge(_core(call).movedim(1, 0)) for call in calls]
    if len(calls) == 1 and calls[0].ndim == axes + 2 and len(calls[0]) == 1:
        return merged[0][0].expand(calls[0].shape[2:])
    if any(call.ndim != axes + 1 for call in calls):
        msg = f"the layer's output is no map of {axes} axes: {list(calls[0].shape)}"
        raise ValueError(msg)
    rows = [part.expand(len(call), *call.shape[2:]) for part, call in zip(merged, calls, strict=True)]
    return torch.cat(rows)


def _widths(high: _Coordinates, low: _Coordinates) -> list[Tensor]:
    """How wide each branch looks, wherever branches meet."""
    widths = [(top + bottom).flatten(1).amax(1) for top, bottom in zip(high.branches, low.branches, strict=True)]
    return [width.masked_fill(width == NO_PLACE, float("inf")) for width in widths]


def _lines(axis: int, cells: Tensor) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape of the grid, and the centres of its cells along one axis."""
    rest = tuple(other for other in range(cells.ndim) if other != axis)
    first = cells.amin(rest) if rest else cells
    if not cells.isfinite().all() or (rest and (cells.amax(rest) - first).max() > TOLERANCE):
        msg = f"the layer's cells do not keep places along axis {axis} of the input"
        raise ValueError(msg)
    return tuple(cells.shape), first.double().numpy()


def _regular(axis: int, centres: np.ndarray, voxels: int) -> tuple[float, float]:
    """Stride and offset of the cells along one axis."""
    if len(centres) == 1:
        return float(voxels), round(float(centres[0]), DECIMALS)
    period, step = _period(torch.as_tensor(centres))
    if period is None or step <= 0:
        msg = f"the layer's cells are not evenly spaced along axis {axis} of the input"
        raise ValueError(msg)
    stride = step / period
    offset = float((centres[:period] - stride * np.arange(period)).mean())
    return round(stride, DECIMALS), round(offset, DECIMALS)


class _Coordinates(TorchDispatchMode):
    """Runs every operation on coordinates instead of values.

    Args:
        kind: "widest" and "narrowest" take the largest coordinate of a window, and of branches that meet the largest
            and the smallest; "centre" takes the mean of a window and the sharpest branch.
        widths: for "centre", wherever branches meet: how wide the sharpest path through each of them looks, and, where
            that is the same, how wide all of its paths.
    """

    def __init__(self, kind: str, widths: Iterable[tuple[Tensor, Tensor]] = ()) -> None:
        super().__init__()
        self._kind = kind
        self.branches: list[Tensor] = []
        self._widths = iter(widths)
        # Storages that hold coordinates (views share them); all other tensors are the network's own. Kept alive until
        # the end, lest another tensor takes over an address: they are small.
        self._carried: dict[int, torch.UntypedStorage] = {}

    def carries(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._carried

    def carry(self, result: Any) -> Any:
        for tensor in tree_flatten(result)[0]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._carried[storage._cdata] = storage
        return result

    def merge(self, branches: Tensor) -> Tensor:
        """One coordinate of those of several branches, ``[branches, ...]``."""
        if len(branches) == 1:
            return branches[0]
        if self._kind == "centre":
            chosen = torch.ones(len(branches), dtype=torch.bool)
            for widths in next(self._widths):
                chosen &= widths <= widths[chosen].min() + TOLERANCE
            return branches[chosen].mean(0)
        self.branches.append(branches.detach())  # an in-place operation will change the object
        if self._kind == "widest":
            return branches.amax(0)
        narrowest = branches.masked_fill(branches == NO_PLACE, -NO_PLACE).amin(0)
        return narrowest.masked_fill(narrowest == -NO_PLACE, NO_PLACE)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [item for item in tree_flatten((args, kwargs))[0] if isinstance(item, Tensor)]
        given = [tensor for tensor in tensors if self.carries(tensor)]
        if not given:
            return func(*args, **kwargs)
        name = func.overloadpacket.__name__
        in_place = name.endswith("_")
        found = self._coordinates(func, name.removesuffix("_") if in_place else name, args, kwargs, given)
        if not in_place:
            return found
        args[0].set_(found)
        return self.carry(args[0])

    def _coordinates(self, func: Any, name: str, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        if name in COPIES:
            return self.carry(given[0].view(given[0].shape))
        if name in {"view", "_unsafe_view", "reshape"}:
            return self.carry(given[0].reshape(args[1]))
        if name == "cat":
            return self.carry(self._cat(args[0], args[1] if len(args) > 1 else 0))
        if func.is_view or name in MOVES:
            return self.carry(func(*args, **kwargs))
        results = func(*tree_map_only(Tensor, _shape_only, args), **tree_map_only(Tensor, _shape_only, kwargs))
        several = isinstance(results, (tuple, list))
        shape = tuple(results[0].shape if several else results.shape)
        if name in WINDOWS:
            first = self._windows(name, given[0], args, shape)
        elif name in REDUCTIONS:
            first = self._reduced(given[0], args, shape)
        elif name in PRODUCTS:
            first = self._product(args[-2:])
        else:
            # a term that does not vary over the cells has no place
            placed = [tensor for tensor in given if tuple(tensor.shape[2:]) == shape[2:]] or given
            first = self.merge(_stacked([_core(tensor) for tensor in placed]))
        first = self.carry(first.expand(shape))
        return type(results)([first, *results[1:]]) if several else first

    def _windows(self, name: str, x: Tensor, args: Any, shape: tuple[int, ...]) -> Tensor:
        """Windows of one axis after the other; a convolution mixes the channels first."""
        core = _core(x)
        if name == "convolution":
            core = self.merge(core.movedim(1, 0)).unsqueeze(1)
        axes = len(args[1]) // 2 if "pad" in name else x.ndim - 2
        for axis in range(axes):
            dim = x.ndim - axes + axis
            if core.shape[dim] > 1:
                index, weights = window_of(name, args, axis, axes, x.shape[dim], shape[dim])
                core = self._read(core.movedim(dim, -1), index, weights).movedim(-1, dim)
        return core

    def _read(self, values: Tensor, index: np.ndarray, weights: np.ndarray) -> Tensor:
        """Largest or mean of ``values[..., index]`` over the windows ``[outputs, reads]``."""
        before, after = max(0, -int(index.min())), max(0, int(index.max()) - values.shape[-1] + 1)
        taken = _continued(values, before, after)[..., torch.as_tensor(index + before)]
        share = torch.as_tensor(weights, dtype=values.dtype)
        if self._kind != "centre":
            return taken.masked_fill(share == 0, NO_PLACE).amax(-1)
        return (taken * share).sum(-1)

    def _mixed(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """One coordinate of all along some axes; what has no place (a network's own channels) does not count."""
        dims = tuple(dims)
        if self._kind != "centre":
            return x.amax(dims, keepdim=True)
        placed = x != NO_PLACE
        counts = placed.sum(dims, keepdim=True)
        mean = x.masked_fill(~placed, 0.0).sum(dims, keepdim=True) / counts
        return mean.masked_fill(counts == 0, NO_PLACE)

    def _reduced(self, x: Tensor, args: Any, shape: tuple[int, ...]) -> Tensor:
        dims = args[1] if len(args) > 1 and args[1] not in (None, []) else range(x.ndim)
        dims = sorted({dim % x.ndim for dim in ([dims] if isinstance(dims, int) else dims)})
        core = self._mixed(_core(x), dims)
        return (
            core if len(shape) == x.ndim else core.reshape([n for dim, n in enumerate(core.shape) if dim not in dims])
        )

    def _product(self, factors: Sequence[Tensor]) -> Tensor:
        """A matrix product mixes what it sums over; rows of the first and columns of the second factor stay."""
        pairs = zip(factors, (-1, -2), strict=True)
        return self.merge(_stacked([self._mixed(_core(x), (dim,)) for x, dim in pairs if self.carries(x)]))

    def _cat(self, tensors: Sequence[Tensor], dim: int) -> Tensor:
        dim %= tensors[0].ndim
        nowhere = torch.full((1,) * tensors[0].ndim, NO_PLACE, device="cpu")
        cores = [_core(tensor) if self.carries(tensor) else nowhere for tensor in tensors]
        widest = [max(sizes) for sizes in zip(*(core.shape for core in cores), strict=True)]
        whole = torch.cat(
            [
                core.expand(*widest[:dim], tensor.shape[dim], *widest[dim + 1 :])
                for core, tensor in zip(cores, tensors, strict=True)
            ],
            dim,
        )
        full = tensors[0].shape
        return whole.expand(*full[:dim], whole.shape[dim], *full[dim + 1 :])


def _shape_only(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


def _stacked(branches: Sequence[Tensor]) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*branches))


def _core(x: Tensor) -> Tensor:
    """A tensor without the repetitions along axes where nothing varies."""
    for dim in range(x.ndim):
        if x.stride(dim) == 0:
            x = x.narrow(dim, 0, 1)
    return x


def _continued(values: Tensor, before: int, after: int) -> Tensor:
    """Longer along the last axis, as regularly as it runs inside."""
    if not before and not after:
        return values
    n = values.shape[-1]
    period, step = _period(values.reshape(-1, n)[0])
    if period is None:
        period, step = 1, 0.0
    index = np.arange(-before, n + after)
    cycles = np.where(index < 0, -((period - 1 - index) // period), np.where(index >= n, (index - n) // period + 1, 0))
    return values[..., torch.as_tensor(index - cycles * period)] + torch.as_tensor(cycles * step, dtype=values.dtype)


def _period(values: Tensor) -> tuple[int | None, float]:
    """After how many cells the same steps come again, and how far they lead; None where they never do."""
    for period in range(1, len(values) // 2 + 1):
        steps = values[period:] - values[:-period]
        if (steps - steps[0]).abs().max() < TOLERANCE:
            return period, float(steps[0])
    return None, 0.0
