"""A few made-up scans, and a small AxialNet to train on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from organcam.config import InputConfig, TrainConfig
from organcam.data.region_store import write_regions
from organcam.data.volume_store import write_stored
from organcam.engines import loader, train_model, training_transforms
from organcam.losses import ClassAndMaskLoss
from organcam.networks import AxialNet
from organcam.segmentation.regions.bitmaps import bitmaps_of_occupancy

SHAPE = (6, 16, 16)
GRID = "2x2x2-test"


def make_items(folder: Path, count: int) -> list[dict]:
    """Label 0 is a bright block in the right half (allowed there), label 1 has nothing to see."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(count):
        present = number % 2
        volume = rng.normal(-800, 20, SHAPE).astype(np.int16)
        if present:
            volume[2:4, 4:8, 2:6] = 100
        write_stored(folder / f"{number}.b2nd", volume)
        occupancy = np.zeros((3, 2, 2, 2), np.float32)
        occupancy[0, ..., 0], occupancy[1, ..., 1] = 1, 1
        with (folder / f"{number}.npz").open("wb") as stream:
            write_regions(stream, {GRID: bitmaps_of_occupancy(occupancy, 0.25)})
        items.append(
            {
                "scan_id": str(number),
                "image": str(folder / f"{number}.b2nd"),
                "regions": str(folder / f"{number}.npz"),
                "label": torch.tensor([present, 0], dtype=torch.float32),
                "places": torch.tensor([[present, 0, 0], [0, 0, 0]], dtype=torch.uint8),
            }
        )
    return items


@pytest.fixture
def items(tmp_path) -> list[dict]:
    return make_items(tmp_path, 8)


@pytest.fixture
def build(items):
    """A network with fixed first weights, and loaders of all items for training and validation."""

    def build(settings: TrainConfig, seed: int = 0, layout: str = "slabs"):
        steps = training_transforms(InputConfig(shape=SHAPE), GRID, augment=settings.augment, layout=layout)
        loaders = tuple(loader(items, steps, settings, 6 * 16 * 16, seed, shuffle) for shuffle in (True, False))
        torch.manual_seed(seed)
        network = AxialNet(2, backbone="small", input_shape=SHAPE, head_channels=(4,), head_kernel=1)
        return network, loaders

    return build


@pytest.fixture
def train(build):
    """Train that network in a folder."""

    def train(folder: Path, settings: TrainConfig, loss=None, **options):
        network, loaders = build(settings)
        return train_model(network, loss or ClassAndMaskLoss(), loaders, settings, folder=folder, **options)

    return train
