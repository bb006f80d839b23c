"""Batches: the same whatever reads them, in HU until they are on the device."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import CacheDataset
from monai.transforms import Compose

from organcam.config import InputConfig, TrainConfig
from organcam.data.volume_store import read_stored, write_stored
from organcam.engines import image_transforms, loader, prepare_batch, train_model, training_transforms
from organcam.errors import ConfigError
from organcam.losses import ClassAndMaskLoss

SHAPE = (6, 16, 16)
GRID = "2x2x2-test"
CPU = torch.device("cpu")


def batches_of(items, settings, *, seed=0, shuffle=True, window_hu=(-1000.0, 800.0), layout="slabs"):
    shown = InputConfig(shape=SHAPE, window_hu=window_hu)
    steps = training_transforms(shown, GRID, settings.augment, layout)
    return loader(items, steps, settings, voxels=6 * 16 * 16, seed=seed, shuffle=shuffle)


def in_epoch(batches, epoch: int) -> list[dict]:
    batches.sampler.set_epoch(epoch)
    return list(batches)


def order(batches, epoch: int) -> list[str]:
    return [scan for batch in in_epoch(batches, epoch) for scan in batch["scan_id"]]


def test_order_of_scans_follows_seed_and_epoch_only(items):
    settings = TrainConfig(device="cpu")
    first = order(batches_of(items, settings), 1)
    assert first == order(batches_of(items, settings), 1)
    assert first != order(batches_of(items, settings), 2)
    assert first != order(batches_of(items, settings, seed=1), 1)
    assert sorted(first) == sorted(item["scan_id"] for item in items)
    assert order(batches_of(items, settings, shuffle=False), 5) == [item["scan_id"] for item in items]


def test_cache_and_reading_processes_change_no_batch(items):
    """Random flips included; the same scans, in the same order, turned in the same way."""
    ways = {"cached": {}, "read": {"cache_gb": 0.0}, "read by two": {"cache_gb": 0.0, "loader_workers": 2}}
    found = {}
    for way, options in ways.items():
        batches = batches_of(items, TrainConfig(device="cpu", batch_size=3, augment=True, **options))
        assert isinstance(batches.dataset.scans, CacheDataset) == (way == "cached")
        assert batches.num_workers == options.get("loader_workers", 0)
        found[way] = in_epoch(batches, 1) + in_epoch(batches, 2)
    for way in ("read", "read by two"):
        for one, other in zip(found["cached"], found[way], strict=True):
            assert one["scan_id"] == other["scan_id"]
            assert torch.equal(one["image"], other["image"])
            assert torch.equal(one["regions"], other["regions"])


def test_reading_processes_change_no_weights(items, build, tmp_path):
    weights = []
    for options in ({}, {"cache_gb": 0.0, "loader_workers": 2}):
        settings = TrainConfig(epochs=2, batch_size=3, device="cpu", augment=True, **options)
        network, loaders = build(settings)
        folder = tmp_path / f"workers{settings.loader_workers}"
        weights.append(train_model(network, ClassAndMaskLoss(), loaders, settings, folder=folder).weights)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_augmentation_is_new_in_each_epoch_and_for_each_scan(items):
    same = [items[1]] * 40
    batches = batches_of(same, TrainConfig(device="cpu", batch_size=40, augment=True), shuffle=False)
    first, again, second = (in_epoch(batches, epoch)[0]["image"] for epoch in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    different = len({image.numpy().tobytes() for image in first})
    assert different > 5  # of 16 ways to lie, a quarter as it was


def test_images_stay_in_hu_until_the_batch_is_on_the_device(items):
    batch = next(iter(batches_of(items, TrainConfig(device="cpu", batch_size=8), shuffle=False)))
    assert batch["image"].dtype == torch.int16
    prepared = prepare_batch(batch, CPU)[0]
    explained = [Compose(image_transforms(InputConfig(shape=SHAPE), "slabs"))(item)["image"] for item in items]
    assert torch.equal(prepared, torch.stack(explained))
    hu = np.stack([read_stored(Path(item["image"])) for item in items]).astype(np.float64)
    by_hand = ((np.clip(hu, -1000, 800) + 1000) / 1800 - 0.449).reshape(8, 2, 3, 16, 16)
    np.testing.assert_allclose(prepared, by_hand, atol=1e-6)


def test_each_item_goes_by_its_own_window(items):
    settings = TrainConfig(device="cpu")
    wide, narrow = (
        next(iter(batches_of(items[:1], settings, window_hu=window))) for window in ((-1000.0, 800.0), (-900.5, 0.25))
    )
    both = {key: torch.cat([wide[key], narrow[key]]) for key in ("image", "window_hu", "label")}
    expected = torch.cat([prepare_batch(wide, CPU)[0], prepare_batch(narrow, CPU)[0]])
    assert torch.equal(prepare_batch(both, CPU)[0], expected)
    assert not torch.equal(expected[0], expected[1])


def test_an_image_without_window_is_taken_as_it_is():
    batch = {"image": torch.rand(1, 2, 3, 4, 4), "label": torch.ones(1, 2)}
    image, targets = prepare_batch(batch, CPU)
    assert torch.equal(image, batch["image"])
    assert set(targets) == {"label"}


def test_twice_as_many_scans_stay_in_memory_as_in_float32(items):
    bytes_of_all = len(items) * 6 * 16 * 16 * 2
    for gigabytes, cached in ((bytes_of_all / 1e9, True), ((bytes_of_all - 1) / 1e9, False)):
        batches = batches_of(items, TrainConfig(device="cpu", cache_gb=gigabytes))
        assert isinstance(batches.dataset.scans, CacheDataset) == cached


def test_a_crop_in_the_cache_does_not_hold_the_whole_volume(items, tmp_path):
    write_stored(tmp_path / "large.b2nd", np.zeros((60, 16, 16), np.int16))
    batches = batches_of([{**items[0], "image": str(tmp_path / "large.b2nd")}], TrainConfig(device="cpu"))
    image = batches.dataset[0]["image"]
    assert image.untyped_storage().nbytes() == 6 * 16 * 16 * 2


@pytest.mark.parametrize(
    ("device", "gpu", "pinned"), [("auto", True, True), ("auto", False, False), ("cpu", True, False)]
)
def test_memory_is_pinned_where_batches_go_to_a_gpu(items, monkeypatch, device, gpu, pinned):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert batches_of(items, TrainConfig(device=device)).pin_memory == pinned


def test_allowed_cells_of_an_item_are_where_its_organ_is(items):
    batch = next(iter(batches_of(items, TrainConfig(device="cpu", batch_size=2), shuffle=False)))
    assert batch["image"].shape == (2, 2, 3, 16, 16)
    allowed = prepare_batch(batch, CPU)[1]["allowed"]
    assert allowed[1, 0, ..., 0].all()  # present, right lung
    assert not allowed[1, 0, ..., 1].any()
    assert not allowed[0].any()  # absent: nowhere


@pytest.mark.parametrize("augment", [False, True])
def test_whole_volumes_have_the_slabs_slices_in_order(items, augment):
    settings = TrainConfig(device="cpu", batch_size=8, augment=augment)
    slabs = in_epoch(batches_of(items, settings), 1)[0]
    volumes = in_epoch(batches_of(items, settings, layout="volume"), 1)[0]
    assert volumes["image"].shape == (8, 1, *SHAPE)
    assert type(volumes["image"]) is torch.Tensor
    assert torch.equal(volumes["image"], slabs["image"].reshape(8, 1, *SHAPE))
    assert torch.equal(volumes["regions"], slabs["regions"])


OF_EACH_PROCESS = """
import sys
import ignite.distributed as idist
import torch
from monai.data import Dataset
from monai.transforms import Compose
from organcam.config import TrainConfig
from organcam.engines import loader

with idist.Parallel(backend="gloo"):
    items = [{"scan_id": i, "image": torch.zeros(1)} for i in range(7)]
    for shuffle in (True, False):
        batches = loader(items, Compose([]), TrainConfig(device="cpu", batch_size=2), voxels=1, seed=3, shuffle=shuffle)
        batches.sampler.set_epoch(2)
        scans = [int(scan) for batch in batches for scan in batch["scan_id"]]
        with open(f"{sys.argv[1]}/{shuffle}-{idist.get_rank()}.txt", "w") as file:
            print(*scans, file=file)
"""


def test_processes_of_torchrun_share_the_scans_out(tmp_path):
    """In training equal numbers of one common order; in validation each scan once."""
    script = tmp_path / "share.py"
    script.write_text(OF_EACH_PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    subprocess.run([*command, str(tmp_path)], check=True, capture_output=True, timeout=300)

    def read(name):
        return [int(scan) for scan in (tmp_path / name).read_text().split()]

    train = [read(f"True-{rank}.txt") for rank in (0, 1)]
    alone = loader(
        [{"scan_id": i, "image": torch.zeros(1)} for i in range(7)], Compose([]), TrainConfig(device="cpu"), 1, 3, True
    )
    common = [int(scan) for scan in order(alone, 2)]
    assert [train[0][i // 2] if i % 2 == 0 else train[1][i // 2] for i in range(8)] == [*common, common[0]]
    valid = [read(f"False-{rank}.txt") for rank in (0, 1)]
    assert Counter(valid[0] + valid[1]) == Counter(range(7))


@pytest.mark.parametrize(("scans", "size", "processes"), [(8, 3, 2), (1, 2, 2)])
def test_scans_that_cannot_be_shared_are_refused(items, monkeypatch, scans, size, processes):
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: processes)
    with pytest.raises(ConfigError, match=rf"{scans} scans, train\.batch_size={size} a step, cannot be shared by 2"):
        loader(items[:scans], Compose([]), TrainConfig(device="cpu", batch_size=size), 1, 0, shuffle=True)


class FromAllStreams:
    """A transform of somebody else, which knows nothing of MONAI's random states."""

    def __call__(self, data):
        drawn = torch.tensor([float(torch.rand(())), np.random.rand(), random.random()])
        return {"scan_id": data["scan_id"], "image": drawn}


def test_what_transforms_draw_from_anywhere_is_the_same_in_any_process(items):
    """New for each scan and epoch, however many processes read."""
    found = []
    for workers in (0, 1, 2):
        settings = TrainConfig(device="cpu", cache_gb=0.0, loader_workers=workers)
        batches = loader(items, Compose([FromAllStreams()]), settings, voxels=10**9, seed=3, shuffle=True)
        found.append(torch.stack([batch["image"][0] for epoch in (1, 2) for batch in in_epoch(batches, epoch)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len(found[0].unique()) == found[0].numel() == 48


def test_other_regions_are_for_the_loss_alone():
    """A control's bitmaps make the allowed cells; what a network with masked pooling looks at stays the scan's own."""
    own, other = torch.zeros(1, 7, 1, 1, 4, dtype=torch.bool), torch.zeros(1, 7, 1, 1, 4, dtype=torch.bool)
    own[:, 0, ..., 0], other[:, 0, ..., 3] = True, True
    places = torch.tensor([[[1, 0, 0]]], dtype=torch.uint8)
    batch = {"image": torch.zeros(1, 1), "label": torch.ones(1, 1), "regions": own, "places": places}
    _, plain = prepare_batch({**batch, "possible": places}, torch.device("cpu"))
    _, controlled = prepare_batch({**batch, "possible": places, "allowed_regions": other}, torch.device("cpu"))
    assert plain["allowed"].flatten().int().tolist() == plain["possible"].flatten().int().tolist() == [1, 0, 0, 0]
    assert controlled["allowed"].flatten().int().tolist() == [0, 0, 0, 1]
    assert controlled["possible"].flatten().int().tolist() == [1, 0, 0, 0]
