"""From scan items to batches: transforms, caching in memory, and an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.data import CacheDataset, DataLoader, Dataset, DistributedSampler
from monai.transforms import Compose, Transform

from ..config import InputConfig, TrainConfig
from ..transforms import (
    HUWindowd,
    LoadRegionsd,
    LoadStoredd,
    PadOrCropAird,
    RandFlipRotated,
    SlabStackd,
    expand_regions,
)

__all__ = ["image_transforms", "loader", "prepare_batch", "training_transforms"]

BYTES_PER_VOXEL = 4  # float32 after the window


def image_transforms(settings: InputConfig) -> list[Transform]:
    """Stored volume to network input ``[S, 3, H, W]``, the same for training and explaining."""
    return [
        LoadStoredd("image"),
        PadOrCropAird("image", shape=settings.shape),
        HUWindowd("image", lower=settings.window_hu[0], upper=settings.window_hu[1]),
        SlabStackd("image"),
    ]


def training_transforms(settings: InputConfig, grid: str, augment: bool) -> Compose:
    """A scan item to ``image`` and ``regions`` (bool ``[R, S, h, w]``), from which a batch gets its allowed cells.

    Args:
        settings: what the network sees.
        grid: key of its feature grid in the regions files.
        augment: the published random flips and rotations, image and regions alike.
    """
    steps: list[Transform] = [
        *image_transforms(settings),
        LoadRegionsd("regions", grid=grid),
    ]
    if augment:
        steps.append(RandFlipRotated(keys=("image", "regions")))
    return Compose(steps)


def loader(
    items: Sequence[dict[str, Any]], transform: Compose, settings: TrainConfig, voxels: int, seed: int, shuffle: bool
) -> DataLoader:
    """Batches of the items.

    Args:
        items: one dictionary a scan, as `training_transforms` expects.
        transform: applied to each item.
        settings: batch size, worker processes and how much may stay in memory.
        voxels: of one network input, to know whether all of them fit.
        seed: of the order.
        shuffle: a new order each epoch; it depends on seed and epoch only, so a resumed run sees the same one.
    """
    fits = len(items) * voxels * BYTES_PER_VOXEL <= settings.cache_gb * 1e9
    dataset = (
        CacheDataset(list(items), transform, num_workers=1, progress=False, copy_cache=False)
        if fits
        else Dataset(list(items), transform)
    )
    return DataLoader(
        dataset,
        batch_size=settings.batch_size,
        sampler=DistributedSampler(dataset, num_replicas=1, rank=0, shuffle=shuffle, seed=seed),
        num_workers=0 if fits else settings.loader_workers,
        pin_memory=settings.device.startswith("cuda"),
    )


def prepare_batch(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A batch as MONAI's engines want it: inputs, and a dictionary of targets for the loss.

    The allowed cells of all labels are made here, on the device, from a few bitmaps (``regions``) and nine bits a label
    (``places``); a loader that brings ``allowed`` itself is taken as it is.
    """
    wanted = ("label", "allowed") if "allowed" in batch else ("label", "regions", "places")
    moved = {key: batch[key].to(device, non_blocking=non_blocking) for key in wanted}
    allowed = moved["allowed"] if "allowed" in moved else expand_regions(moved["regions"], moved["places"])
    return batch["image"].to(device, non_blocking=non_blocking), {"label": moved["label"], "allowed": allowed}
