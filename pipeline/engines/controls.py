"""A control's region bitmaps beside a scan's own, for the loss on attention of training scans alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform

from ..data.region_store import read_regions
from ..losses import atlas_regions, shuffled_regions

__all__ = ["ControlRegionsd"]


class ControlRegionsd(Transform):
    """Adds ``allowed_regions``: bitmaps that stand in for the scan's own ``regions`` where `prepare_batch` makes the
    allowed cells of the loss. What a network with masked pooling looks at stays the scan's own.

    Args:
        control: ``permuted``, ``atlas`` or ``shuffled`` (`organcam.losses.controls`).
        files: training scan -> its regions file.
        grid: key of the feature grid inside the files.
        lenders: for ``permuted``, training scan -> whose bitmaps it gets.
        seed: for ``shuffled``.
    """

    def __init__(
        self,
        control: str,
        files: Mapping[str, str],
        grid: str,
        lenders: Mapping[str, str] | None = None,
        seed: int = 0,
    ) -> None:
        self.control = control
        self.files = dict(files)
        self.grid = grid
        self.lenders = dict(lenders or {})
        self.seed = seed
        self.atlas = atlas_regions(map(self._of_scan, self.files)) if control == "atlas" else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add them to an item with ``scan_id`` and loaded ``regions``."""
        return {**data, "allowed_regions": self._instead_of(data["scan_id"], data["regions"])}

    def _instead_of(self, scan_id: str, own: torch.Tensor) -> torch.Tensor:
        if self.atlas is not None:
            return self.atlas
        if self.control == "shuffled":
            return shuffled_regions(own, scan_id, self.seed)
        return self._of_scan(self.lenders[scan_id])

    def _of_scan(self, scan_id: str) -> torch.Tensor:
        return torch.from_numpy(read_regions(self.files[scan_id], self.grid))
