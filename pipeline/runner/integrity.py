"""Whether files of earlier stages are still what was written: disks and copies change bytes without an error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import DataError, some_of
from .executors import Executor
from .fingerprints import fingerprint_file
from .items import Lost

__all__ = ["DamagedFilesError", "find_damaged", "is_damaged", "require_whole"]

SHOWN = 3


class DamagedFilesError(DataError):
    """Files of earlier stages are not what those stages wrote; the run makes them again.

    Args:
        files: their paths.
    """

    def __init__(self, files: Iterable[str]) -> None:
        self.files = tuple(files)
        are = "is not what was" if len(self.files) == 1 else "are not what was"
        super().__init__(f"{some_of(self.files, SHOWN)} {are} written: damaged, or changed by hand")


def is_damaged(file: tuple[str, str]) -> bool:
    """Whether a file (path, content hash) is gone, unreadable or holds something else."""
    path, content = file
    try:
        return fingerprint_file(path) != content
    except (OSError, DataError):
        return True


def require_whole(files: Mapping[str, str]) -> None:
    """Read every file once.

    Args:
        files: path to content hash.

    Raises:
        DamagedFilesError: naming all that differ.
    """
    damaged = [file[0] for file in files.items() if is_damaged(file)]
    if damaged:
        raise DamagedFilesError(damaged)


def find_damaged(files: Mapping[str, str], executor: Executor) -> list[str]:
    """The paths whose content differs, in the order given; read in an executor's workers, each file once."""
    found = {}
    for file, result in executor.run(is_damaged, list(files.items())):
        found[file[0]] = is_damaged(file) if isinstance(result, Lost) else result
    return [path for path in files if found[path]]
