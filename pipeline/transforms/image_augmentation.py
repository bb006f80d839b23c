"""The published augmentation of radiographs, as one resampling of an image that is stored at the network's size."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends
from torch import Tensor

from ..data.grey import WHITE

__all__ = [
    "RandRadiograph",
    "RandRadiographD",
    "RandRadiographDict",
    "RandRadiographd",
]

LARGEST_TURN = math.pi / 2
AREA, ASPECT = (0.7, 1.0), (3 / 4, 4 / 3)
LARGEST_CHANGE = 0.5


class RandRadiograph(Randomizable, Transform):
    """Turn, crop, mirror, and change brightness and contrast, as PYLON was trained on radiographs.

    Preechakul et al. (2022): a turn of up to 90 degrees with probability 1/2, black beyond the border; a crop of 0.7 to
    1 of the area with sides of 3:4 to 4:3, brought back to the image's size; a mirror with 1/2; brightness and contrast
    changed by up to one half each, together, with 1/2. Turn, crop and mirror are one bicubic resampling here, of the
    stored image; there they are one after another, of the original file.

    Args:
        prob: of the turn, the mirror and the change of grey. Defaults to 0.5.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012  (MONAI's own form)

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            msg = f"prob must lie in [0, 1], got {prob}"
            raise ValueError(msg)
        self.prob = prob
        self.turn = 0.0
        self.crop = (0.0, 0.0, 1.0, 1.0)
        self.mirrored = False
        self.brightness, self.contrast = 0.0, 1.0

    def randomize(self, data: Any = None) -> None:  # noqa: ARG002
        """Draw what the next image gets."""
        self.turn = self.R.uniform(-LARGEST_TURN, LARGEST_TURN) if self.R.random() < self.prob else 0.0
        side = math.sqrt(self.R.uniform(*AREA))
        stretch = math.sqrt(math.exp(self.R.uniform(math.log(ASPECT[0]), math.log(ASPECT[1]))))
        height, width = min(side / stretch, 1.0), min(side * stretch, 1.0)
        self.crop = (self.R.uniform(0, 1 - height), self.R.uniform(0, 1 - width), height, width)
        self.mirrored = bool(self.R.random() < self.prob)
        changed = self.R.random() < self.prob
        ends = (-LARGEST_CHANGE, LARGEST_CHANGE)
        self.brightness, self.contrast = (self.R.uniform(*ends), 1 + self.R.uniform(*ends)) if changed else (0.0, 1.0)

    def __call__(self, img: Tensor, randomize: bool = True) -> Tensor:
        """Change one image.

        Args:
            img: stored values ``[..., H, W]`` with four axes, 0 to ``WHITE``.
            randomize: whether to draw anew; otherwise the last draw is applied.

        Returns:
            The same shape and dtype.
        """
        if randomize:
            self.randomize()
        places = self._places(img.shape[-2], img.shape[-1])
        moved = torch.nn.functional.grid_sample(
            img.to(torch.float32),
            places.expand(len(img), -1, -1, -1),
            mode="bicubic",
            padding_mode="border",  # zeros would darken the image's own edge too
            align_corners=False,
        )
        moved = moved * (places.abs().amax(-1) <= 1)
        grey = (moved * self.contrast + self.brightness * WHITE).clamp(0, WHITE)
        return grey.round().to(img.dtype) if not img.dtype.is_floating_point else grey.to(img.dtype)

    def _places(self, height: int, width: int) -> Tensor:
        """Where in the image each pixel of the result comes from, ``[1, H, W, 2]`` in x and y from -1 to 1."""
        top, left, tall, wide = self.crop
        rows = top + tall * (torch.arange(height) + 0.5) / height - 0.5
        columns = left + wide * (torch.arange(width) + 0.5) / width - 0.5
        if self.mirrored:
            columns = columns.flip(0)
        y, x = torch.meshgrid(rows * height, columns * width, indexing="ij")  # pixels from the centre
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        source = torch.stack([(cosine * x - sine * y) / width, (sine * x + cosine * y) / height], dim=-1)
        return 2 * source[None].to(torch.float32)


class RandRadiographd(Randomizable, MapTransform):
    """Dictionary form of :class:`RandRadiograph`: one draw for all keys of an item.

    Args:
        keys: images to treat alike. Defaults to "image".
        prob: see :class:`RandRadiograph`.
        allow_missing_keys: whether an item may lack a key.

    Example:
        >>> augment = RandRadiographd().set_random_state(seed=0)
        >>> augment({"image": torch.zeros(1, 1, 8, 8, dtype=torch.int16)})["image"].dtype
        torch.int16
    """

    backend = RandRadiograph.backend

    def __init__(self, keys: KeysCollection = ("image",), prob: float = 0.5, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.change = RandRadiograph(prob)

    def set_random_state(self, seed: int | None = None, state: Any = None) -> RandRadiographd:
        """Seed this transform and the one it draws from."""
        super().set_random_state(seed, state)
        self.change.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the chosen entries of an item alike."""
        d = dict(data)
        self.change.randomize()
        for key in self.key_iterator(d):
            d[key] = self.change(d[key], randomize=False)
        return d


RandRadiographD = RandRadiographDict = RandRadiographd
