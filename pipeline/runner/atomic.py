"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed.

The temporary place is a folder ``.<name>.<host>-<pid>-<token>.tmp`` with the file under its final name in it, because
NIfTI, NumPy and blosc2 writers choose (or append) the format by the file's ending.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spreadsheet import as_text
from .liveness import host_tag, is_alive

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "atomic_path",
    "clean_temporary",
    "commit",
    "fsync_folder",
    "plain_json",
    "temporary_folder",
    "temporary_name",
    "to_json",
    "write_csv_atomic",
    "write_json_atomic",
    "write_text_atomic",
]

FOREIGN_AGE = 24 * 3600.0
"""Seconds after which a temporary file of another host, whose processes cannot be asked, counts as left behind."""

_TEMPORARY = re.compile(r"^\..*\.(?P<host>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp$")
_FOLDER_SYNC_UNKNOWN = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextmanager
def atomic_path(final: str | Path) -> Iterator[Path]:
    """A path to write to, which takes its final place when the block ends without an exception.

    Args:
        final: where the file shall be; missing folders are made, an older file is replaced.

    Yields:
        A path in the same file system with the same file name.

    Raises:
        RuntimeError: if the block wrote no file there.
    """
    final = Path(final)
    with temporary_folder(final.parent, final.name) as folder:
        yield folder / final.name
        commit(folder / final.name, final)
        fsync_folder(final.parent)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A folder of this process alone inside ``parent``, removed with everything left in it."""
    folder = parent / temporary_name(name)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        try:
            folder.rmdir()  # the usual case, twice as fast as rmtree
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)


def temporary_name(name: str) -> str:
    """A new name that tells ``clean_temporary`` whose it is."""
    return f".{name[:64]}.{host_tag()}-{os.getpid()}-{secrets.token_hex(4)}.tmp"


def commit(temporary: Path, final: Path) -> None:
    """Flush a written file to disk and rename it; ``fsync_folder`` of its folder is left to the caller."""
    if not temporary.is_file():
        msg = f"nothing was written for {final.name}: write a file to the path that was handed out"
        raise RuntimeError(msg)
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(final)


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename survives a power cut; no effect where the system has no such call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNKNOWN:
            raise
    finally:
        os.close(descriptor)


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write UTF-8 text with unix line ends."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json_atomic(path: str | Path, value: Any) -> None:
    """Write readable JSON; what JSON cannot hold is turned into what it can, see ``plain_json``."""
    write_text_atomic(path, to_json(plain_json(value)))


def to_json(value: Any) -> str:
    """Readable JSON text of a value in JSON's own types."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_csv_atomic(path: str | Path, table: pd.DataFrame, *, index: bool = False) -> None:
    """Write a table as UTF-8 CSV with unix line ends; no text in it is a formula to a spreadsheet."""
    with atomic_path(path) as temporary:
        table.map(lambda cell: as_text(cell) if isinstance(cell, str) else cell).to_csv(
            temporary, index=index, lineterminator="\n"
        )


def plain_json(value: Any) -> Any:
    """The same value in JSON's own types.

    NumPy scalars become numbers, arrays and tuples lists, paths text with forward slashes; NaN and infinities, which
    JSON does not know, become null.

    Raises:
        TypeError: if something else is left.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "tolist"):
        return plain_json(value.tolist())
    msg = f"only numbers, text, lists and mappings can be recorded, got {type(value).__name__}"
    raise TypeError(msg)


def clean_temporary(folder: str | Path) -> int:
    """Remove what killed runs left half-written in a folder; live runs (other shards) keep theirs.

    Returns:
        The number of leftovers removed.
    """
    if not Path(folder).is_dir():
        return 0
    with os.scandir(folder) as entries:
        stale = [entry.path for entry in entries if _is_stale(entry)]
    for path in stale:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink(missing_ok=True)
    return len(stale)


def _is_stale(entry: os.DirEntry[str]) -> bool:
    parts = _TEMPORARY.match(entry.name)
    if parts is None:
        return False
    if parts["host"] == host_tag():
        return not is_alive(int(parts["pid"]))
    try:
        return time.time() - entry.stat().st_mtime > FOREIGN_AGE
    except FileNotFoundError:
        return False
