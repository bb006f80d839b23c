"""Transforms that read what the store and regions stages wrote."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from ..data.region_store import read_regions
from ..data.volume_store import read_stored

__all__ = [
    "LoadRegions",
    "LoadRegionsD",
    "LoadRegionsDict",
    "LoadRegionsd",
    "LoadStored",
    "LoadStoredD",
    "LoadStoredDict",
    "LoadStoredd",
]


class LoadStored(Transform):
    """Read a stored volume (``.b2nd``) as int16 HU ``[1, D, H, W]``.

    A plain tensor: its geometry stays in the JSON beside the file, because metadata that travels through a network
    claims the input's voxel size for its features.
    """

    def __call__(self, path: str | Path) -> torch.Tensor:
        """Read the volume at ``path``."""
        return torch.from_numpy(read_stored(Path(path)))[None]


class LoadRegions(Transform):
    """Read the region bitmaps of a scan, bool ``[R, S, h, w]`` (`organcam.segmentation.REGION_NAMES`).

    Args:
        grid: key of the feature grid inside the file.
    """

    def __init__(self, grid: str) -> None:
        self.grid = grid

    def __call__(self, path: str | Path) -> torch.Tensor:
        """Read the regions file at ``path``."""
        return torch.from_numpy(read_regions(path, self.grid))


class LoadStoredd(MapTransform):
    """Dictionary form of `LoadStored`: replaces paths by volumes."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadStored()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the path of every key by its volume."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.load(result[key])
        return result


class LoadRegionsd(MapTransform):
    """Dictionary form of `LoadRegions`: replaces paths by region bitmaps."""

    def __init__(self, keys: KeysCollection, grid: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadRegions(grid)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the path of every key by its occupancy."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.load(result[key])
        return result


LoadStoredD = LoadStoredDict = LoadStoredd
LoadRegionsD = LoadRegionsDict = LoadRegionsd
