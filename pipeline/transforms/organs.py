"""Organs and allowed cells for a network of one's own: two transforms that a MONAI training or evaluation takes in."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import nn

from organcam.segmentation import segment_organs

from ..catalogue.targets import ORGANS, possible_places
from ..contract import grid_of_layer
from ..errors import DataError, did_you_mean
from ..geometry import FeatureGrid
from .regions import AllowedFromOrgans
from .spatial import plain_tensor

__all__ = [
    "AllowedRegions",
    "AllowedRegionsD",
    "AllowedRegionsDict",
    "AllowedRegionsd",
    "SegmentOrgans",
    "SegmentOrgansD",
    "SegmentOrgansDict",
    "SegmentOrgansd",
]


class SegmentOrgans(Transform):
    """Lungs, heart and mediastinum of a chest CT in HU: 1 right lung, 2 left lung, 3 heart and mediastinum, 0 else.

    It takes seconds a scan; put it before any change of intensities, and among the transforms that a cache keeps.
    Spatial transforms that follow take image and label map together, the map with ``mode="nearest"``.

    Args:
        method: see ``organcam.segmentation.segment_organs``.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __init__(self, method: str = "organcam") -> None:
        self.method = method

    def __call__(self, img: Any) -> MetaTensor:
        """Segment one scan.

        Args:
            img: MetaTensor ``[1, D, H, W]`` in HU, with its affine.

        Returns:
            uint8 MetaTensor of the same shape and place.

        Raises:
            DataError: naming the file, if it is no chest CT in HU.
            ValueError: if it is no MetaTensor of one channel.
        """
        if not isinstance(img, MetaTensor) or img.ndim != 4 or len(img) != 1:
            msg = f"SegmentOrgans needs a MetaTensor [1, D, H, W] with its affine, got {type(img).__name__} {img.shape}"
            raise ValueError(msg)
        try:
            found = segment_organs(img[0].cpu().numpy(), affine=img.affine.cpu().numpy(), method=self.method)
        except DataError as error:
            name = img.meta.get("filename_or_obj", "a scan")
            msg = f"{name}: {error}; SegmentOrgans must come before intensities are scaled"
            raise DataError(msg) from error
        labels = torch.from_numpy(np.ascontiguousarray(found.labels))[None]
        return MetaTensor(labels, affine=img.affine, meta=img.meta, applied_operations=img.applied_operations)


class SegmentOrgansd(MapTransform):
    """Dictionary form of :class:`SegmentOrgans`.

    Args:
        keys: the one entry with the CT, in HU. Defaults to ``"image"``.
        output_key: where the label map is put. Defaults to ``"organs"``.
        method: see :class:`SegmentOrgans`.
        allow_missing_keys: whether an item may lack the CT.
    """

    backend = SegmentOrgans.backend

    def __init__(
        self,
        keys: KeysCollection = "image",
        output_key: Hashable = "organs",
        method: str = "organcam",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_key = output_key
        self.segment = SegmentOrgans(method)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the organs to an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.output_key] = self.segment(d[key])
        return d


class AllowedRegions(Transform):
    """The cells of any network's layer in which each of its labels may have its evidence.

    The cells' places are found by sending coordinates through the network once, when this is made; the network itself
    is not kept, so that loading processes need not know it.

    Args:
        network: whose layer is meant, on any device.
        layer: its name.
        input_shape: of one item as the network sees it, ``[C, D, H, W]``.
        labels: for each output, in order, either a name out of the catalogue (``organcam describe labels``), or the
            organs where it may lie: "right_lung", "left_lung", "heart_mediastinum".
        threshold: least share of a cell that the organs must cover, in [0, 1]; 0 means any contact. Defaults to 0.1.
        dilate: how often to grow the regions by a 3 x 3 x 3 box of cells.

    Raises:
        ValueError: for an unknown layer, label or organ, or a layer whose cells have no regular places.

    Example:
        >>> network = nn.Sequential(nn.Conv3d(1, 2, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        >>> allowed = AllowedRegions(network, "1", (1, 8, 8, 8), ["lung_nodule", ["heart_mediastinum"]])
        >>> organs = torch.zeros(1, 8, 8, 8, dtype=torch.uint8)
        >>> organs[..., :4], organs[:, :4, :4, 4:] = 1, 3
        >>> allowed(organs).int().flatten(1).tolist()
        [[1, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __init__(
        self,
        network: nn.Module,
        layer: str,
        input_shape: Sequence[int],
        labels: Sequence[str | Sequence[str]],
        threshold: float = 0.1,
        dilate: int = 0,
    ) -> None:
        shape = tuple(int(size) for size in input_shape)
        if len(shape) != 4:
            msg = f"input_shape is that of one item, [C, D, H, W], got {list(shape)}"
            raise ValueError(msg)
        self.grid: FeatureGrid = grid_of_layer(network, layer, shape)
        self.bits = torch.tensor([_bits(label) for label in labels], dtype=torch.uint8)
        self.allowed = AllowedFromOrgans(self.grid, threshold=threshold, dilate=dilate)

    def __call__(self, organs: Any) -> torch.Tensor:
        """Allowed cells of one scan.

        Args:
            organs: label map ``[1, D, H, W]`` on the voxels of the network's input (``SegmentOrgans``).

        Returns:
            bool ``[M, *grid]``, a row for each label.

        Raises:
            ValueError: if the label map has another shape or other values.
        """
        plain = torch.as_tensor(plain_tensor(organs))
        if tuple(plain.shape[1:]) != self.grid.input_shape:
            msg = (
                f"the organs have {tuple(plain.shape[1:])} voxels, the network's input {self.grid.input_shape}: put "
                "this behind all spatial transforms, which take image and organs alike"
            )
            raise ValueError(msg)
        return torch.as_tensor(self.allowed(plain, self.bits))


class AllowedRegionsd(MapTransform):
    """Dictionary form of :class:`AllowedRegions`.

    Args:
        keys: the one entry with the organs. Defaults to ``"organs"``.
        network: see :class:`AllowedRegions`.
        layer: see there.
        input_shape: see there.
        labels: see there.
        output_key: where the allowed cells are put. Defaults to ``"allowed"``.
        threshold: see there.
        dilate: see there.
        allow_missing_keys: whether an item may lack the organs.
    """

    backend = AllowedRegions.backend

    def __init__(
        self,
        keys: KeysCollection = "organs",
        *,
        network: nn.Module,
        layer: str,
        input_shape: Sequence[int],
        labels: Sequence[str | Sequence[str]],
        output_key: Hashable = "allowed",
        threshold: float = 0.1,
        dilate: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.output_key = output_key
        self.allowed = AllowedRegions(network, layer, input_shape, labels, threshold, dilate)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the allowed cells to an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.output_key] = self.allowed(d[key])
        return d


def _bits(label: str | Sequence[str]) -> tuple[int, ...]:
    if isinstance(label, str) and label not in ORGANS:
        return possible_places(label)[: len(ORGANS)]
    organs = [label] if isinstance(label, str) else list(label)
    for organ in organs:
        if organ not in ORGANS:
            msg = f"unknown organ {organ!r}: {did_you_mean(str(organ), ORGANS)}"
            raise ValueError(msg)
    return tuple(int(organ in organs) for organ in ORGANS)


AllowedRegionsD = AllowedRegionsDict = AllowedRegionsd
SegmentOrgansD = SegmentOrgansDict = SegmentOrgansd
