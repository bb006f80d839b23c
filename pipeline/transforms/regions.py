"""From organ occupancy and label-to-organ bits to the cells where each label's evidence may lie."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends

from .spatial import plain_tensor

__all__ = ["AllowedRegions", "AllowedRegionsD", "AllowedRegionsDict", "AllowedRegionsd"]


class AllowedRegions(Transform):
    """Cells in which a label's evidence may lie: those that its organs cover to at least a fraction.

    Computed when a scan is loaded, from three occupancy grids and three bits per label; the published code stores the
    grids of all 80 labels. The organs of a label are taken together: a cell that the right lung covers to 15 %
    and the left to 15 % is covered to 30 % for a label that may lie in both. The published code reads one voxel per
    cell instead, at a corner of a tile that is not where the cell lies.

    Args:
        threshold: least share of a cell's box that the label's organs must cover, in [0, 1]; 0 means any contact.
            Defaults to 0.25, a choice, not a measured optimum.

    Raises:
        ValueError: if the threshold is outside [0, 1].

    Example:
        >>> occupancy = torch.tensor([0.6, 0.1, 0.0, 0.0, 0.2, 0.1, 0.0, 0.0, 0.9]).view(3, 1, 1, 3)
        >>> organs = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]])
        >>> AllowedRegions(0.25)(occupancy, organs).int().view(4, 3).tolist()
        [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 0]]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __init__(self, threshold: float = 0.25) -> None:
        if not 0 <= threshold <= 1:
            msg = f"threshold is a share of a cell and must lie in [0, 1], got {threshold}"
            raise ValueError(msg)
        self.threshold = threshold

    def __call__(self, occupancy: Any, organs: Any) -> Any:  # type: ignore[override]
        """Allowed cells of one scan.

        Args:
            occupancy: share of each cell that each organ covers, ``[3, S, h, w]`` (or any grid): floating 0 to 1,
                bool, or uint8 in steps of 1/255. Organs: right lung, left lung, heart and mediastinum.
            organs: 0/1 per label and organ, ``[M, 3]``; a row of zeros (an absent label) is allowed nowhere.

        Returns:
            bool ``[M, S, h, w]``, of the occupancy's kind (numpy or tensor), without metadata.

        Raises:
            ValueError: if the numbers of organs differ, shares lie outside 0 to 1, or bits are not 0 and 1.
        """
        shares = torch.as_tensor(plain_tensor(occupancy))
        bits = torch.as_tensor(plain_tensor(organs)).to(shares.device)
        _validate(shares, bits)
        as_share = shares.to(torch.float32) / (255 if shares.dtype == torch.uint8 else 1)
        covered = torch.einsum("mo,o...->m...", bits.to(torch.float32), as_share)
        # a share summed in float32 may miss the threshold by a rounding error
        allowed = (covered >= self.threshold - 1e-6) & (covered > 0)
        return allowed if isinstance(occupancy, torch.Tensor) else allowed.numpy()


class AllowedRegionsd(MapTransform):
    """Dictionary form of :class:`AllowedRegions`: adds the allowed cells of each label to the item.

    Args:
        keys: the occupancy, ``[3, S, h, w]``.
        organs_key: entry with the label-to-organ bits ``[M, 3]``. Defaults to ``"organs"``.
        output_key: where the bool ``[M, S, h, w]`` is put. Defaults to ``"allowed"``.
        threshold: see :class:`AllowedRegions`.
        allow_missing_keys: whether an item may lack the occupancy; it then gets no allowed cells either.

    Raises:
        ValueError: if more than one key is given.
    """

    backend = AllowedRegions.backend

    def __init__(
        self,
        keys: KeysCollection = "occupancy",
        organs_key: Hashable = "organs",
        output_key: Hashable = "allowed",
        threshold: float = 0.25,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(self.keys) != 1:
            msg = f"expected the key of one occupancy, got {self.keys}"
            raise ValueError(msg)
        self.organs_key = organs_key
        self.output_key = output_key
        self.allowed_regions = AllowedRegions(threshold)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the allowed cells to an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[self.output_key] = self.allowed_regions(d[key], d[self.organs_key])
        return d


def _validate(shares: torch.Tensor, bits: torch.Tensor) -> None:
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
    if not ((bits == 0) | (bits == 1)).all():
        msg = f"label bits must hold 0 and 1 only, got {bits.min().item()} to {bits.max().item()}"
        raise ValueError(msg)


AllowedRegionsD = AllowedRegionsDict = AllowedRegionsd
