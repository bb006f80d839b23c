"""The folder a run writes to: its sub-folders, its lock, and run.json, which tells what became of it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from ..errors import OrganCamError
from ..version import __version__
from .atomic import clean_temporary, write_json_atomic
from .disk import explained_when_full
from .failures import write_failures
from .lock import RunLock
from .processors import available_processors
from .shards import Shard
from .stage import StageResult

__all__ = ["RunDirectory"]

RunStatus = Literal["running", "done", "done_with_failures", "failed", "interrupted"]

REPORTED_PACKAGES = ("numpy", "torch", "monai", "pytorch-ignite", "SimpleITK", "blosc2", "nibabel")


class RunDirectory:
    """A run's folder, held for the time of a ``with`` block.

    Entering makes the folder, takes the lock and writes ``run.json``; leaving writes how it ended. ``run.json`` holds
    the status, versions, the command and the counts of each stage; no field of a scan or report.

    Args:
        root: the folder; made if missing.
        shard: the part this run does; it then writes ``run-<i>of<n>.json``.
        command: the command line.

    Example:
        >>> with RunDirectory(out) as run:  # doctest: +SKIP
        ...     run.record(run_stage(spec, units, executor, logs=run.logs))
    """

    def __init__(self, root: str | Path, *, shard: Shard | None = None, command: Sequence[str] = ()) -> None:
        self.root = Path(root)
        self.shard = shard
        self._lock = RunLock(self.root, shard)
        self._began = 0.0
        self._state: dict[str, Any] = {
            "status": "running",
            "organcam": __version__,
            "command": list(command),
            "shard": str(shard) if shard else None,
            "stages": {},
        }

    @property
    def logs(self) -> Path:
        """Where tracebacks go; not made before there is one."""
        return self.root / "logs"

    @property
    def status(self) -> RunStatus:
        """What ``run.json`` says."""
        status: RunStatus = self._state["status"]
        return status

    @property
    def failed(self) -> int:
        """Units that failed in this run."""
        return sum(stage.get("failed", 0) for stage in self._state["stages"].values())

    def folder(self, *names: str) -> Path:
        """A sub-folder, made when first asked for."""
        folder = self.root.joinpath(*names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def record(self, result: StageResult) -> None:
        """Put a stage's counts into run.json and its failures into failures.csv."""
        with explained_when_full(self.root, f"failures of stage {result.stage}"):
            write_failures(self.root, result.stage, result.failed, self.shard)
        self.note_stage(result.stage, result.counts, result.seconds)

    def note_stage(self, stage: str, counts: dict[str, int], seconds: float, notes: Sequence[str] = ()) -> None:
        """Put counts and remarks into run.json.

        Args:
            stage: its name.
            counts: what and how many; ``failed`` makes the run ``done_with_failures``.
            seconds: wall time.
            notes: what a reader of the results should know; no field of a scan or report.
        """
        self._state["stages"][stage] = {**counts, "seconds": round(seconds, 3), "notes": list(notes)}
        self._write()

    def __enter__(self) -> RunDirectory:
        self._make_root()
        self._lock.acquire()
        clean_temporary(self.root)
        self._began = time.monotonic()
        self._state["stages"] = self._earlier_stages()
        self._state.update(status="running", started=_now(), platform=_platform())
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish(error)
        finally:
            self._lock.release()

    def _finish(self, error: BaseException | None) -> None:
        if error is None:
            self._state["status"] = "done_with_failures" if self.failed else "done"
        elif isinstance(error, KeyboardInterrupt):
            self._state["status"] = "interrupted"
        else:
            self._state["status"] = "failed"
            # Messages of other errors may quote anything.
            self._state["error"] = str(error) if isinstance(error, OrganCamError) else type(error).__name__
        self._state.update(ended=_now(), seconds=round(time.monotonic() - self._began, 3))
        try:
            self._write()
        except (OSError, OrganCamError):
            if error is None:
                raise  # else the error at hand says it better

    def _earlier_stages(self) -> dict[str, Any]:
        """What earlier runs in this folder noted of their stages; a stage that runs again replaces its own."""
        try:
            stages = json.loads(self._path.read_text(encoding="utf-8"))["stages"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        return stages if isinstance(stages, dict) else {}

    @property
    def _path(self) -> Path:
        return self.root / f"run{self.shard.suffix if self.shard else ''}.json"

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"cannot make the folder {self.root}: {error.strerror}"
            raise OrganCamError(msg) from error
        if not os.access(self.root, os.W_OK):
            msg = f"cannot write to the folder {self.root}: permission denied"
            raise OrganCamError(msg)

    def _write(self) -> None:
        name = f"run{self.shard.suffix if self.shard else ''}.json"
        with explained_when_full(self.root, name):
            write_json_atomic(self.root / name, self._state)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def _platform() -> dict[str, str]:
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for package in REPORTED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**found, "processors": str(available_processors())}
