"""From scan items to batches: transforms, caching in memory, and an order that depends on seed and epoch alone."""

from __future__ import annotations

import random
import signal
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import ignite.distributed as idist
import numpy as np
import torch
from monai.data import CacheDataset, DataLoader, Dataset, DistributedSampler
from monai.transforms import Compose, Transform

from ..config import InputConfig, TrainConfig
from ..contract import Layout
from ..errors import ConfigError
from ..transforms import (
    HUWindow,
    HUWindowd,
    LoadRegionsd,
    LoadStoredd,
    PadOrCropAird,
    RandFlipRotated,
    RandRadiographd,
    SlabStackd,
    expand_regions,
)
from .controls import ControlRegionsd
from .device import choose_device

__all__ = ["ScanDataset", "image_transforms", "loader", "prepare_batch", "training_transforms"]

BYTES_PER_VOXEL = 2  # int16 HU; the window is applied to the batch


def image_transforms(settings: InputConfig, layout: Layout, slices: int = 3) -> list[Transform]:
    """Stored volume to network input: ``[S, slices, H, W]`` or ``[1, D, H, W]``, windowed float32."""
    window = HUWindowd("image", lower=settings.window_hu[0], upper=settings.window_hu[1])
    return [*_stored_transforms(settings, layout, slices), window]


def training_transforms(
    settings: InputConfig,
    grid: str | None,
    augment: bool,
    layout: Layout,
    slices: int = 3,
    control: ControlRegionsd | None = None,
) -> Compose:
    """A scan item to what `prepare_batch` takes.

    The image stays int16 HU with its window beside it: a cache holds twice as many scans, half as much goes to the
    device, and the values that the network sees are those of `image_transforms`.

    Args:
        settings: what the network sees.
        grid: key of its feature grid in the regions files; None for 2D images, which have no regions.
        augment: the published random flips and rotations, image and regions alike; of 2D images those of radiographs.
        layout: what the network takes.
        slices: of a slab.
        control: puts other bitmaps beside the scan's own, for the loss on attention.

    Returns:
        A transform whose item has ``image``, ``window_hu`` ``[2]`` and, where there are regions, ``regions`` (bool
        ``[R, *grid]``), from which a batch gets its allowed cells.
    """
    steps: list[Transform] = [
        *_stored_transforms(settings, layout, slices),
        _KeepInHU(settings.window_hu),
    ]
    if grid is None:
        return Compose([*steps, RandRadiographd("image")] if augment else steps)
    steps.append(LoadRegionsd("regions", grid=grid))
    regions = ["regions"] if control is None else ["regions", "allowed_regions"]
    if control is not None:
        steps.append(control)
    if augment:
        layouts: list[Literal["slabs", "channels"]] = ["slabs" if layout == "slabs" else "channels"]
        layouts += ["channels" for _ in regions]
        steps.append(RandFlipRotated(keys=("image", *regions), layout=layouts))
    return Compose(steps)


def loader(
    items: Sequence[dict[str, Any]],
    transform: Compose,
    settings: TrainConfig,
    voxels: int,
    seed: int,
    shuffle: bool,
) -> DataLoader:
    """Batches of the items; under ``torchrun`` those of this process, its share of each step's ``batch_size`` scans.

    Which scans come together, in which order and with which random flips depends on ``seed`` and the epoch alone: not
    on the cache, the number of reading processes, or whether the training was interrupted.

    Args:
        items: one dictionary a scan, as `training_transforms` expects.
        transform: applied to each item.
        settings: batch size, how much may stay in memory, reading processes (which scans in memory do not need) and
            device.
        voxels: of one network input, to know whether all of them fit.
        seed: of order and augmentation.
        shuffle: a new order each epoch, for training; otherwise the items' own, each exactly once.

    Raises:
        ConfigError: if there are more processes than scans, or a step's scans cannot be shared by them.
    """
    processes = idist.get_world_size()
    if len(items) < processes or settings.batch_size % processes:
        step = f"train.batch_size={settings.batch_size} a step"
        msg = f"{len(items)} scans, {step}, cannot be shared by {processes} processes"
        raise ConfigError(msg)
    fits = len(items) * voxels * BYTES_PER_VOXEL <= settings.cache_gb * 1e9
    scans = (
        CacheDataset(list(items), transform, num_workers=1, progress=False, copy_cache=False)
        if fits
        else Dataset(list(items), transform)
    )
    dataset = ScanDataset(scans, transform, seed)
    return DataLoader(
        dataset,
        batch_size=settings.batch_size // processes,
        sampler=_EpochSampler(
            dataset,
            num_replicas=processes,
            rank=idist.get_rank(),
            shuffle=shuffle,
            seed=seed,
            even_divisible=shuffle,  # in training all processes make the same number of steps
        ),
        num_workers=0 if fits else settings.loader_workers,
        pin_memory=choose_device(settings.device).type == "cuda",
        worker_init_fn=_begin_worker,
    )


def prepare_batch(
    batch: Mapping[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A batch as MONAI's engines want it: inputs, and a dictionary of targets for the loss.

    An image in HU is windowed here, on the device, by the ``window_hu`` ``[B, 2]`` beside it; without that entry it is
    taken as it is. The allowed cells of all labels are made here too, from a few bitmaps (``regions``) and ten bits a
    label (``places``); a batch may bring ``allowed`` itself, or have no regions at all, for a loss that needs none.
    ``allowed_regions`` beside ``regions`` take their place there, as a control of the mask loss does.
    ``possible``, the places where each label could lie in anybody ``[B, M, 10]``, becomes the cells that a network with
    masked pooling looks at: they are the same whatever a scan's report says.
    """
    image = batch["image"].to(device, non_blocking=non_blocking)
    if "window_hu" in batch:
        image = _windowed(image, batch["window_hu"])
    wanted = ("label", "allowed", "regions", "allowed_regions", "places", "possible")
    given = {key: batch[key].to(device, non_blocking=non_blocking) for key in wanted if key in batch}
    targets: dict[str, torch.Tensor] = {key: given[key] for key in given if key in {"label", "allowed"}}
    penalised = given.get("allowed_regions", given.get("regions"))
    for cells, bits, regions in (("allowed", "places", penalised), ("possible", "possible", given.get("regions"))):
        if cells not in targets and regions is not None and bits in given:
            targets[cells] = expand_regions(regions, given[bits])
    return image, targets


def _begin_worker(_number: int) -> None:
    """A reading process ends with the training, not by the signals that the training itself heeds."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class ScanDataset(torch.utils.data.Dataset[Any]):
    """Items whose random transforms are drawn anew from seed, epoch and index for each of them.

    MONAI draws from one stream for the whole data set, and in another way in each reading process, so that the number
    of processes would change the weights. Transforms that draw from the streams of torch, NumPy or Python are held to
    the same rule, and leave those of the training as they were.

    Args:
        scans: data set that applies ``transform``.
        transform: its transform, random or not.
        seed: of all draws.

    Attributes:
        epoch: set by the sampler.
    """

    def __init__(self, scans: Dataset, transform: Compose, seed: int) -> None:
        self.scans = scans
        self.transform = transform
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> Any:
        # mixed, so that neighbouring epochs and scans have nothing in common
        mixed = int(np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0])
        self.transform.set_random_state(seed=mixed)
        with _streams_seeded(mixed):
            return self.scans[index]


@contextmanager
def _streams_seeded(seed: int) -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.random.default_generator.manual_seed(seed)  # of the CPU alone
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


class _EpochSampler(DistributedSampler):
    """MONAI's trainer tells the sampler each epoch; this one passes it on to the augmentation, and can begin later."""

    dataset: ScanDataset
    skipped = 0

    def skip(self, scans: int) -> None:
        """Leave out the first scans of this process in the epochs to come; ``len`` stays that of a whole epoch."""
        self.skipped = scans

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.skipped, None)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.dataset.epoch = epoch


class _KeepInHU(Transform):
    """The image in memory of its own (a crop would keep the whole volume alive in a cache), its window beside it."""

    def __init__(self, window_hu: tuple[float, float]) -> None:
        self.window_hu = torch.tensor(window_hu, dtype=torch.float64)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {
            **data,
            "image": data["image"].clone(memory_format=torch.contiguous_format),
            "window_hu": self.window_hu,
        }


def _stored_transforms(settings: InputConfig, layout: Layout, slices: int) -> list[Transform]:
    """Stored volume to the network's shape, in HU."""
    shape: list[Transform] = [LoadStoredd("image"), PadOrCropAird("image", shape=settings.shape)]
    return [*shape, SlabStackd("image", slices=slices)] if layout == "slabs" else [*shape, _WithoutMetadata()]


class _WithoutMetadata(Transform):
    """A plain tensor: an affine would travel through the network, and be wrong for a feature map."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, "image": data["image"].as_tensor()}


def _windowed(image: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """HU ``[B, ...]`` as float32, each item by its window ``[B, 2]``; usually it is the same for all."""
    limits = windows.tolist()
    if all(window == limits[0] for window in limits):
        return HUWindow(*limits[0])(image)
    return torch.stack([HUWindow(*window)(item) for item, window in zip(image, limits, strict=True)])
