"""Training on a few made-up scans: it learns, resumes to the same weights, stops when told to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, DistributedSampler
from monai.transforms import Compose

from organcam.config import InputConfig, TrainConfig
from organcam.data.region_store import write_regions
from organcam.data.volume_store import write_stored
from organcam.engines import choose_device, judge_on_validation, loader, train_model, training_transforms
from organcam.engines.loaders import prepare_batch
from organcam.errors import ConfigError
from organcam.losses import ClassAndMaskLoss, MaskLoss
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


def build(items, settings: TrainConfig, seed: int = 0, cached: bool = True):
    shown = InputConfig(shape=SHAPE)
    steps = training_transforms(shown, GRID, augment=settings.augment)
    if not cached:
        settings = settings.model_copy(update={"cache_gb": 0.0})
    loaders = tuple(loader(items, steps, settings, 6 * 16 * 16, seed, shuffle) for shuffle in (True, False))
    torch.manual_seed(seed)
    network = AxialNet(2, backbone="small", input_shape=SHAPE, head_channels=(4,), head_kernel=1)
    return network, loaders


def train(items, folder, settings, loss=None, **options):
    network, loaders = build(items, settings)
    return train_model(network, loss or ClassAndMaskLoss(), loaders, settings, folder=folder, **options)


def test_it_learns_what_can_be_seen(items, tmp_path):
    settings = TrainConfig(epochs=15, batch_size=4, learning_rate=1e-2, device="cpu")
    done = train(items, tmp_path / "m", settings, ClassAndMaskLoss(MaskLoss(), weight=1.0), ramp=0.3)
    assert done.log.rows[-1]["train_loss"] < 0.5 * done.log.rows[0]["train_loss"]
    network, loaders = build(items, settings)
    network.load_state_dict(done.weights)
    judged = judge_on_validation(network, loaders[1], settings)
    assert judged["auroc_median"] == 1.0
    assert judged["organ_iou"] > 0.9


@pytest.mark.parametrize("augment", [False, True])
def test_stopped_after_two_epochs_it_ends_at_the_same_weights(items, tmp_path, augment):
    settings = TrainConfig(epochs=4, batch_size=3, device="cpu", augment=augment)

    class Stop(Exception):
        pass

    def stop(epoch, figures):
        if epoch == 3:
            raise Stop

    whole = train(items, tmp_path / "whole", settings)
    with pytest.raises(Stop):
        train(items, tmp_path / "parts", settings, on_epoch=stop)
    (tmp_path / "parts" / "checkpoint_9.pt").write_bytes(b"cut off by a kill")
    resumed = train(items, tmp_path / "parts", settings)
    assert [row["epoch"] for row in resumed.log.rows] == [1, 2, 3, 4]
    assert resumed.log.rows == whole.log.rows
    for name, value in whole.weights.items():
        assert torch.equal(value, resumed.weights[name]), name


def test_a_finished_training_is_not_trained_further(items, tmp_path):
    settings = TrainConfig(epochs=2, batch_size=4, device="cpu")
    first = train(items, tmp_path / "m", settings)
    told = []
    second = train(items, tmp_path / "m", settings, on_epoch=lambda epoch, figures: told.append(epoch))
    assert told == []
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def test_patience_ends_training_and_the_best_epoch_is_kept(items, tmp_path):
    settings = TrainConfig(
        epochs=30, batch_size=8, learning_rate=0.5, schedule="constant", keep="best", patience=3, device="cpu"
    )
    done = train(items, tmp_path / "m", settings)
    rows = done.log.rows
    best = min(range(len(rows)), key=lambda row: rows[row]["valid_loss"])
    assert len(rows) == min(best + 1 + 3, 30)


def test_validation_is_looked_at_as_often_as_asked_and_at_the_end(items, tmp_path):
    done = train(items, tmp_path / "m", TrainConfig(epochs=5, batch_size=4, device="cpu", validate_every=3))
    assert [row["epoch"] for row in done.log.rows if "valid_loss" in row] == [3, 5]


def test_order_of_scans_follows_seed_and_epoch_only(items):
    def order(seed, epoch):
        _, (batches, _) = build(items, TrainConfig(device="cpu"), seed)
        batches.sampler.set_epoch(epoch)
        return [batch["scan_id"][0] for batch in batches]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert sorted(order(0, 1)) == sorted(item["scan_id"] for item in items)


def test_cached_and_read_each_time_give_the_same_batches(items):
    for a, b in zip(
        build(items, TrainConfig(device="cpu"))[1][1],
        build(items, TrainConfig(device="cpu"), cached=False)[1][1],
        strict=True,
    ):
        torch.testing.assert_close(a["image"], b["image"])
        assert torch.equal(a["regions"], b["regions"])


def test_allowed_cells_of_an_item_are_where_its_organ_is(items):
    _, (_, batches) = build(items, TrainConfig(device="cpu", batch_size=2))
    batch = next(iter(batches))
    assert batch["image"].shape == (2, 2, 3, 16, 16)
    allowed = prepare_batch(batch, torch.device("cpu"))[1]["allowed"]
    assert allowed[1, 0, ..., 0].all()  # present, right lung
    assert not allowed[1, 0, ..., 1].any()
    assert not allowed[0].any()  # absent: nowhere


def test_a_gpu_that_is_not_there_is_told():
    if torch.cuda.device_count() < 8:
        with pytest.raises(ConfigError, match="this machine has"):
            choose_device("cuda:7")
    assert choose_device("cpu").type == "cpu"


def test_trainer_uses_a_plain_monai_loader():
    """Others' loaders work too: what counts is the item's keys."""
    rows = [
        {"image": torch.zeros(2, 3, 16, 16), "label": torch.tensor([1.0, 0.0]), "allowed": torch.ones(2, 2, 2, 2)}
    ] * 2
    data = Dataset(rows, Compose([]))
    batches = DataLoader(data, batch_size=2, sampler=DistributedSampler(data, num_replicas=1, rank=0))
    network = AxialNet(2, backbone="small", input_shape=(3, 16, 16), head_channels=(4,), head_kernel=1)
    assert judge_on_validation(network, batches, TrainConfig(device="cpu"))["organ_iou"] >= 0
