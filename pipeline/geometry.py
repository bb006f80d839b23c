"""Where the cells of a feature map lie in the volume: stride, offset and receptive field of stacked layers.

The published code treats AxialNet's 6 x 6 cells as tiles of the 420 x 420 image, although its four unpadded
convolutions centre them on voxels 128, 160, ..., 288. Everything here that compares a map with anatomy (allowed
regions, upsampling, saved maps) takes the cells' centres from a ``FeatureGrid`` instead. A network of known layers
composes its grid with ``grid_of_layers``; ``organcam.probing`` finds that of any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np

__all__ = ["AxisGeometry", "FeatureGrid", "Layer", "compose", "grid_of_layers", "output_size"]


class Layer(NamedTuple):
    """One convolution or pooling along one axis, in input voxels of that layer.

    ``end_padding`` is what is padded after the last voxel, None for as much as before the first one; a pooling that
    rounds up has stride - 1 more of it.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    end_padding: int | None = None


class AxisGeometry(NamedTuple):
    """Stacked layers along one axis, in voxels of the first layer's input."""

    stride: float
    offset: float
    receptive_field: int


def compose(layers: Iterable[Sequence[int | None]]) -> AxisGeometry:
    """Stride, offset of the first output's centre and receptive field of layers applied one after another.

    Args:
        layers: ``Layer`` or tuples of its fields, trailing ones optional. Branches that are
            added (residual blocks) share their centres: give the one with the larger receptive field.

    Example:
        >>> compose([Layer(3, stride=3)])  # AxialNet's slabs of three slices
        AxisGeometry(stride=3.0, offset=1.0, receptive_field=3)
    """
    stride, offset, receptive_field = 1.0, 0.0, 1
    for layer in layers:
        checked = _validate_layer(layer)
        reach = checked.dilation * (checked.kernel - 1)
        offset += stride * (reach / 2 - checked.padding)
        receptive_field += int(stride) * reach
        stride *= checked.stride
    return AxisGeometry(stride, offset, receptive_field)


def output_size(size: int, layers: Iterable[Sequence[int | None]]) -> int:
    """Number of outputs that ``layers`` make of ``size`` inputs along one axis (rounded down, as PyTorch does).

    Raises:
        ValueError: if a layer has no input left.

    Example:
        >>> output_size(405, [Layer(3, stride=3)])
        135
    """
    count = size
    for layer in layers:
        checked = _validate_layer(layer)
        after = checked.padding if checked.end_padding is None else checked.end_padding
        padded = count + checked.padding + after
        count = (padded - checked.dilation * (checked.kernel - 1) - 1) // checked.stride + 1
        if count < 1:
            msg = f"an axis of {size} voxels is too short for these layers: nothing is left after {tuple(layer)}"
            raise ValueError(msg)
    return count


def grid_of_layers(input_shape: Sequence[int], layers: Sequence[Iterable[Sequence[int | None]]]) -> FeatureGrid:
    """The grid that stacks of layers, one per axis, make of an input.

    Args:
        input_shape: voxels of the network's input, [D, H, W] (or [H, W]).
        layers: the layers along each of these axes.

    Raises:
        ValueError: if the numbers of axes differ, or a layer has no input left.
    """
    if len(layers) != len(input_shape):
        msg = f"expected one stack of layers for each of the {len(input_shape)} axes, got {len(layers)}"
        raise ValueError(msg)
    stacks = [list(stack) for stack in layers]
    axes = [compose(stack) for stack in stacks]
    return FeatureGrid(
        shape=tuple(output_size(size, stack) for size, stack in zip(input_shape, stacks, strict=True)),
        stride=tuple(axis.stride for axis in axes),
        offset=tuple(axis.offset for axis in axes),
        receptive_field=tuple(axis.receptive_field for axis in axes),
        input_shape=tuple(input_shape),
    )


@dataclass(frozen=True)
class FeatureGrid:
    """Where each cell of a feature map lies in the network's input, axis by axis: [D, H, W], or [H, W] of an image.

    Coordinates are voxel indices: voxel i has its centre at i and spans i - 0.5 to i + 0.5.

    Args:
        shape: cells per axis, (S, h, w) of a volume.
        stride: input voxels between neighbouring cell centres.
        offset: voxel coordinate of the centre of cell 0.
        receptive_field: input voxels that can change one cell, padding not counted off.
        input_shape: voxels of the network's input.

    Raises:
        ValueError: if the fields have different numbers of axes, or none, or a count or stride is not positive.
    """

    shape: tuple[int, ...]
    stride: tuple[float, ...]
    offset: tuple[float, ...]
    receptive_field: tuple[int, ...]
    input_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = len(self.shape)
        for field in fields(self):
            kind = float if field.name in {"stride", "offset"} else int
            value = tuple(kind(item) for item in getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            if len(value) != axes or not axes:
                msg = f"a feature grid needs one value for each axis, got {field.name} {value} for {axes} axes"
                raise ValueError(msg)
            if field.name != "offset" and min(value) <= 0:
                msg = f"{field.name} of a feature grid must be positive, got {value}"
                raise ValueError(msg)

    @property
    def axes(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def centres(self, axis: int) -> np.ndarray:
        """Voxel coordinates of the cell centres along one axis, float64 ``[cells]``."""
        return self.offset[axis] + self.stride[axis] * np.arange(self.shape[axis], dtype=np.float64)

    def cell_bounds(self, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Edges (start, stop) of the cells along one axis: centre -+ half a stride; they may leave the volume."""
        centres, half = self.centres(axis), self.stride[axis] / 2
        return centres - half, centres + half

    def affine(self, input_affine: np.ndarray) -> np.ndarray:
        """Voxel-to-world matrix of the cell grid.

        Args:
            input_affine: 4 x 4 for a volume (axes + 1 in general), from the network input's voxel indices to
                millimetres.

        Returns:
            Matrix of the same size, float64, from cell indices to millimetres.
        """
        cells_to_voxels = np.diag([*self.stride, 1.0])
        cells_to_voxels[:-1, -1] = self.offset
        return np.asarray(input_affine, dtype=np.float64) @ cells_to_voxels

    def to_dict(self) -> dict[str, list[int] | list[float]]:
        """Plain JSON types."""
        return {name: list(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FeatureGrid:
        """Inverse of ``to_dict``."""
        return cls(**{name: tuple(value) for name, value in values.items()})


def _validate_layer(layer: Sequence[int | None]) -> Layer:
    checked = Layer(*layer)  # type: ignore[arg-type]  # only the last of its numbers may be None
    paddings = (checked.padding, checked.end_padding or 0)
    if checked.kernel < 1 or checked.stride < 1 or min(paddings) < 0 or checked.dilation < 1:
        msg = f"a layer needs kernel, stride and dilation of 1 or more and padding of 0 or more, got {checked}"
        raise ValueError(msg)
    return checked
