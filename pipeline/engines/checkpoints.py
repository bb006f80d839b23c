"""The state of a training after each epoch on disk, and going on from the newest file that is sound."""

from __future__ import annotations

import errno
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.checkpoint import BaseSaveHandler

from ..errors import OrganCamError
from ..runner.atomic import atomic_path, clean_temporary

__all__ = ["Checkpoints", "Resumable", "SameSettings"]

KEPT = 2
"""Checkpoints in a folder: the newest, and the one before in case that a disk spoils the newest."""

logger = logging.getLogger(__name__)


class Resumable(Protocol):
    """What can be put into a checkpoint."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values only, which ``torch.load(weights_only=True)`` reads."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take over a state."""


class Checkpoints:
    """A folder with a training's last two checkpoints, ``checkpoint_<epoch>.pt``.

    Args:
        folder: made if it is not there.
        objects: everything that a resumed training needs, by name.
    """

    def __init__(self, folder: Path, objects: Mapping[str, Resumable]) -> None:
        self.folder = folder
        self.objects = dict(objects)
        self._handler = Checkpoint(
            self.objects,
            _AtomicSaver(folder),
            n_saved=KEPT,
            global_step_transform=lambda engine, _: engine.state.epoch,
            include_self=True,  # so that a resumed training knows the older files, and removes them in their turn
        )

    def attach(self, trainer: Engine) -> None:
        """Save after each epoch; attach it last, so that what other handlers do at its end is in the file."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._handler)

    def resume(self) -> Path | None:
        """Load the newest checkpoint that can be read as one.

        A file that cannot (cut short, flipped bits, something else) is renamed to ``<name>.damaged`` and named in the
        log. Nothing is ever removed here, and nothing is renamed for want of memory or of the right to read it.

        Returns:
            The file that was loaded; None where there was none.

        Raises:
            OrganCamError: if a file could not be read for another reason than its content, or is a checkpoint of
                another network or other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        clean_temporary(self.folder)
        for path in _newest_first(self.folder):
            try:
                state = _read(path)
            except _NotACheckpointError as problem:
                aside = _put_aside(path)
                logger.warning("%s cannot be read as a checkpoint (%s): put aside as %s", path, problem, aside.name)
            else:
                self._load(path, state)
                return path
        return None

    def _load(self, path: Path, state: Mapping[str, Any]) -> None:
        wanted: dict[str, Any] = {**self.objects, "checkpointer": self._handler}
        try:
            Checkpoint.load_objects(to_load=wanted, checkpoint=state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            if _is_of_the_machine(error):
                raise OrganCamError(_not_now(path, error)) from error
            msg = (
                f"{path} is a checkpoint of another training ({_first_line(error)}): train in a folder of its own, or "
                "empty this one"
            )
            raise OrganCamError(msg) from error


class SameSettings:
    """Refuses a checkpoint that was made under other settings; an object for `Checkpoints`.

    Args:
        settings: plain values by name.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)

    def state_dict(self) -> dict[str, Any]:
        """The settings."""
        return self.settings

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Compare.

        Raises:
            ValueError: naming the settings that differ.
        """
        names = sorted({*state_dict, *self.settings})
        other = [name for name in names if state_dict.get(name) != self.settings.get(name)]
        if other:
            changes = ", ".join(
                f"{name} {state_dict.get(name)} there, {self.settings.get(name)} here" for name in other
            )
            raise ValueError(changes)


class _NotACheckpointError(Exception):
    """The file's content is at fault."""


class _AtomicSaver(BaseSaveHandler):
    """Whole files or none, flushed to disk; ignite's own saver leaves its temporary file behind when it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, checkpoint: Mapping[str, Any], filename: str, metadata: Any = None) -> None:  # noqa: ARG002
        if idist.get_rank() == 0:
            with atomic_path(self.folder / filename) as path:
                torch.save(checkpoint, path)

    def remove(self, filename: str) -> None:
        if idist.get_rank() == 0:
            (self.folder / filename).unlink(missing_ok=True)


def _newest_first(folder: Path) -> list[Path]:
    epochs = {path: re.fullmatch(r"checkpoint_(\d+)\.pt", path.name) for path in folder.iterdir()}
    found = {path: int(match[1]) for path, match in epochs.items() if match}
    return sorted(found, key=lambda path: found[path], reverse=True)


def _read(path: Path) -> Mapping[str, Any]:
    """A checkpoint on the CPU: its parts are copied to where the objects are."""
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # for a damaged file zipfile and torch raise anything from EOFError to AttributeError
        if _is_of_the_machine(error):
            raise OrganCamError(_not_now(path, error)) from error
        raise _NotACheckpointError(_first_line(error)) from error
    if not isinstance(state, Mapping):
        msg = f"it holds a {type(state).__name__}"
        raise _NotACheckpointError(msg)
    return state


def _check_archive(path: Path) -> None:
    """Every part against its checksum, which torch does not do for tensors.

    Of 1,500 copies of a small checkpoint with one flipped bit each, ``torch.load`` read 778 with wrong values and
    without a word.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        msg = f"its part {damaged} fails the checksum"
        raise zipfile.BadZipFile(msg)


def _is_of_the_machine(error: Exception) -> bool:
    """Whether memory, rights or the disk are to blame, and not what the file holds."""
    if isinstance(error, OSError):
        return error.errno != errno.EINVAL  # a seek to a place that a damaged directory names
    # torch's allocators raise RuntimeError: "DefaultCPUAllocator: can't allocate memory", "CUDA out of memory"
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))


def _not_now(path: Path, error: Exception) -> str:
    return f"the checkpoint {path} was left as it is, but cannot be read now: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _put_aside(path: Path) -> Path:
    aside, number = path.with_name(f"{path.name}.damaged"), 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    return path.rename(aside)
