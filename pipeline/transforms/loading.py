"""Transforms that read scans as a run does, and what its store and regions stages wrote."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from ..data.readers import read_volume
from ..data.region_store import read_regions
from ..data.volume_store import read_stored, to_stored

__all__ = [
    "LoadRegions",
    "LoadRegionsD",
    "LoadRegionsDict",
    "LoadRegionsd",
    "LoadScan",
    "LoadScanD",
    "LoadScanDict",
    "LoadScand",
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


class LoadScan(Transform):
    """Read a scan in any form that organcam reads, as its store stage would keep it: int16 HU ``[1, D, H, W]``.

    Axes run from superior to inferior, anterior to posterior and right to left; a network of a run is given the very
    values that it was trained on. The metadata say where the scan's own voxels lie, so that maps find back to them
    (``organcam.placement``).

    Args:
        spacing_mm: voxel size along these axes; None keeps the scan's own.
        clip_hu: lowest and highest value. Defaults to (-1000, 1000).
    """

    def __init__(self, spacing_mm: Sequence[float] | None = None, clip_hu: Sequence[int] = (-1000, 1000)) -> None:
        self.spacing_mm = None if spacing_mm is None else (spacing_mm[0], spacing_mm[1], spacing_mm[2])
        self.clip_hu = (clip_hu[0], clip_hu[1])

    def __call__(self, path: str | Path) -> MetaTensor:
        """Read the scan at ``path``.

        Raises:
            DataError: if it cannot be read; the message names it.
        """
        volume = read_volume(path)
        stored = to_stored(volume, self.spacing_mm, self.clip_hu, name=Path(path))
        meta = {
            "filename_or_obj": str(path),
            "original_affine": torch.from_numpy(volume.affine),
            "spatial_shape": list(volume.array.shape),
        }
        return MetaTensor(torch.from_numpy(stored.array)[None], affine=torch.from_numpy(stored.affine), meta=meta)


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


class LoadScand(MapTransform):
    """Dictionary form of `LoadScan`: replaces paths by volumes."""

    def __init__(
        self,
        keys: KeysCollection,
        spacing_mm: Sequence[float] | None = None,
        clip_hu: Sequence[int] = (-1000, 1000),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadScan(spacing_mm, clip_hu)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read the chosen entries of an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.load(d[key])
        return d


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
LoadScanD = LoadScanDict = LoadScand
