"""Hounsfield units to network input."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

__all__ = ["HUWindow", "HUWindowD", "HUWindowDict", "HUWindowd"]


class HUWindow(Transform):
    """Clip Hounsfield units to a window, scale it to 0..1, and subtract a mean.

    The published preprocessing of AxialNet: HU clipped to [-1000, 800], the same mean for all channels (that of
    ImageNet's grey values), no division by a standard deviation; values lie in [-0.449, 0.551]. CT-Net's window was
    [-1000, 200].

    Args:
        lower: HU that becomes 0 before the mean is subtracted; everything below too. Defaults to -1000 (air).
        upper: HU that becomes 1; everything above too. Defaults to 800 (bone, calcification, metal).
        mean: subtracted in the end. Defaults to 0.449.

    Raises:
        ValueError: if ``lower`` is not below ``upper``.

    Example:
        >>> HUWindow(mean=0.5)(np.array([-2000, -1000, -100, 800], dtype=np.int16)).tolist()
        [-0.5, -0.5, 0.0, 0.5]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __init__(self, lower: float = -1000, upper: float = 800, mean: float = 0.449) -> None:
        if not lower < upper:
            msg = f"lower must be below upper, got lower={lower} and upper={upper} HU"
            raise ValueError(msg)
        self.lower = lower
        self.upper = upper
        self.mean = mean

    def __call__(self, img: Any) -> Any:
        """Window an array of any shape.

        Args:
            img: HU of any real dtype, any shape; a numpy array or a tensor (metadata are kept).

        Returns:
            float32 of the same kind and shape, in [-mean, 1 - mean].
        """
        if isinstance(img, torch.Tensor):
            # one copy, then in place: a full scan is 286 MB in float32
            tensor = img.detach().to(torch.float32, copy=True)
            return tensor.clamp_(self.lower, self.upper).sub_(self.lower).div_(self.upper - self.lower).sub_(self.mean)
        out = np.array(img, dtype=np.float32)
        np.clip(out, self.lower, self.upper, out=out)
        out -= np.float32(self.lower)
        out /= np.float32(self.upper - self.lower)
        out -= np.float32(self.mean)
        return out


class HUWindowd(MapTransform):
    """Dictionary form of :class:`HUWindow`.

    Args:
        keys: images to window.
        lower: see :class:`HUWindow`.
        upper: see :class:`HUWindow`.
        mean: see :class:`HUWindow`.
        allow_missing_keys: whether an item may lack a key.
    """

    backend = HUWindow.backend

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = -1000,
        upper: float = 800,
        mean: float = 0.449,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.window = HUWindow(lower, upper, mean)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Window the chosen entries of an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.window(d[key])
        return d


HUWindowD = HUWindowDict = HUWindowd
