"""Insertion as MONAI transforms, array and dictionary."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable, Transform

from ..data.volume import Volume
from .insertion import Insertion, insert
from .kinds import parse_wish

__all__ = ["InsertLesion", "InsertLesionD", "InsertLesionDict", "InsertLesiond"]

SEEDS = 2**31


class InsertLesion(Randomizable, Transform):
    """Put a lesion, a confounder or another acquisition into a scan in HU, before it is windowed.

    Args:
        kind: such as ``nodule:8mm``; see ``organcam.audit.KINDS``.
        place: such as ``right_upper``; empty for a random one.

    Example:
        >>> InsertLesion("nodule:8mm").wish.size_mm
        8.0
    """

    def __init__(self, kind: str, place: str = "") -> None:
        self.wish = parse_wish(kind)
        self.place = place
        self.made: Insertion | None = None

    def __call__(self, image: Any, organs: Any, affine: Any = None) -> Any:  # type: ignore[override]
        """Put it in.

        Args:
            image: HU ``[1, D, H, W]``; a MetaTensor brings its affine.
            organs: label map, same shape: 1 right lung, 2 left lung, 3 heart and mediastinum.
            affine: voxel index to RAS+ mm, for plain tensors and arrays.

        Returns:
            The changed image, of the same kind; ``made`` says what was put in and where.

        Raises:
            ValueError: without an affine.
            DataError: if there is no room for it.
        """
        own = image.affine if isinstance(image, MetaTensor) else affine
        if own is None:
            msg = "InsertLesion needs the affine of a plain array, since sizes are millimetres"
            raise ValueError(msg)
        where = np.asarray(own, dtype=np.float64)
        array = np.asarray(torch.as_tensor(image).cpu()[0] if isinstance(image, torch.Tensor) else image[0])
        labels = np.asarray(torch.as_tensor(organs).cpu()[0] if isinstance(organs, torch.Tensor) else organs[0])
        seed = int(self.R.randint(SEEDS))
        self.made = insert(Volume(array, where), Volume(labels, where), self.wish, place=self.place, seed=seed)
        changed = self.made.volume.array[None]
        if isinstance(image, MetaTensor):
            return MetaTensor(torch.from_numpy(changed).to(image.dtype), affine=image.affine, meta=image.meta)
        return (
            torch.from_numpy(changed).to(image.dtype)
            if isinstance(image, torch.Tensor)
            else changed.astype(image.dtype)
        )


class InsertLesiond(Randomizable, MapTransform):
    """Dictionary form of `InsertLesion`; the share of each voxel that was covered goes to ``KEY_inserted``.

    Args:
        keys: images.
        kind: see `InsertLesion`.
        place: see there.
        organs_key: entry with the organs.
        allow_missing_keys: see MONAI.
    """

    def __init__(
        self,
        keys: KeysCollection,
        kind: str,
        place: str = "",
        organs_key: str = "organs",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.organs_key = organs_key
        self.put = InsertLesion(kind, place)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> InsertLesiond:
        """Set the random numbers of the array form too."""
        super().set_random_state(seed, state)
        self.put.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the chosen entries of an item."""
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self.put(d[key], d[self.organs_key])
            assert self.put.made is not None
            d[f"{key}_inserted"] = torch.from_numpy(self.put.made.covered[None])
        return d


InsertLesionD = InsertLesionDict = InsertLesiond
