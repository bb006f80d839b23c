"""What was found where a workflow looks for scans: the scans, what is no scan, and what cannot be used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath

from ..runner.identifiers import MAX_LENGTH
from .readers import without_ending

__all__ = ["Finds", "FoundScan", "Passed", "hashed", "id_of_path", "passed_in_words", "unshared"]

SHOWN = 3
ILLEGAL = re.compile(r"[^A-Za-z0-9._-]+")
DIGITS, HASHED = 12, 16


@dataclass(frozen=True)
class FoundScan:
    """A scan as the user's files name it; nothing of it has been checked yet.

    Attributes:
        scan_id: becomes a file name.
        image: a volume file, a DICOM folder, or a file of a DICOM series among others in its folder.
        patient_id: equal for scans of one patient.
        split: as a table tells it.
        report_id: as a table tells it.
        also: other names under which its report may stand. They may tell who the patient is, and are written nowhere
            unless a report has that name.
    """

    scan_id: str
    image: Path
    patient_id: str
    split: str = ""
    report_id: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Passed:
    """Something that is not used, and why: ``kind`` for counting, ``reason`` in full."""

    path: Path
    kind: str
    reason: str = ""


@dataclass(frozen=True)
class Finds:
    """All that was found.

    Attributes:
        scans: to be used.
        ignored: what is no scan, or the same scan again.
        refused: what looks like a scan and cannot be used.
    """

    scans: tuple[FoundScan, ...]
    ignored: tuple[Passed, ...] = ()
    refused: tuple[Passed, ...] = ()


def id_of_path(path: PurePath) -> str:
    """An id made of a relative path: its parts joined by ``_``, with ``_`` for what cannot be part of a file name.

    One that is too long keeps its beginning, with a hash of the whole.

    Example:
        >>> id_of_path(PurePath("patient 1/ct/scan.nii.gz"))
        'patient_1_ct_scan'
    """
    whole = without_ending(path.as_posix())
    name = ILLEGAL.sub("_", whole.replace("/", "_")).strip(".") or "scan"
    if len(name) <= MAX_LENGTH // 2:
        return name
    kept = name[: MAX_LENGTH // 2 - DIGITS - 1].rstrip(".")
    return f"{kept}_{sha256(whole.encode()).hexdigest()[:DIGITS]}"


def passed_in_words(passed: Sequence[Passed], root: Path) -> list[str]:
    """One line for each kind: how many, and the first of them.

    Args:
        passed: ignored or refused.
        root: paths are told relative to it.
    """
    counts = Counter(one.kind for one in passed)
    lines = []
    for kind, count in counts.most_common():
        first = [_relative(one.path, root) for one in passed if one.kind == kind][:SHOWN]
        lines.append(f"{count} {kind}: {', '.join(first)}{' ...' if count > len(first) else ''}")
    return lines


def hashed(text: str) -> str:
    """An id that tells nothing of what it was made of."""
    return f"s{sha256(text.encode()).hexdigest()[:HASHED]}"


def unshared(names: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Of each scan's names those that no other scan has too."""
    everyone = [list(dict.fromkeys(own)) for own in names]
    counts = Counter(name for own in everyone for name in own)
    return [tuple(name for name in own if counts[name] == 1) for own in everyone]


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) and path != root else path).as_posix()
