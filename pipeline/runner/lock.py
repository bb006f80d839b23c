"""One run in one folder at a time, on file systems without reliable file locks too."""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import OrganCamError
from .atomic import temporary_name
from .liveness import host_tag, is_alive, process_start
from .shards import Shard

__all__ = ["RunLock"]

HEARTBEAT = 30.0
"""Seconds between signs of life; other hosts have nothing else to go by."""
SILENCE = 10 * HEARTBEAT


class RunLock:
    """A lock file naming its holder; the lock of a dead process is taken over.

    Shards of one run exclude a second run of the same shard, and runs without shards exclude all others. Whether the
    holder lives is asked of the system on the same host, and told by the file's age elsewhere.

    Args:
        root: the folder.
        shard: the part this run does.
    """

    def __init__(self, root: Path, shard: Shard | None = None) -> None:
        self.path = root / f".lock{shard.suffix if shard else ''}"
        self._others = ".lock*" if shard is None else ".lock"
        self._token = secrets.token_hex(8)
        self._over = threading.Event()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            OrganCamError: naming who has it.
        """
        self._clear(self.path)
        self._create()
        try:
            for other in self.path.parent.glob(self._others):
                if other != self.path:
                    self._clear(other)
        except OrganCamError:
            self.path.unlink(missing_ok=True)
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    def release(self) -> None:
        """Give the lock back, unless another run has taken it over."""
        self._over.set()
        if _read(self.path).get("token") == self._token:
            self.path.unlink(missing_ok=True)

    def _create(self) -> None:
        holder = {
            "token": self._token,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "host_tag": host_tag(),
            "process_start": process_start(os.getpid()),
            "since": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        }
        # Written aside and linked, so that nobody reads a lock without its holder.
        aside = self.path.with_name(temporary_name("new-lock"))
        aside.write_text(json.dumps(holder), encoding="utf-8")
        try:
            _create_from(aside, self.path)
        except FileExistsError:
            raise self._refusal(self.path) from None
        finally:
            aside.unlink(missing_ok=True)

    def _clear(self, path: Path) -> None:
        """Remove a dead run's lock.

        Raises:
            OrganCamError: if its run lives.
        """
        if not path.exists():
            return
        holder = _read(path)
        if _lives(path, holder):
            raise self._refusal(path)
        aside = path.with_name(temporary_name("old-lock"))
        with suppress(FileNotFoundError):  # somebody else removed it first
            path.replace(aside)
            if _read(aside).get("token") != holder.get("token"):
                aside.replace(path)  # it was another's, who took over in between
                raise self._refusal(path)
            aside.unlink()

    def _refusal(self, path: Path) -> OrganCamError:
        holder = _read(path)
        msg = (
            f"another run is at work in {path.parent}: process {holder.get('pid')} on {holder.get('host')} "
            f"since {holder.get('since')}. Wait for it or choose another folder; if that run is dead, delete {path}"
        )
        return OrganCamError(msg)

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            with suppress(OSError):
                os.utime(self.path)


def _create_from(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links there (exFAT, some network file systems)
        with path.open("x", encoding="utf-8") as file:
            file.write(aside.read_text(encoding="utf-8"))


def _read(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _lives(path: Path, holder: dict[str, Any]) -> bool:
    if holder.get("host_tag") == host_tag() and isinstance(holder.get("pid"), int):
        pid, start = holder["pid"], holder.get("process_start")
        return is_alive(pid) and start == process_start(pid)
    try:
        return time.time() - path.stat().st_mtime < SILENCE
    except FileNotFoundError:
        return False
