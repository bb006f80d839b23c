"""From the regions of a scan and the organs of each label to the cells where the label's evidence may lie.

A scan's organs come in three forms, each with a transform of its own: a label map, stored bitmaps, shares of cells.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

from organcam.segmentation.regions import LUNG_BASES, LUNG_THIRDS
from organcam.segmentation.regions.bitmaps import ORGAN_SETS, Registration, organ_regions

from ..geometry import FeatureGrid
from .spatial import plain_tensor

__all__ = [
    "AllowedFromOccupancy",
    "AllowedFromOccupancyD",
    "AllowedFromOccupancyDict",
    "AllowedFromOccupancyd",
    "AllowedFromOrgans",
    "AllowedFromOrgansD",
    "AllowedFromOrgansDict",
    "AllowedFromOrgansd",
    "AllowedFromRegions",
    "AllowedFromRegionsD",
    "AllowedFromRegionsDict",
    "AllowedFromRegionsd",
    "expand_regions",
]

SETS, THIRDS, BASES = len(ORGAN_SETS), len(LUNG_THIRDS), len(LUNG_BASES)
BITMAPS = (SETS, SETS + BASES, SETS + THIRDS, SETS + THIRDS + BASES)
"""Numbers of region bitmaps: thirds of the lungs and bases under them may be there or not."""

PLACE_BITS = (3, 3 + THIRDS, 4 + THIRDS)
"""Bits of a label: its organs, with them the stated thirds, with both whether it may lie at the base under a lung."""

LOWER_THIRDS = (2, 5)


def expand_regions(regions: torch.Tensor, organs: torch.Tensor) -> torch.Tensor:
    """Allowed cells of every label from a scan's region bitmaps; cheap enough to be done on the device, per batch.

    A label is allowed where its organs cover the cell together. A lung with a stated third is narrowed to that third,
    if the bitmaps hold thirds. A label that may lie at the base is allowed there too, under each of its lungs that is
    whole or narrowed to the lower third.

    Args:
        regions: bool ``[R, *grid]``, R = 7, with 6 more for thirds and 2 more for bases
            (``organcam.segmentation.REGION_NAMES``), or ``[B, R, *grid]``.
        organs: 0/1 ``[M, 3]`` (right lung, left lung, heart and mediastinum), ``[M, 9]`` with the six thirds behind,
            ``[M, 10]`` with whether the label may lie at the base, or one of these for each item of a batch. A row of
            zeros (an absent label) is allowed nowhere.

    Returns:
        bool ``[M, *grid]`` or ``[B, M, *grid]``.

    Raises:
        ValueError: if the shapes do not fit or bits are not 0 and 1.
    """
    batched = organs.ndim == 3
    if regions.ndim < 2 + batched or regions.shape[batched] not in BITMAPS or organs.shape[-1] not in PLACE_BITS:
        msg = (
            f"expected region bitmaps [R, *grid] with R of {BITMAPS} and label bits [M, 3], [M, 9] or [M, 10], got "
            f"{tuple(regions.shape)} and {tuple(organs.shape)}"
        )
        raise ValueError(msg)
    _validate_bits(organs)
    if batched:
        return torch.stack([expand_regions(each, bits) for each, bits in zip(regions, organs, strict=True)])
    bits = organs.to(device=regions.device, dtype=torch.int64)
    whole, thirds, base = bits[:, :3].clone(), bits[:, 3 : 3 + THIRDS], bits[:, 3 + THIRDS :]
    narrowed = None
    if thirds.shape[1] and len(regions) >= SETS + THIRDS:
        own = thirds.view(-1, 2, 3) * whole[:, :2, None]
        whole[:, :2] *= 1 - own.amax(dim=2)
        narrowed = own.view(-1, 6)
    nowhere = torch.zeros_like(regions[:1])
    table = torch.cat([nowhere, regions]).bool()
    allowed = table[whole @ torch.tensor([1, 2, 4], device=regions.device)]
    if narrowed is not None:
        for third in narrowed.any(dim=0).nonzero().flatten().tolist():
            rows = narrowed[:, third].bool()
            allowed[rows] |= table[1 + SETS + third]
    if base.shape[1] and len(regions) in (SETS + BASES, SETS + THIRDS + BASES):
        reaching = whole[:, :2] if narrowed is None else whole[:, :2] | narrowed[:, LOWER_THIRDS]
        for lung, rows in enumerate((reaching * base).bool().T):
            allowed[rows] |= table[len(table) - BASES + lung]
    return allowed


class _Allowed(Transform):
    """Common form: the organs of a scan and the organs of each label in, the allowed cells of each label out."""

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __call__(self, scan: Any, organs: Any) -> Any:  # type: ignore[override]
        """Allowed cells of one scan.

        Args:
            scan: the organs of the scan, in the form that the class takes.
            organs: 0/1 per label and organ, ``[M, 3]``, ``[M, 9]`` with the stated thirds of the lungs, or ``[M, 10]``
                with whether it may lie at the base; a row of zeros (an absent label) is allowed nowhere.

        Returns:
            bool ``[M, S, h, w]``, of the kind of ``scan`` (numpy or tensor), without metadata.

        Raises:
            ValueError: if ``scan`` is not of that form, or bits are not 0 and 1.
        """
        found = torch.as_tensor(plain_tensor(scan))
        allowed = self.cells(found, torch.as_tensor(plain_tensor(organs)).to(found.device))
        return allowed if isinstance(scan, torch.Tensor) else allowed.numpy()

    def cells(self, scan: torch.Tensor, organs: torch.Tensor) -> torch.Tensor:
        """The same on plain tensors."""
        raise NotImplementedError


class AllowedFromOrgans(_Allowed):
    """Allowed cells from a scan's organ label map, ``[D, H, W]`` or ``[1, D, H, W]``.

    0 is background, 1 right lung, 2 left lung, 3 heart and mediastinum. The organs of a label are taken together: a
    cell that the right lung covers to 15 % and the left to 15 % is covered to 30 % for a label that may lie in both.
    Put it behind any spatial transforms of image and label map, which then agree by themselves.

    Args:
        grid: the network's feature grid; the label map has its input shape.
        threshold: least share of a cell's box that the label's organs must cover, in [0, 1]; 0 means any contact.
            Defaults to 0.1, a choice, not a measured optimum.
        registration: ``network`` lays the cells by stride and offset; ``reference`` shrinks label maps as the published
            code does, reading tiles of the image that are not where the cells look.
        mode: ``nearest`` (published), ``area`` or ``trilinear``; of ``reference`` only.
        dilate: how often to grow the regions by a 3 x 3 x 3 box of cells.
        base_slices: how many slices of the label map the unsure base reaches under a lung
            (``organcam.segmentation.lung_bases``), for labels ``[M, 10]`` that may lie there; the label map must then
            lie as a patient does, neither flipped nor turned. Defaults to 0, none.

    Raises:
        ValueError: for an option outside its legal values.
    """

    def __init__(
        self,
        grid: FeatureGrid,
        threshold: float = 0.1,
        registration: Registration = "network",
        mode: Literal["nearest", "area", "trilinear"] = "nearest",
        dilate: int = 0,
        base_slices: int = 0,
    ) -> None:
        self.options: dict[str, Any] = {
            "threshold": threshold,
            "registration": registration,
            "mode": mode,
            "dilate": dilate,
            "base_slices": base_slices,
        }
        organ_regions(np.zeros((1, 1, 1), np.uint8), _ONE_CELL, **self.options)  # refuses illegal options at once
        self.grid = grid

    def cells(self, scan: torch.Tensor, organs: torch.Tensor) -> torch.Tensor:
        """The same on plain tensors."""
        array = scan[0] if scan.ndim == 4 and scan.shape[0] == 1 else scan
        values = array.cpu().numpy()
        if values.ndim != 3 or not np.isin(np.unique(values), (0, 1, 2, 3)).all():
            msg = f"expected an organ label map [D, H, W] with values 0 to 3, got shape {tuple(scan.shape)}"
            raise ValueError(msg)
        regions = organ_regions(values.astype(np.uint8), self.grid, thirds=organs.shape[-1] >= 9, **self.options)
        return expand_regions(torch.from_numpy(regions).to(scan.device), organs)


class AllowedFromRegions(_Allowed):
    """Allowed cells from a scan's stored region bitmaps (`LoadRegionsd`), bool ``[R, S, h, w]``.

    The threshold is built into them. The published code stores the grids of all 80 labels; here a label needs three
    bits (nine with thirds), and the regions of a scan a few bitmaps.
    """

    def cells(self, scan: torch.Tensor, organs: torch.Tensor) -> torch.Tensor:
        """The same on plain tensors."""
        return expand_regions(scan, organs)


class AllowedFromOccupancy(_Allowed):
    """Allowed cells from the share of each cell that each organ covers, ``[3, S, h, w]`` (or any grid).

    Shares are floating 0 to 1, bool, or uint8 in steps of 1/255; the organs of a label are taken together.

    Args:
        threshold: as of :class:`AllowedFromOrgans`. Defaults to 0.1.

    Raises:
        ValueError: if it is outside [0, 1].

    Example:
        >>> occupancy = torch.tensor([0.6, 0.1, 0.0, 0.0, 0.2, 0.1, 0.0, 0.0, 0.9]).view(3, 1, 1, 3)
        >>> organs = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
        >>> AllowedFromOccupancy(0.25)(occupancy, organs).int().view(4, 3).tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    """

    def __init__(self, threshold: float = 0.1) -> None:
        organ_regions(np.zeros((1, 1, 1), np.uint8), _ONE_CELL, threshold=threshold)  # refuses an illegal one at once
        self.threshold = threshold

    def cells(self, scan: torch.Tensor, organs: torch.Tensor) -> torch.Tensor:
        """The same on plain tensors."""
        _validate_occupancy(scan, organs)
        as_share = scan.to(torch.float32) / (255 if scan.dtype == torch.uint8 else 1)
        covered = torch.einsum("mo,o...->m...", organs.to(torch.float32), as_share)
        # a share summed in float32 may miss the threshold by a rounding error
        return (covered >= self.threshold - 1e-6) & (covered > 0)


class _Allowedd(MapTransform):
    """Adds the allowed cells of each label to the item.

    Args:
        keys: the one entry with the scan's organs.
        allowed: what makes cells of them.
        organs_key: entry with the label-to-organ bits ``[M, 3]``, ``[M, 9]`` or ``[M, 10]``.
        output_key: where the bool ``[M, S, h, w]`` is put.
        allow_missing_keys: whether an item may lack the entry; it then gets no allowed cells either.

    Raises:
        ValueError: if more than one key is given.
    """

    backend = _Allowed.backend

    def __init__(
        self,
        keys: KeysCollection,
        allowed: _Allowed,
        organs_key: Hashable = "organs",
        output_key: Hashable = "allowed",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            msg = f"expected the key of one scan's organs, got {self.keys}"
            raise ValueError(msg)
        self.allowed = allowed
        self.organs_key = organs_key
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the allowed cells to an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.output_key] = self.allowed(d[key], d[self.organs_key])
        return d


class AllowedFromOrgansd(_Allowedd):
    """Dictionary form of :class:`AllowedFromOrgans`.

    Args:
        keys: the one entry with the label map.
        grid: see :class:`AllowedFromOrgans`.
        organs_key: entry with the label-to-organ bits ``[M, 3]``, ``[M, 9]`` or ``[M, 10]``. Defaults to ``"organs"``.
        output_key: where the bool ``[M, S, h, w]`` is put. Defaults to ``"allowed"``.
        threshold: see :class:`AllowedFromOrgans`.
        registration: see there.
        mode: see there.
        dilate: see there.
        base_slices: see there.
        allow_missing_keys: whether an item may lack the entry; it then gets no allowed cells either.
    """

    def __init__(
        self,
        keys: KeysCollection,
        grid: FeatureGrid,
        organs_key: Hashable = "organs",
        output_key: Hashable = "allowed",
        threshold: float = 0.1,
        registration: Registration = "network",
        mode: Literal["nearest", "area", "trilinear"] = "nearest",
        dilate: int = 0,
        base_slices: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        allowed = AllowedFromOrgans(grid, threshold, registration, mode, dilate, base_slices)
        super().__init__(keys, allowed, organs_key, output_key, allow_missing_keys)


class AllowedFromRegionsd(_Allowedd):
    """Dictionary form of :class:`AllowedFromRegions`.

    Args:
        keys: the one entry with the bitmaps. Defaults to ``"regions"``.
        organs_key: see :class:`AllowedFromOrgansd`.
        output_key: see there.
        allow_missing_keys: see there.
    """

    def __init__(
        self,
        keys: KeysCollection = "regions",
        organs_key: Hashable = "organs",
        output_key: Hashable = "allowed",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, AllowedFromRegions(), organs_key, output_key, allow_missing_keys)


class AllowedFromOccupancyd(_Allowedd):
    """Dictionary form of :class:`AllowedFromOccupancy`.

    Args:
        keys: the one entry with the shares.
        organs_key: see :class:`AllowedFromOrgansd`.
        output_key: see there.
        threshold: see :class:`AllowedFromOccupancy`.
        allow_missing_keys: see :class:`AllowedFromOrgansd`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        organs_key: Hashable = "organs",
        output_key: Hashable = "allowed",
        threshold: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, AllowedFromOccupancy(threshold), organs_key, output_key, allow_missing_keys)


_ONE_CELL = FeatureGrid((1, 1, 1), (1, 1, 1), (0, 0, 0), (1, 1, 1), (1, 1, 1))


def _validate_occupancy(shares: torch.Tensor, bits: torch.Tensor) -> None:
    if bits.ndim != 2 or shares.ndim < 2 or bits.shape[1] != shares.shape[0]:
        msg = (
            f"occupancy [organs, *grid] and label bits [M, organs] must have the same organs, got "
            f"{tuple(shares.shape)} and {tuple(bits.shape)}"
        )
        raise ValueError(msg)
    if shares.is_floating_point() and not ((shares >= 0) & (shares <= 1.0001)).all():
        msg = f"occupancy must hold shares from 0 to 1, got {shares.min().item()} to {shares.max().item()}"
        raise ValueError(msg)
    if not shares.is_floating_point() and shares.dtype not in (torch.uint8, torch.bool):
        msg = f"occupancy must be floating (0 to 1), bool or uint8 (steps of 1/255), got {shares.dtype}"
        raise ValueError(msg)
    _validate_bits(bits)


def _validate_bits(bits: torch.Tensor) -> None:
    if not ((bits == 0) | (bits == 1)).all():
        msg = f"label bits must hold 0 and 1 only, got {bits.min().item()} to {bits.max().item()}"
        raise ValueError(msg)


AllowedFromOccupancyD = AllowedFromOccupancyDict = AllowedFromOccupancyd
AllowedFromOrgansD = AllowedFromOrgansDict = AllowedFromOrgansd
AllowedFromRegionsD = AllowedFromRegionsDict = AllowedFromRegionsd
