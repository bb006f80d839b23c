"""Content hashes of inputs, and the key that says whether a unit of work has to be done again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import DataError
from .atomic import write_json_atomic

__all__ = [
    "FingerprintCache",
    "fingerprint_file",
    "fingerprint_files",
    "fingerprint_path",
    "fingerprint_value",
    "parameters_hash",
    "unit_key",
]

BLOCK = 1 << 20
SETTLED = 2.0
"""Seconds a file must have been left alone before its hash is remembered by size and time: a change within the
time stamp's granularity (up to 2 s on FAT, 4 ms on ext4) would otherwise go unseen."""
SAVE_EVERY = 60.0
"""Seconds between saves while hashing: a terabyte of scans takes longer than anyone wants to lose."""


class FingerprintCache:
    """Hashes of files by size and time of change, kept in one JSON file so that a scan is read for it only once.

    Args:
        path: the JSON file; a missing or damaged one counts as empty.

    Example:
        >>> with FingerprintCache(folder / "fingerprints.json") as cache:  # doctest: +SKIP
        ...     inputs = {"image": fingerprint_file(image, cache)}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._saved = time.monotonic()
        self._changed = False
        self._entries: dict[str, list[Any]] = {}
        try:
            entries = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(entries, dict):
            self._entries = entries

    def __enter__(self) -> FingerprintCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()

    def get(self, path: str | Path) -> str:
        """The content hash of a file, read anew only if its size or time of change differs from last time."""
        name = str(Path(path).absolute())
        status = os.stat(path)
        state = [status.st_size, status.st_mtime_ns]
        known = self._entries.get(name)
        if isinstance(known, list) and known[:2] == state:
            return str(known[2])
        started = time.time()
        content = _hash_file(path)
        if started - status.st_mtime > SETTLED:
            self._entries[name] = [*state, content]
            self._changed = True
            if time.monotonic() - self._saved > SAVE_EVERY:
                self.save()
        return content

    def save(self) -> None:
        """Write the file if anything was added."""
        self._saved = time.monotonic()
        if self._changed:
            write_json_atomic(self.path, self._entries)
            self._changed = False


def fingerprint_file(path: str | Path, cache: FingerprintCache | None = None) -> str:
    """Content hash of a file, ``sha256:<hex>``.

    Raises:
        DataError: if it is a folder.
        OSError: if it cannot be read.
    """
    if Path(path).is_dir():
        msg = f"{path} is a folder, expected a file"
        raise DataError(msg)
    return cache.get(path) if cache is not None else _hash_file(path)


def fingerprint_files(paths: Iterable[str | Path], cache: FingerprintCache | None = None) -> str:
    """One content hash of several files, such as a DICOM series; names count, folders and order do not."""
    return fingerprint_value(sorted([Path(path).name, fingerprint_file(path, cache)] for path in paths))


def fingerprint_path(path: str | Path) -> str:
    """Content hash of a file; of a folder with thousands of small files the names, sizes and times of them.

    Raises:
        OSError: if it cannot be read.
    """
    if not Path(path).is_dir():
        return fingerprint_file(path)
    files = sorted((entry.name, entry.stat()) for entry in os.scandir(path) if entry.is_file())
    return fingerprint_value([[name, status.st_size, status.st_mtime_ns] for name, status in files])


def fingerprint_value(value: Any) -> str:
    """Content hash of plain data (a record's fields, a report's text), ``sha256:<hex>``.

    Raises:
        TypeError: if it is not plain data.
        ValueError: if it holds NaN or an infinity, which are equal to nothing.
    """
    return f"sha256:{hashlib.sha256(_canonical(value)).hexdigest()}"


def parameters_hash(parameters: Mapping[str, Any]) -> str:
    """Hash of a stage's parameters, 64 hexadecimal characters."""
    return hashlib.sha256(_canonical(parameters)).hexdigest()


def unit_key(stage: str, version: int, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What a unit's files depend on, as 64 hexadecimal characters: equal keys, equal files.

    Args:
        stage: the stage's name.
        version: of the stage's code.
        parameters: plain data; the order of keys does not matter.
        inputs: name to fingerprint, of files or of the sidecars upstream (their ``key``).

    Raises:
        TypeError: if the parameters are not plain data.
        ValueError: if they hold NaN or an infinity.
    """
    content = {"stage": stage, "version": version, "parameters": parameters, "inputs": inputs}
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_mapping).encode()


def _mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    msg = f"a key is made of plain data (numbers, text, lists, mappings), got {type(value).__name__}: {value!r:.60}"
    raise TypeError(msg)


def _hash_file(path: str | Path) -> str:
    digest, block = hashlib.sha256(), bytearray(BLOCK)
    view = memoryview(block)
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            digest.update(view[:size])
    return f"sha256:{digest.hexdigest()}"
