"""Scan ids come from tables and become file names; here they are checked before they do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from ..errors import DataError

__all__ = ["check_unique", "id_of_file", "safe_id"]

MAX_LENGTH = 128
LEGAL = (
    "letters A-Z a-z, digits, '.', '_' and '-', at most {} of them, no dot at either end, "
    "no name that Windows reserves (CON, NUL, COM1 ...)"
)
SHOWN = 80

_LEGAL = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[1-9]|lpt[1-9])(?:\..*)?", re.IGNORECASE)


def safe_id(text: Any, what: str = "scan id", longest: int = MAX_LENGTH) -> str:
    """The id itself, if it can be a file name on every system.

    Args:
        text: an id as read from a table.
        what: what it is called in the message.
        longest: greatest length.

    Raises:
        DataError: naming the id and what is legal.

    Example:
        >>> safe_id("trn00001")
        'trn00001'
    """
    if not isinstance(text, str) or len(text) > longest or not _LEGAL.fullmatch(text) or _RESERVED.fullmatch(text):
        shown = repr(text)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}... ({len(shown)} characters)"
        msg = f"{what} {shown} cannot be a file name; legal are {LEGAL.format(longest)}"
        raise DataError(msg)
    return text


def id_of_file(path: str) -> str:
    """A file's name without its ending, with an underscore for what cannot be part of a file name everywhere.

    Example:
        >>> id_of_file("scans/case 1.nii.gz")
        'case_1'
    """
    stem = PurePath(path).name.removesuffix(".gz").rsplit(".", 1)[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip(".")


def check_unique(ids: Iterable[str]) -> None:
    """Refuse ids that are equal on a file system which does not tell capitals apart.

    Raises:
        DataError: naming the first pair.
    """
    seen: dict[str, str] = {}
    for scan_id in ids:
        folded = scan_id.casefold()
        if folded in seen:
            how = "twice" if seen[folded] == scan_id else f"beside {seen[folded]!r}, from which only capitals tell it"
            msg = f"scan id {scan_id!r} occurs {how}; ids must be unique, capitals aside"
            raise DataError(msg)
        seen[folded] = scan_id
