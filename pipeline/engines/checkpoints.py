"""The state of a training on disk, after each epoch and inside it, and going on from the newest file that is sound."""

from __future__ import annotations

import errno
import logging
import math
import re
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint

from ..errors import OrganCamError
from ..runner import atomic_path, clean_temporary, explained_when_full
from .distributed import StopRequests
from .position import EpochPosition

__all__ = ["Checkpoints", "Resumable", "SameSettings", "save_state"]

KEPT = 2
"""Checkpoints of whole epochs: the newest, and the one before in case that a disk spoils the newest."""

logger = logging.getLogger(__name__)


class Resumable(Protocol):
    """What can be put into a checkpoint."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors and plain values only, which ``torch.load(weights_only=True)`` reads."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take over a state."""


class Checkpoints:
    """A folder with a training's last checkpoints.

    ``checkpoint_<epochs>.pt`` of whole epochs, of which two are kept, and ``checkpoint_<epochs>_<steps>.pt`` of so many
    steps into the epoch after them, of which the newest is kept until that epoch is over.

    Args:
        folder: made if it is not there.
        objects: everything that a resumed training needs, by name.
    """

    def __init__(self, folder: Path, objects: Mapping[str, Resumable]) -> None:
        self.folder = folder
        self.objects = dict(objects)

    def attach(
        self, trainer: Engine, position: EpochPosition, requests: StopRequests, minutes: float | None = None
    ) -> None:
        """Save after each epoch, inside one as often as asked, and before a training ends that was told to stop.

        Attach it last, so that what other handlers do at the end of a step or an epoch is in the file.

        Args:
            trainer: ends at the next step or epoch where it is asked to.
            position: in the epoch under way; where it cannot be entered in its middle, nothing is saved there.
            requests: to stop.
            minutes: between two files inside an epoch; None for none but the one before the end.
        """
        watch = _Watch(minutes)

        def save(engine: Engine) -> None:
            if not position.steps or position.can_go_on:
                whole = (engine.state.iteration - position.steps) // (engine.state.epoch_length or 1)
                self.save(whole, position.steps)
                watch.restart()

        @trainer.on(Events.ITERATION_COMPLETED)
        def end_step(engine: Engine) -> None:
            stop = requests.ask()
            # several processes cannot stop in the middle of a validation, and might lose the epoch there
            if stop or watch.is_due() or (idist.get_world_size() > 1 and position.steps == engine.state.epoch_length):
                save(engine)
            if stop:
                engine.terminate()

        @trainer.on(Events.EPOCH_COMPLETED)
        def end_epoch(engine: Engine) -> None:
            save(engine)
            if requests.ask():
                engine.terminate()

    def save(self, epochs: int, steps: int = 0) -> None:
        """Write the state after so many epochs and steps, in process 0, and remove what is no longer needed.

        Raises:
            OrganCamError: if the disk is full; the files that were there stay.
            OSError: if it refuses for another reason.
        """
        if idist.get_rank():
            return
        name = f"checkpoint_{epochs}_{steps}.pt" if steps else f"checkpoint_{epochs}.pt"
        with explained_when_full(self.folder, name), atomic_path(self.folder / name) as path:
            save_state({name: thing.state_dict() for name, thing in self.objects.items()}, path)
        found = _newest_first(self.folder)
        whole = [path for path, steps in found.items() if not steps]
        for path in [*whole[KEPT:], *(path for path, steps in list(found.items())[1:] if steps)]:
            path.unlink(missing_ok=True)

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
        found = self._newest() if idist.get_rank() == 0 else None
        if idist.get_world_size() > 1:
            name = str(idist.broadcast(found[0].name if found else "", src=0, safe_mode=True))
            if idist.get_rank() and name:
                found = self.folder / name, _read(self.folder / name)
        if found is None:
            return None
        self._load(*found)
        logger.info("training in %s goes on from %s", self.folder.name, found[0].name)
        return found[0]

    def _newest(self) -> tuple[Path, Mapping[str, Any]] | None:
        self.folder.mkdir(parents=True, exist_ok=True)
        clean_temporary(self.folder)
        for path in _newest_first(self.folder):
            try:
                return path, _read(path)
            except _NotACheckpointError as problem:
                aside = _put_aside(path)
                logger.warning("%s cannot be read as a checkpoint (%s): put aside as %s", path, problem, aside.name)
        return None

    def _load(self, path: Path, state: Mapping[str, Any]) -> None:
        try:
            Checkpoint.load_objects(to_load=self.objects, checkpoint=state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            if _is_of_the_machine(error):
                raise OrganCamError(_not_now(path, error)) from error
            msg = (
                f"{path} is a checkpoint of another training ({_first_line(error)}): train in a folder of its own, or "
                "empty this one"
            )
            raise OrganCamError(msg) from error


class _Watch:
    """Tells when so many minutes are over."""

    def __init__(self, minutes: float | None) -> None:
        self.seconds = math.inf if minutes is None else 60 * minutes
        self.restart()

    def restart(self) -> None:
        self.since = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self.since >= self.seconds


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """``torch.save``, which tells of a full disk as "unexpected pos" without the system's word, with that word.

    Raises:
        OSError: what the system refused.
    """
    try:
        with path.open("wb") as stream:
            torch.save(state, stream)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


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


def _newest_first(folder: Path) -> dict[Path, int]:
    """The checkpoints in a folder, each with its steps after the last whole epoch."""
    names = {path: re.fullmatch(r"checkpoint_(\d+)(?:_(\d+))?\.pt", path.name) for path in folder.iterdir()}
    found = {path: (int(name[1]), int(name[2] or 0)) for path, name in names.items() if name}
    return {path: found[path][1] for path in sorted(found, key=lambda path: found[path], reverse=True)}


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
