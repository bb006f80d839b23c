"""Bring a volume to the network's size, and stack its slices into slabs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import CenterSpatialCrop, InvertibleTransform, MapTransform, ResizeWithPadOrCrop, Transform
from monai.transforms.croppad.array import Crop
from monai.utils import TransformBackends, fall_back_tuple

__all__ = [
    "PadOrCropAir",
    "PadOrCropAirD",
    "PadOrCropAirDict",
    "PadOrCropAird",
    "SlabStack",
    "SlabStackD",
    "SlabStackDict",
    "SlabStackd",
]


class _CentreCrop(CenterSpatialCrop):
    """MONAI's centre crop with the start at floor(excess / 2), which differs for an odd size from an even axis."""

    def compute_slices(self, spatial_size: Sequence[int]) -> tuple[slice, ...]:  # type: ignore[override]
        size = fall_back_tuple(self.roi_size, spatial_size)
        starts = [max(have - want, 0) // 2 for have, want in zip(spatial_size, size, strict=True)]
        ends = [start + min(have, want) for start, have, want in zip(starts, spatial_size, size, strict=True)]
        return Crop.compute_slices(roi_start=starts, roi_end=ends)


class PadOrCropAir(ResizeWithPadOrCrop):
    """Centre a volume in a fixed shape: pad short axes with air, crop long ones.

    The published preprocessing: ``floor(need / 2)`` voxels are put before, or the crop starts at ``floor(excess / 2)``.
    MONAI's own ``ResizeWithPadOrCrop`` starts one voxel later where an odd size is cut from an even axis (412 slices to
    405: 4 instead of 3); apart from that it is the same, and invertible as MONAI's is.

    The published code pads with the volume's minimum, which is air in nearly every scan, but tissue in a scan that was
    cut inside the body; here it is always air.

    Args:
        shape: voxels per spatial axis, for example ``(405, 420, 420)``.
        fill: HU of the padding. Defaults to -1000; use 0 for a label map.

    Example:
        >>> volume = torch.zeros(1, 2, 6, 5, dtype=torch.int16)
        >>> out = PadOrCropAir(shape=(3, 4, 5))(volume)
        >>> tuple(out.shape), out[0, :, 0, 0].tolist()
        ((1, 3, 4, 5), [0, 0, -1000])
    """

    def __init__(self, shape: Sequence[int], fill: float = -1000) -> None:
        super().__init__(spatial_size=tuple(shape), mode="constant", value=fill)
        self.cropper = _CentreCrop(roi_size=tuple(shape))


class PadOrCropAird(MapTransform, InvertibleTransform):
    """Dictionary form of :class:`PadOrCropAir`.

    Args:
        keys: channel-first volumes ``[C, D, H, W]``.
        shape: see :class:`PadOrCropAir`.
        fill: see :class:`PadOrCropAir`.
        allow_missing_keys: whether an item may lack a key.
    """

    backend = PadOrCropAir.backend

    def __init__(
        self, keys: KeysCollection, shape: Sequence[int], fill: float = -1000, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.pad_or_crop = PadOrCropAir(shape, fill)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Pad or crop the chosen entries of an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.pad_or_crop(d[key])
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Back to the shape before; what was cropped away comes back as 0."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.pad_or_crop.inverse(d[key])
        return d


class SlabStack(Transform):
    """Stack neighbouring slices as the channels of slabs: ``[1, D, H, W]`` to ``[S, slices, H, W]``.

    Slab s holds slices ``slices * s`` and following as its channels; surplus slices at the end are dropped, as in the
    published code. Metadata (affine, applied transforms) are dropped too: they describe a volume, and a network would
    carry them to feature maps for which they are wrong.

    Args:
        slices: slices per slab. Defaults to 3, which lets a 2D network trained on colour pictures take a slab.

    Raises:
        ValueError: if ``slices`` is below 1, or (when called) the volume has another form or too few slices.

    Example:
        >>> slabs = SlabStack(3)(torch.arange(7).view(1, 7, 1, 1))
        >>> tuple(slabs.shape), slabs.flatten().tolist()
        ((2, 3, 1, 1), [0, 1, 2, 3, 4, 5])
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __init__(self, slices: int = 3) -> None:
        if slices < 1:
            msg = f"slices must be at least 1, got {slices}"
            raise ValueError(msg)
        self.slices = slices

    def __call__(self, img: Any) -> Any:
        """Stack one volume.

        Args:
            img: ``[1, D, H, W]``, numpy array or tensor.

        Returns:
            ``[floor(D / slices), slices, H, W]``, a view where possible, without metadata.
        """
        volume = plain_tensor(img)
        if volume.ndim != 4 or volume.shape[0] != 1 or volume.shape[1] < self.slices:
            msg = f"expected one channel and at least {self.slices} slices, [1, D, H, W], got {tuple(volume.shape)}"
            raise ValueError(msg)
        slabs = volume.shape[1] // self.slices
        return volume[0, : slabs * self.slices].reshape(slabs, self.slices, *volume.shape[2:])


class SlabStackd(MapTransform):
    """Dictionary form of :class:`SlabStack`.

    Args:
        keys: volumes ``[1, D, H, W]``.
        slices: see :class:`SlabStack`.
        allow_missing_keys: whether an item may lack a key.
    """

    backend = SlabStack.backend

    def __init__(self, keys: KeysCollection, slices: int = 3, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.stack = SlabStack(slices)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Stack the chosen entries of an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.stack(d[key])
        return d


def plain_tensor(img: Any) -> Any:
    """The array without MONAI's metadata; numpy arrays as they are."""
    if isinstance(img, torch.Tensor):
        return img.as_tensor() if hasattr(img, "as_tensor") else img
    return np.asarray(img)


PadOrCropAirD = PadOrCropAirDict = PadOrCropAird
SlabStackD = SlabStackDict = SlabStackd
