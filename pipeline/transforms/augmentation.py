"""The published augmentation: one flip and one in-plane rotation, of the image and of its allowed regions alike."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import TransformBackends, ensure_tuple_rep

from ..errors import did_you_mean
from .spatial import plain_tensor

__all__ = [
    "FlipRotate",
    "FlipRotateD",
    "FlipRotateDict",
    "FlipRotated",
    "Layout",
    "RandFlipRotate",
    "RandFlipRotateD",
    "RandFlipRotateDict",
    "RandFlipRotated",
]

Layout = Literal["slabs", "channels"]


class FlipRotate(Transform):
    """Flip one axis, then rotate by quarter turns in the axial plane; the same for every channel.

    The rotation turns axis 1 (anterior to posterior) towards axis 2 (right to left), numpy's ``rot90``. In the layout
    ``"slabs"`` the first spatial axis is spread over slabs and their slices: flipping it reverses both, so that the
    slices of the whole scan come out in reverse order.

    Allowed regions may be flipped and turned with the image only where the network's cells lie symmetrically in the
    image: a grid that tiles it. Cells placed by a stride that leaves a rest at one end move by that rest; such networks
    are better trained without augmentation, or with it applied before the regions are computed. (The cells of the
    published network are centred on pixels 128 to 288 of 420, which is off the middle by 1.5 pixels.)

    A flip from right to left makes an anatomically impossible view, the heart on the right. It swaps nothing in the
    labels: the region labels name no side (both lungs fold into ``lung``), and a stated side lives in the allowed
    regions, which move with the image.

    Args:
        flip: spatial axis to flip: 0 (superior to inferior), 1 (anterior to posterior), 2 (right to left), or None.
        turns: quarter turns, 0 to 3; odd numbers need a square plane.
        layout: ``"slabs"`` for ``[S, slices, H, W]``, ``"channels"`` for ``[C, D, H, W]`` or ``[M, S, h, w]``.

    Raises:
        ValueError: for an unknown axis, number of turns or layout.

    Example:
        >>> slabs = torch.arange(6).view(2, 3, 1, 1)
        >>> FlipRotate(flip=0, layout="slabs")(slabs).flatten().tolist()
        [5, 4, 3, 2, 1, 0]
    """

    backend = [TransformBackends.TORCH, TransformBackends.NUMPY]  # noqa: RUF012  (MONAI's own form)

    def __init__(self, flip: int | None = None, turns: int = 0, layout: Layout = "channels") -> None:
        if flip not in (None, 0, 1, 2):
            msg = f"flip must be one of the spatial axes 0, 1, 2 or None, got {flip!r}"
            raise ValueError(msg)
        if turns not in (0, 1, 2, 3):
            msg = f"turns must be 0, 1, 2 or 3 quarter turns, got {turns!r}"
            raise ValueError(msg)
        _validate_layouts((layout,))
        self.flip = flip
        self.turns = turns
        self.layout: Layout = layout

    def __call__(self, img: Any) -> Any:
        """Flip and turn one array.

        Args:
            img: four axes as ``layout`` says, numpy array or tensor.

        Returns:
            A contiguous copy of the same kind and dtype, without metadata.

        Raises:
            ValueError: if the array has not four axes, or a quarter turn would change its shape.
        """
        array = plain_tensor(img)
        if array.ndim != 4:
            msg = f"expected four axes ({self.layout}), got shape {tuple(array.shape)}"
            raise ValueError(msg)
        if self.turns % 2 and array.shape[2] != array.shape[3]:
            msg = f"a quarter turn needs a square plane, got {tuple(array.shape[2:])}; allow half turns only (turns=2)"
            raise ValueError(msg)
        tensor = torch.as_tensor(array)
        if self.flip is not None:
            first = (0, 1) if self.layout == "slabs" else (1,)
            tensor = tensor.flip(first if self.flip == 0 else (self.flip + 1,))
        if self.turns:
            tensor = torch.rot90(tensor, self.turns, dims=(2, 3))
        tensor = tensor.contiguous() if self.flip is not None or self.turns else tensor.clone()
        return tensor if isinstance(img, torch.Tensor) else tensor.numpy()


class FlipRotated(MapTransform):
    """Dictionary form of :class:`FlipRotate`.

    Args:
        keys: arrays to flip and turn alike.
        flip: see :class:`FlipRotate`.
        turns: see :class:`FlipRotate`.
        layout: one for all keys or one for each.
        allow_missing_keys: whether an item may lack a key.
    """

    backend = FlipRotate.backend

    def __init__(
        self,
        keys: KeysCollection,
        flip: int | None = None,
        turns: int = 0,
        layout: Layout | Sequence[Layout] = "channels",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.layouts: tuple[Layout, ...] = ensure_tuple_rep(layout, len(self.keys))
        self.transforms = tuple(FlipRotate(flip, turns, each) for each in self.layouts)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Flip and turn the chosen entries of an item."""
        d = dict(data)
        for key, transform in self.key_iterator(d, self.transforms):
            d[key] = transform(d[key])
        return d


class RandFlipRotate(Randomizable, Transform):
    """Random :class:`FlipRotate`: with one chance a flip of one axis, with another a rotation.

    The published augmentation (training scans only): probability 1/2 each, the axis and the number of quarter turns
    uniform. Drawn from MONAI's own random state, which ``monai.data.DataLoader`` seeds anew in every worker and epoch;
    in the published code all workers draw the same sequence.

    Args:
        prob_flip: probability of a flip. Defaults to 0.5.
        prob_rotate: probability of a rotation. Defaults to 0.5.
        flip_axes: axes to choose from. Defaults to all three; ``(0, 1)`` leaves out the mirrored chest.
        turns: numbers of quarter turns to choose from. Defaults to 1, 2, 3; ``(2,)`` for a plane that is not square.
        layout: see :class:`FlipRotate`.

    Raises:
        ValueError: for probabilities outside [0, 1], unknown axes, turns or layout, or nothing to choose from.
    """

    backend = FlipRotate.backend

    def __init__(
        self,
        prob_flip: float = 0.5,
        prob_rotate: float = 0.5,
        flip_axes: Sequence[int] = (0, 1, 2),
        turns: Sequence[int] = (1, 2, 3),
        layout: Layout = "channels",
    ) -> None:
        for name, prob, choices in (("prob_flip", prob_flip, flip_axes), ("prob_rotate", prob_rotate, turns)):
            if not 0 <= prob <= 1:
                msg = f"{name} must lie in [0, 1], got {prob}"
                raise ValueError(msg)
            if prob > 0 and len(choices) == 0:
                msg = f"{name}={prob} but there is nothing to choose from; set it to 0"
                raise ValueError(msg)
        for axis in flip_axes:
            FlipRotate(flip=axis)
        for count in turns:
            FlipRotate(turns=count)
        _validate_layouts((layout,))
        self.prob_flip = prob_flip
        self.prob_rotate = prob_rotate
        self.flip_axes = tuple(flip_axes)
        self.turns = tuple(turns)
        self.layout: Layout = layout
        self.drawn_flip: int | None = None
        self.drawn_turns = 0

    def randomize(self, data: Any = None) -> None:  # noqa: ARG002
        """Draw the next flip and rotation."""
        self.drawn_flip = None
        self.drawn_turns = 0
        if self.R.random() < self.prob_flip:
            self.drawn_flip = int(self.R.choice(self.flip_axes))
        if self.R.random() < self.prob_rotate:
            self.drawn_turns = int(self.R.choice(self.turns))

    def __call__(self, img: Any, randomize: bool = True, layout: Layout | None = None) -> Any:
        """Flip and turn one array.

        Args:
            img: four axes as the layout says.
            randomize: whether to draw anew; otherwise the last draw is applied.
            layout: overrides the constructor's.

        Returns:
            See :class:`FlipRotate`.
        """
        if randomize:
            self.randomize()
        return FlipRotate(self.drawn_flip, self.drawn_turns, layout or self.layout)(img)


class RandFlipRotated(Randomizable, MapTransform):
    """Dictionary form of :class:`RandFlipRotate`: one draw for all keys of an item.

    Args:
        keys: arrays to treat alike. Defaults to the image and its allowed regions.
        layout: one for all keys or one for each. Defaults to ``("slabs", "channels")``, for the default keys.
        prob_flip: see :class:`RandFlipRotate`.
        prob_rotate: see :class:`RandFlipRotate`.
        flip_axes: see :class:`RandFlipRotate`.
        turns: see :class:`RandFlipRotate`.
        allow_missing_keys: whether an item may lack a key.

    Example:
        >>> augment = RandFlipRotated().set_random_state(seed=0)
        >>> out = augment({"image": np.zeros((4, 3, 8, 8)), "allowed": np.zeros((80, 4, 2, 2), bool)})
        >>> out["image"].shape, out["allowed"].shape
        ((4, 3, 8, 8), (80, 4, 2, 2))
    """

    backend = FlipRotate.backend

    def __init__(
        self,
        keys: KeysCollection = ("image", "allowed"),
        layout: Layout | Sequence[Layout] = ("slabs", "channels"),
        prob_flip: float = 0.5,
        prob_rotate: float = 0.5,
        flip_axes: Sequence[int] = (0, 1, 2),
        turns: Sequence[int] = (1, 2, 3),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.layouts: tuple[Layout, ...] = ensure_tuple_rep(layout, len(self.keys))
        _validate_layouts(self.layouts)
        self.flip_rotate = RandFlipRotate(prob_flip, prob_rotate, flip_axes, turns)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandFlipRotated:
        """Seed this transform and the one it draws from."""
        super().set_random_state(seed, state)
        self.flip_rotate.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Flip and turn the chosen entries of an item alike."""
        d = dict(data)
        self.flip_rotate.randomize()
        for key, layout in self.key_iterator(d, self.layouts):
            d[key] = self.flip_rotate(d[key], randomize=False, layout=layout)
        return d


def _validate_layouts(layouts: Sequence[str]) -> None:
    for layout in layouts:
        if layout not in get_args(Layout):
            msg = f"layout={layout!r} is unknown; {did_you_mean(str(layout), get_args(Layout))}"
            raise ValueError(msg)


FlipRotateD = FlipRotateDict = FlipRotated
RandFlipRotateD = RandFlipRotateDict = RandFlipRotated
