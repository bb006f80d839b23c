"""Pictures of a map: the planes through its peak, red for evidence and blue for counter-evidence, over the input."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..geometry import FeatureGrid
from .resample import sampled

__all__ = ["draw_planes"]

LARGEST = 256
"""Pixels of the longest axis, of small inputs too."""
FOR = np.array([214, 39, 40], dtype=np.float32)
AGAINST = np.array([31, 119, 180], dtype=np.float32)
STRONGEST = 0.7  # opacity of the largest absolute value


def draw_planes(values: Tensor, grid: FeatureGrid, image: Tensor | None = None) -> bytes:
    """A PNG of one map: an image as it is, a volume by its three planes through the largest absolute value.

    Args:
        values: ``[*grid]``, on the processor.
        grid: where the cells lie.
        image: one item of the network's input, whose first channel is drawn beneath; None for white.
    """
    peak = np.unravel_index(int(values.abs().argmax()), grid.shape)
    step = max(grid.input_shape) / LARGEST
    whole = [np.arange(0, size, step).astype(int) for size in grid.input_shape]
    scale = float(values.abs().max()) or 1.0
    planes = [None] if grid.axes == 2 else list(range(grid.axes))
    pictures = []
    for across in planes:
        places = list(whole)
        if across is not None:
            centre = grid.offset[across] + grid.stride[across] * peak[across]
            places[across] = np.array([int(np.clip(round(centre), 0, grid.input_shape[across] - 1))])
        shape = [len(place) for axis, place in enumerate(places) if axis != across]
        share = sampled(values, grid, places).reshape(shape).numpy() / scale
        pictures.append(_blend(share, _beneath(image, grid, places, shape)))
    height = max(len(one) for one in pictures)
    padded = [np.pad(one, ((0, height - len(one)), (0, 4), (0, 0)), constant_values=255) for one in pictures]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(padded, axis=1).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def _beneath(image: Tensor | None, grid: FeatureGrid, places: list[NDArray], shape: list[int]) -> NDArray:
    """Grey values of the input at these places, 0 to 255."""
    if image is None or image.numel() % int(np.prod(grid.input_shape)):
        return np.full(shape, 255, dtype=np.float32)
    voxels = image.detach().reshape(-1, *grid.input_shape)[0]
    for axis, place in enumerate(places):
        voxels = voxels.index_select(axis, torch.as_tensor(place, device=voxels.device))
    grey = voxels.float().cpu().numpy().reshape(shape)
    low, high = float(grey.min()), float(grey.max())
    return (grey - low) / ((high - low) or 1.0) * 255


def _blend(share: NDArray, grey: NDArray) -> NDArray:
    colour = np.where(share[..., None] > 0, FOR, AGAINST)
    opacity = STRONGEST * np.abs(share)[..., None]
    return (1 - opacity) * grey[..., None] + opacity * colour
