"""What a network is given: one tensor, several, or tensors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

__all__ = ["Batch", "Inputs", "from_voxels", "parse_inputs", "refuse_nonfinite", "to_voxels", "wrong_axes"]

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
"""A batch ``[B, ...]``, several as a tuple or list (given one after the other), or by name as a dictionary. The first
tensor is the image that attention is of."""


@dataclass(frozen=True)
class Batch:
    """Arguments of a network, the image among them at ``place``."""

    given: tuple[Any, ...]
    named: Mapping[str, Any]
    place: int | str
    affines: Tensor | None = None
    """Voxel to world (RAS+, mm) of the image, ``[B, 4, 4]``, where it is MONAI's MetaTensor."""
    source: ref[Tensor] | None = None
    """The image as the caller holds it."""

    @property
    def image(self) -> Tensor:
        """The first tensor, ``[B, ...]``."""
        return self.named[self.place] if isinstance(self.place, str) else self.given[self.place]

    @property
    def alone(self) -> bool:
        """Whether the image is all that the network is given."""
        return len(self.given) + len(self.named) == 1

    def run(self, network: nn.Module) -> Any:
        """The network's output."""
        return network(*self.given, **self.named)

    def with_image(self, image: Tensor) -> Batch:
        """The same with another image; where that has several times the items, so has what belongs to each item."""
        count = len(self.image)
        times = len(image) // count
        there = self._mapped(lambda x: x.repeat(times, *(1,) * (x.ndim - 1)) if x.ndim and len(x) == count else x)
        if isinstance(self.place, str):
            return replace(there, named={**there.named, self.place: image})
        given = tuple(image if number == self.place else one for number, one in enumerate(there.given))
        return replace(there, given=given)

    def first_item(self) -> Batch:
        """The first item of the batch alone."""
        count = len(self.image)
        return self._mapped(lambda x: x[:1] if x.ndim and len(x) == count else x)

    def detached(self) -> Batch:
        """Without graph, and usable by autograd also when made under ``inference_mode``."""
        return self._mapped(lambda x: x.detach().clone() if x.is_inference() else x.detach())

    def _mapped(self, change: Any) -> Batch:
        def one(value: Any) -> Any:
            return change(value) if isinstance(value, Tensor) else value

        return replace(
            self, given=tuple(map(one, self.given)), named={name: one(value) for name, value in self.named.items()}
        )


def parse_inputs(inputs: Inputs) -> Batch:
    """Check what a network shall be given.

    Raises:
        TypeError: if there is no tensor in it.
        ValueError: if the image is no batch, is empty, or holds NaN or infinity.
    """
    given: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    if isinstance(inputs, Mapping):
        named = {str(name): value for name, value in inputs.items()}
        place: int | str | None = next((name for name, one in named.items() if isinstance(one, Tensor)), None)
    else:
        given = tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)
        place = next((number for number, one in enumerate(given) if isinstance(one, Tensor)), None)
    if place is None:
        msg = (
            "inputs must be a tensor [B, ...] as the network takes it, several in a tuple, or by name in a dictionary, "
            f"got {type(inputs).__name__}"
        )
        raise TypeError(msg)
    image = named[place] if isinstance(place, str) else given[place]
    if image.ndim < 3 or not len(image):
        empty = ", which is empty" if image.ndim >= 3 else ""
        msg = f"inputs must be a batch [B, ...] of images or volumes, got shape {list(image.shape)}{empty}"
        raise ValueError(msg)
    affines = _affines(image)
    # MONAI's MetaTensor would carry the scan's affine over to the maps
    batch = Batch(given, named, place, affines, ref(image))._mapped(lambda x: x.as_subclass(Tensor))
    for value in (*batch.given, *batch.named.values()):
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim:
            refuse_nonfinite(value, "inputs hold")
    return batch


def _affines(image: Tensor) -> Tensor | None:
    affine = getattr(image, "affine", None)
    if not isinstance(affine, Tensor) or affine.shape[-2:] != (4, 4):
        return None
    return torch.as_tensor(affine).as_subclass(Tensor).detach().cpu().double().expand(len(image), 4, 4)


def refuse_nonfinite(values: Tensor, what: str) -> None:
    """Raise where there is NaN or infinity.

    Args:
        values: ``[B]`` or ``[B, ...]``.
        what: begins the message, verb included.

    Raises:
        ValueError: with the first item of the batch that has some.
    """
    if not values.isfinite().all():
        item = int((~values.isfinite()).reshape(len(values), -1).any(1).nonzero()[0])
        msg = f"{what} NaN or infinity, first in item {item} of the batch"
        raise ValueError(msg)


def to_voxels(image: Tensor, layout: str) -> Tensor:
    """``[B, C, *voxels]``; slabs ``[B, S, C, H, W]`` are a volume of one channel, ``[B, 1, S * C, H, W]``."""
    return image.flatten(1, 2).unsqueeze(1) if layout == "slabs" and image.ndim == 5 else image


def from_voxels(volume: Tensor, like: Tensor) -> Tensor:
    """The reverse of ``to_voxels``, for any number of items like ``like``."""
    return volume.reshape(len(volume), *like.shape[1:])


def wrong_axes(network: nn.Module, image: Tensor, error: Exception) -> str | None:
    """Why a network could not take an image, and what to do, where the order or number of its axes is to blame.

    Args:
        network: that has failed.
        image: that it was given.
        error: how; what has nothing to do with the image's channels is not ours to explain.
    """
    first = next((module for module in network.modules() if isinstance(module, _ConvNd)), None)
    if first is None:
        return None
    shape, channels = list(image.shape), first.in_channels
    axes = first.weight.ndim
    wanted = f"[B, {channels}, {', '.join('DHW'[-(axes - 2) :])}]"
    if image.ndim == axes and (shape[1] == channels or f"expected input{shape}" not in str(error)):
        return None
    if image.ndim == axes and shape[-1] == channels:
        advice = "the channels are last: give inputs.movedim(-1, 1)"
    elif image.ndim == axes - 1 and shape[0] == channels:
        advice = "the batch axis is missing: give inputs[None]"
    elif image.ndim == axes - 1 and channels == 1:
        advice = "the channel axis is missing: give inputs[:, None]"
    elif image.ndim == axes and channels in shape[2:]:
        advice = (
            f"the channels are on axis {shape.index(channels, 2)}: give inputs.movedim({shape.index(channels, 2)}, 1)"
        )
    elif image.ndim == axes:
        advice = f"axis 1 must hold {channels} channels"
    else:
        return None
    return f"{type(network).__name__} takes {wanted}, got {shape}; {advice}"
