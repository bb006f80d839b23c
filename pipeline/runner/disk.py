"""Disks that are full, or about to be."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OrganCamError

__all__ = ["explained_when_full", "full_disk_error", "is_full", "readable_size", "require_free_space"]

NO_SPACE = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name))
LEAST_FREE = 1 << 20
"""Free bytes below which any error counts as a full disk: libraries report it under names of their own."""


def require_free_space(folder: str | Path, needed: int) -> None:
    """Refuse to begin what cannot end for want of disk.

    Args:
        folder: where it will be written; need not exist yet.
        needed: bytes.

    Raises:
        OrganCamError: saying how much is free and how much is needed.
    """
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        msg = (
            f"the disk of {folder} has {readable_size(free)} free, about {readable_size(needed)} are needed; "
            "free some or choose another folder"
        )
        raise OrganCamError(msg)


def is_full(error: BaseException, folder: Path) -> bool:
    """Whether an error comes of a full disk (or quota), under whatever name."""
    if any(isinstance(cause, OSError) and cause.errno in NO_SPACE for cause in _causes(error)):
        return True
    try:
        return shutil.disk_usage(folder).free < LEAST_FREE
    except OSError:
        return False


def full_disk_error(folder: Path, where: str) -> OrganCamError:
    """What to raise then.

    Args:
        folder: on the full disk.
        where: what was being done.
    """
    msg = (
        f"no space left on the disk of {folder} ({where}); free some and start the same command again, "
        "what is done stays done"
    )
    return OrganCamError(msg)


@contextmanager
def explained_when_full(folder: Path, where: str) -> Iterator[None]:
    """Turn the system's error for a full disk into one for people.

    Raises:
        OrganCamError: if the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise full_disk_error(folder, where) from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def readable_size(count: float) -> str:
    """A number of bytes as people say it: ``475 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
