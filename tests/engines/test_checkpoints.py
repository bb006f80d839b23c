"""Going on from a folder in which something is wrong."""

import errno
import logging
import random
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from organcam.config import TrainConfig
from organcam.engines import checkpoints, save_state
from organcam.engines.checkpoints import Checkpoints
from organcam.errors import OrganCamError
from organcam.runner.disk import is_full

SETTINGS = TrainConfig(epochs=3, batch_size=4, device="cpu")


class StopNow(Exception):
    pass


@pytest.fixture
def interrupted(train, tmp_path):
    """A folder with the checkpoints of two of three epochs."""

    def stop(epoch, figures):
        if epoch == 3:
            raise StopNow

    with pytest.raises(StopNow):
        train(tmp_path / "m", SETTINGS, on_epoch=stop)
    return tmp_path / "m"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def flip_one_bit(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not a checkpoint"),
        lambda path: flip_one_bit(path, 0.5),  # in a tensor: torch reads it without an error
        lambda path: torch.save([1, 2, 3], path),
        lambda path: torch.save({"code": Path("x")}, path),  # more than tensors and plain values
    ],
    ids=["cut", "empty", "text", "bit", "list", "object"],
)
def test_what_is_no_checkpoint_is_put_aside_and_named(train, interrupted, tmp_path, caplog, damage):
    damage(interrupted / "checkpoint_2.pt")
    content = (interrupted / "checkpoint_2.pt").read_bytes()
    told = []
    with caplog.at_level(logging.WARNING):
        resumed = train(interrupted, SETTINGS, on_epoch=lambda epoch, figures: told.append(epoch))
    assert told == [2, 3]  # from the sound checkpoint before
    assert (interrupted / "checkpoint_2.pt.damaged").read_bytes() == content
    assert str(interrupted / "checkpoint_2.pt") in caplog.text
    assert "checkpoint_2.pt.damaged" in caplog.text
    whole = train(tmp_path / "whole", SETTINGS)
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())


def test_an_earlier_damaged_file_is_not_overwritten(train, interrupted):
    (interrupted / "checkpoint_9.pt").write_bytes(b"second")
    (interrupted / "checkpoint_9.pt.damaged").write_bytes(b"first")
    train(interrupted, SETTINGS)
    assert (interrupted / "checkpoint_9.pt.damaged").read_bytes() == b"first"
    assert (interrupted / "checkpoint_9.pt.damaged-2").read_bytes() == b"second"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error}"[:40],
)
def test_want_of_memory_or_rights_leaves_the_file_as_it_is(train, interrupted, monkeypatch, error):
    before = {name: (interrupted / name).read_bytes() for name in names(interrupted)}

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(OrganCamError, match=r"checkpoint_2\.pt was left as it is.*(memory|ermission|rror)"):
        train(interrupted, SETTINGS)
    assert {name: (interrupted / name).read_bytes() for name in names(interrupted)} == before


def test_a_folder_in_a_checkpoint_s_place_is_told(train, interrupted):
    (interrupted / "checkpoint_7.pt").mkdir()
    with pytest.raises(OrganCamError, match=r"checkpoint_7\.pt was left as it is.*directory"):
        train(interrupted, SETTINGS)


def test_a_checkpoint_of_other_settings_is_refused(train, interrupted):
    before = names(interrupted)
    with pytest.raises(OrganCamError, match=r"another training \(epochs 3 there, 5 here, weight_decay 0\.001 there, 0"):
        train(interrupted, SETTINGS.model_copy(update={"epochs": 5, "weight_decay": 0.0}))
    assert names(interrupted) == before


def test_where_it_runs_may_change(train, interrupted):
    moved = SETTINGS.model_copy(update={"cache_gb": 0.0, "parallel": True, "device": "auto"})
    assert len(train(interrupted, moved).log.rows) == 3


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    engine_state = {"network": torch.nn.Linear(2, 3)}
    Checkpoints(tmp_path, engine_state)
    torch.save(
        {"network": torch.nn.Linear(5, 3).state_dict(), "checkpointer": OrderedDict(_saved=[])},
        tmp_path / "checkpoint_1.pt",
    )
    with pytest.raises(OrganCamError, match=r"checkpoint_1\.pt is a checkpoint of another training"):
        Checkpoints(tmp_path, engine_state).resume()


def test_two_checkpoints_are_kept_whatever_happens_in_between(train, tmp_path):
    for last in (2, 3, 4):

        def stop(epoch, figures, last=last):
            if epoch == last:
                raise StopNow

        with pytest.raises(StopNow):
            train(tmp_path / "m", TrainConfig(epochs=6, batch_size=8, device="cpu"), on_epoch=stop)
    train(tmp_path / "m", TrainConfig(epochs=6, batch_size=8, device="cpu"))
    assert names(tmp_path / "m") == ["checkpoint_5.pt", "checkpoint_6.pt"]


def test_other_files_in_the_folder_are_let_be(train, interrupted):
    (interrupted / "checkpoint_last.pt").write_bytes(b"somebody's own")
    train(interrupted, SETTINGS)
    assert (interrupted / "checkpoint_last.pt").read_bytes() == b"somebody's own"


def test_no_flipped_bit_changes_what_is_loaded(tmp_path, caplog):
    """Each copy is either put aside, or loaded as it was."""
    path = tmp_path / "checkpoint_1.pt"
    network = torch.nn.Linear(40, 3)
    objects = {"network": network, "optimizer": torch.optim.AdamW(network.parameters())}
    torch.save(
        {name: thing.state_dict() for name, thing in objects.items()} | {"checkpointer": OrderedDict(_saved=[])}, path
    )
    content, truth = path.read_bytes(), network.weight.detach().clone()
    draw, loaded = random.Random(0), 0
    for _ in range(150):
        place = draw.randrange(8 * len(content))
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        torch.nn.init.zeros_(network.weight)
        if Checkpoints(tmp_path, objects).resume() is not None:
            loaded += 1
            assert torch.equal(network.weight, truth)
            path.unlink()
    assert 0 < loaded < 150


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")


@needs_full
def test_a_full_disk_is_told_by_its_own_name():
    """torch says "unexpected pos 576 vs 534"."""
    with pytest.raises(OSError, match="No space left") as caught:
        save_state({"weights": torch.rand(100_000)}, FULL)
    assert caught.value.errno == errno.ENOSPC


@needs_full
@pytest.mark.parametrize("steps", [False, True], ids=["epoch", "step"])
def test_a_disk_that_fills_up_costs_nothing_that_was_written(train, tmp_path, monkeypatch, steps):
    settings = SETTINGS.model_copy(update={"save_minutes": 1e-9 if steps else None})
    whole = train(tmp_path / "whole", settings)
    real = checkpoints.atomic_path

    @contextmanager
    def on_a_disk_that_fills_up(final):
        with real(final) as path:
            if final.name.startswith("checkpoint_2" if not steps else "checkpoint_1_1"):
                path.symlink_to(FULL)
            yield path

    monkeypatch.setattr(checkpoints, "atomic_path", on_a_disk_that_fills_up)
    with pytest.raises(OrganCamError, match=r"no space left on the disk of .*checkpoint_.*what is done stays") as full:
        train(tmp_path / "m", settings)
    assert is_full(full.value, tmp_path)  # by which a run knows to stop
    assert names(tmp_path / "m") == ["checkpoint_1.pt"]
    monkeypatch.undo()
    resumed = train(tmp_path / "m", settings)
    assert all(torch.equal(value, resumed.weights[name]) for name, value in whole.weights.items())
