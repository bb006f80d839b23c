"""What a folder or table of scans holds, as a run would take it: what was found, what is missing, what is odd."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from .data.coverage import coverage_problem
from .data.discover import look_for_scans
from .data.found import Finds, FoundScan, passed_in_words
from .data.images import read_image_size
from .data.readers import read_geometry, source_files, volume_suffix
from .data.records import duplicates
from .data.volume import Volume
from .errors import ConfigError, DataError, some_of
from .runner import safe_id
from .runner.disk import readable_size

__all__ = ["describe_data"]

LOOKED_AT = 200
"""Scans whose headers are read, spread over all of them; the rest of a hospital's archive would take hours."""
NAMED = 3

Headers = Callable[[Sequence[FoundScan]], Iterator[tuple[str, str, str]]]
"""What the headers of some scans tell."""


def describe_data(images: Path) -> list[dict[str, str]]:
    """One row a fact: ``kind`` (found, missing, odd, ignored, refused), ``what``, ``detail``.

    Args:
        images: as ``data.images``: a folder, a CSV or a file.

    Raises:
        ConfigError: if there is no scan, or a table cannot be read.
    """
    finds, of_images = _look(images.absolute())
    headers = _image_headers if of_images else _headers
    return [
        {"kind": kind, "what": what, "detail": detail}
        for kind, what, detail in [
            *_found(finds.scans, of_images),
            *_missing(finds.scans),
            *_odd(finds.scans, headers),
            *_passed(finds, images),
        ]
    ]


def _look(images: Path) -> tuple[Finds, bool]:
    """What is there, and whether it is 2D images: those of a folder in which there is no volume."""
    try:
        finds = look_for_scans(images)
    except ConfigError:
        if not images.is_dir():
            raise
        finds = Finds(())
    if finds.scans or not images.is_dir():
        return finds, False
    try:
        return look_for_scans(images, kind="images"), True
    except ConfigError:
        return (finds, False) if finds.refused else (look_for_scans(images), False)


def _found(scans: Sequence[FoundScan], of_images: bool) -> Iterator[tuple[str, str, str]]:
    what = "2D images (data.kind: images)" if of_images else "scans"
    yield "found", what, f"{len(scans)}: {some_of([scan.scan_id for scan in scans], NAMED)}" if scans else "none"
    kinds = Counter(
        "DICOM series" if not of_images and _is_dicom(scan.image) else volume_suffix(scan.image) for scan in scans
    )
    yield "found", "formats", ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    patients = Counter(scan.patient_id for scan in scans)
    several = sum(count > 1 for count in patients.values())
    yield "found", "patients", f"{len(patients)}, {several} of them with several scans"
    if splits := Counter(scan.split for scan in scans if scan.split):
        yield "found", "splits", ", ".join(f"{split} {count}" for split, count in splits.items())


def _missing(scans: Sequence[FoundScan]) -> Iterator[tuple[str, str, str]]:
    gone = [scan.scan_id for scan in scans if not _is_there(scan.image)]
    if gone:
        yield "missing", "files", f"{len(gone)}: {some_of(gone, NAMED)}"


def _odd(scans: Sequence[FoundScan], headers: Headers) -> Iterator[tuple[str, str, str]]:
    if twice := duplicates(scan.scan_id for scan in scans):
        yield "odd", "ids that occur twice", f"{len(twice)}: {some_of(twice, NAMED)}"
    if unsafe := [scan.scan_id for scan in scans if not _is_safe(scan.scan_id)]:
        yield "odd", "ids that cannot be file names", f"{len(unsafe)}: {some_of(unsafe, NAMED)}"
    yield from headers([scan for scan in scans[:: max(1, len(scans) // LOOKED_AT)] if _is_there(scan.image)])


def _headers(scans: Sequence[FoundScan]) -> Iterator[tuple[str, str, str]]:
    sizes, spacings, shapes = [], [], []
    unreadable: dict[str, str] = {}
    small: dict[str, str] = {}
    for scan in scans:
        try:
            shape, affine = read_geometry(scan.image)
            sizes.append(sum(file.stat().st_size for file in source_files(scan.image)))
        except (DataError, OSError) as error:
            unreadable[scan.scan_id] = str(error)
            continue
        grid = Volume(np.broadcast_to(np.int8(0), shape), affine).reoriented()
        shapes.append(grid.array.shape)
        spacings.append(grid.spacing)
        if problem := coverage_problem(shape, affine):
            small[scan.scan_id] = problem
    if shapes:
        looked = f"of {len(shapes)} headers read"
        yield "found", "slices, rows, columns", f"{_range(shapes, '.0f')} ({looked})"
        yield "found", "voxel size in mm", f"{_range(spacings, '.3g')} ({looked})"
        yield "found", "file size", f"{readable_size(float(np.mean(sizes)))} on average ({looked})"
    yield from _told("headers that cannot be read", unreadable)
    yield from _told("scans that can hold no whole chest", small)


def _image_headers(scans: Sequence[FoundScan]) -> Iterator[tuple[str, str, str]]:
    sizes, pixels = [], []
    unreadable: dict[str, str] = {}
    for scan in scans:
        try:
            pixels.append(read_image_size(scan.image))
            sizes.append(scan.image.stat().st_size)
        except (DataError, OSError) as error:
            unreadable[scan.scan_id] = str(error)
    if pixels:
        looked = f"of {len(pixels)} headers read"
        yield "found", "rows, columns", f"{_range(pixels, '.0f')} ({looked})"
        yield "found", "file size", f"{readable_size(float(np.mean(sizes)))} on average ({looked})"
    yield from _told("headers that cannot be read", unreadable)


def _told(what: str, problems: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    if problems:
        first = "; ".join(f"{name}: {problem}" for name, problem in list(problems.items())[:NAMED])
        yield "odd", what, f"{len(problems)}: {first}"


def _passed(finds: Finds, images: Path) -> Iterator[tuple[str, str, str]]:
    root = images.absolute()
    for kind, passed in (("refused", finds.refused), ("ignored", finds.ignored)):
        for line in passed_in_words(passed, root):
            what, _, which = line.partition(": ")
            yield kind, what, which


def _range(rows: Sequence[Sequence[float]], form: str) -> str:
    """Lowest to highest along each axis."""
    low, high = np.min(rows, axis=0), np.max(rows, axis=0)
    ends = [(f"{a:{form}}", f"{b:{form}}") for a, b in zip(low, high, strict=True)]
    return " x ".join(a if a == b else f"{a} to {b}" for a, b in ends)


def _is_dicom(image: Path) -> bool:
    return image.is_dir() or not volume_suffix(image) or volume_suffix(image) in (".dcm", ".ima")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False


def _is_safe(scan_id: str) -> bool:
    try:
        safe_id(scan_id)
    except DataError:
        return False
    return True
