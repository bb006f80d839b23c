"""A series of DICOM slices as one volume, refused where header facts say that slices are missing or of something else.

A series is named by its folder, or, where a folder holds several, by one of its files.

GDCM passes over files it cannot read and stacks what is left as if it were evenly spaced, so that a series cut short
becomes a shorter scan without a word. What tells: a CT file of the folder that is in no series, a second patient or a
second volume beside the first, instance numbers that begin late or leave gaps, counts of images that the header
states, positions that are uneven, files smaller than their pixels. Slices removed from the end of a series that states
no count leave no trace in the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..limits import check_voxels
from .dicom_header import AXIAL, has_preamble, read_facts
from .itk import affine_of

__all__ = ["dicom_files", "is_bystander", "read_geometry", "read_series"]

NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")  # transfer syntaxes without compression
PIXEL_DATA, PIXEL_DATA_BIG = b"\xe0\x7f\x10\x00", b"\x7f\xe0\x00\x10"
PIXEL_HEADER = 12
NO_CT = re.compile(r"1\.2\.840\.10008\.(1\.3\.10|5\.1\.4\.1\.1\.(7|9|11|66|67|88|104|481)(\.[\d.]+)?)")
"""Storage classes that lie beside a series: directories, screen shots, waveforms, presentation states, segmentations,
reports, documents, radiotherapy. A file of any other that cannot be read may be a slice."""
COUNTS = {
    "0020|1002": "ImagesInAcquisition",
    "0020|1209": "NumberOfSeriesRelatedInstances",
    "0054|0081": "NumberOfSlices",
}
BYSTANDERS = (".txt", ".csv", ".json", ".xml", ".md", ".htm", ".html", ".pdf", ".jpg", ".jpeg", ".png", ".ini", ".log")
BYSTANDER_NAMES = ("dicomdir", "license", "readme", "version", "thumbs.db")
UNEVEN, DOUBLE = 1.5, 0.1
"""Of the usual distance between slices: above it slices are missing, below it two lie at one place."""
TILTED = 0.02
"""Sine of the angle between the row of slices and their normal (1.1 degrees) above which the grid is no box."""
REMEDY = "if the series is whole, convert it to NIfTI with a tool that you trust"


@dataclass(frozen=True)
class _Slice:
    file: Path
    tags: dict[str, str]
    position: NDArray[np.float64]
    direction: tuple[float, ...]
    spacing: tuple[float, ...]
    size: tuple[int, ...]

    def number(self, tag: str, kind: Callable[[str], Any] = float) -> Any:
        """The value of a tag as a number; None where it is absent or none."""
        try:
            return kind(self.tags.get(tag, "").split("\\")[0])
        except ValueError:
            return None

    @property
    def frames(self) -> int:
        return self.number("0028|0008", int) or 1

    @property
    def normal(self) -> NDArray[np.float64]:
        normal: NDArray[np.float64] = np.asarray(self.direction).reshape(3, 3)[:, 2]
        return normal

    @property
    def is_localizer(self) -> bool:
        return "LOCALIZER" in self.tags.get("0008|0008", "").upper()


def read_series(path: Path, max_voxels: int) -> tuple[NDArray, NDArray[np.float64]]:
    """The volume ``[x, y, z]`` of a series and its affine.

    Args:
        path: the folder of one series, or a file of the series that is meant.
        max_voxels: a larger one is refused.

    Raises:
        DataError: naming the file, if there is no series, more than one volume in a folder, or less than a whole one.
    """
    import SimpleITK as sitk  # noqa: PLC0415 - 0.3 s that NIfTI users need not pay

    slices = _whole_series(path)
    check_voxels(path, _shape(slices), max_voxels)
    if len(slices) == 1:
        image = sitk.ReadImage(str(slices[0].file))
    else:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(one.file) for one in slices])
        image = reader.Execute()
    if image.GetNumberOfComponentsPerPixel() != 1:
        msg = f"{path}: holds {image.GetNumberOfComponentsPerPixel()} values a voxel; a CT has one"
        raise DataError(msg)
    return sitk.GetArrayFromImage(image).transpose(), affine_of(
        image.GetOrigin(), image.GetSpacing(), image.GetDirection()
    )


def read_geometry(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Shape and affine of a series, by its headers alone.

    Raises:
        DataError: as `read_series`.
    """
    slices = _whole_series(path)
    first, last = slices[0], slices[-1]
    affine = affine_of(first.position, first.spacing, first.direction)
    if len(slices) > 1:
        affine[:3, 2] = np.diag([-1.0, -1.0, 1.0]) @ (last.position - first.position) / (len(slices) - 1)
    return _shape(slices), affine


def dicom_files(path: Path) -> list[Path]:
    """Files of a folder, hidden ones aside; of a file those of its folder that belong to the same series.

    Raises:
        DataError: if the file says of no series that it belongs to it.
    """
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    series = _series_of_files(path.parent, path.parent.stat().st_mtime_ns)
    wanted = series.get(path.name, "")
    if not wanted:
        msg = f"{path}: says of no DICOM series that it belongs to it"
        raise DataError(msg)
    return [path.parent / name for name, other in series.items() if other == wanted]


def is_bystander(file: Path) -> bool:
    """Whether a file's name says that it is a text, a table or a picture, such as lie beside slices."""
    return file.suffix.lower() in BYSTANDERS or file.name.lower().startswith(BYSTANDER_NAMES)


@lru_cache(maxsize=2)
def _series_of_files(folder: Path, changed: int) -> dict[str, str]:
    """Names of a folder's files and the series each belongs to, empty where none is told; read once for all series.

    Args:
        folder: with slices of several series.
        changed: when files were last added or removed.
    """
    del changed
    found = {}
    for file in dicom_files(folder):
        facts = None if is_bystander(file) else read_facts(file)
        found[file.name] = facts.series if facts else ""
    return found


def _shape(slices: Sequence[_Slice]) -> tuple[int, ...]:
    width, height = slices[0].size[:2]
    return (width, height, len(slices) * slices[0].frames)


def _whole_series(path: Path) -> list[_Slice]:
    """The slices of the one volume that is meant, in the order of their positions, all checks passed."""
    series, unread = _read_headers(path) if path.is_dir() else _read_one_of_several(path)
    if unread:
        msg = f"{path}: {len(unread)} of its files cannot be read or are cut short, the first is {unread[0].name}"
        raise DataError(msg)
    if not series:
        msg = f"{path}: a folder without a readable DICOM series"
        raise DataError(msg)
    _check_patients(path, series)
    slices = sorted(_only_volume(path, series), key=_along_normal)
    _check_kind(path, slices[0])
    _check_sizes(path, slices)
    if len(slices) > 1:
        _check_numbers(path, slices)
        _check_counts(path, slices)
        _check_positions(path, slices)
    return slices


def _read_one_of_several(path: Path) -> tuple[list[list[_Slice]], list[Path]]:
    """One series of a folder of several, and the files of it that cannot be read.

    A file that cannot be read and tells no series may be a slice of the series on either side of it in the order of
    names, and counts as one of both.
    """
    read = {file: _read_header(file) for file in dicom_files(path)}
    endings = {file.suffix.lower() for file in read}
    unread = [file for file, found in read.items() if found is None]
    names = _series_of_files(path.parent, path.parent.stat().st_mtime_ns)
    before, between = "", list[Path]()
    for name, series in [*names.items(), ("", "the end")]:
        if series:
            if names[path.name] in (before, series):
                unread += [file for file in between if _is_cut_slice(file, endings)]
            before, between = series, []
        else:
            between.append(path.parent / name)
    slices = [one for one in read.values() if one is not None]
    return ([slices] if slices else []), unread


def _along_normal(one: _Slice) -> float:
    return float(one.position @ one.normal)


def _read_headers(path: Path) -> tuple[list[list[_Slice]], list[Path]]:
    """All series of a folder, and the CT files that are in none because they cannot be read."""
    import SimpleITK as sitk  # noqa: PLC0415

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    series: list[list[_Slice]] = []
    listed: set[Path] = set()
    for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path)):
        slices = []
        for file in map(Path, sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), name)):
            found = _read_header(file)
            if found is not None:
                listed.add(file)
                slices.append(found)
        if slices:
            series.append(slices)
    endings = {file.suffix.lower() for file in listed}
    return series, [file for file in dicom_files(path) if file not in listed and _is_cut_slice(file, endings)]


def _read_header(file: Path) -> _Slice | None:
    import SimpleITK as sitk  # noqa: PLC0415

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None
    tags = {key: reader.GetMetaData(key).strip(" \0") for key in reader.GetMetaDataKeys()}
    if "0028|0010" not in tags:
        return None
    return _Slice(
        file, tags, np.asarray(reader.GetOrigin()), reader.GetDirection(), reader.GetSpacing(), reader.GetSize()
    )


def _is_cut_slice(file: Path, endings: set[str]) -> bool:
    """Whether a file that is in no series is a CT slice that cannot be read, and not a report or a licence beside."""
    ending = file.suffix.lower()
    if is_bystander(file):
        return False
    if not has_preamble(file):
        return file.stat().st_size == 0 or ending in {".dcm", ".ima"} or (ending in endings and ending != "")
    return not NO_CT.fullmatch(_storage_class(file))


def _storage_class(file: Path) -> str:
    """The kind of object a DICOM file holds, by its meta header (always explicit little endian); empty if cut off."""
    with file.open("rb") as stream:
        start = stream.read(1024)
    tag = start.find(b"\x02\x00\x02\x00UI")
    if tag < 0:
        return ""
    length = int.from_bytes(start[tag + 6 : tag + 8], "little")
    return start[tag + 8 : tag + 8 + length].strip(b"\0 ").decode("ascii", "replace")


def _check_patients(path: Path, series: Sequence[Sequence[_Slice]]) -> None:
    everyone = [one for slices in series for one in slices]
    first = everyone[0].tags.get("0010|0020", "")
    for one in everyone:
        if one.tags.get("0010|0020", "") != first:  # the ids themselves are not for messages
            msg = f"{path}: holds slices of more than one patient ({everyone[0].file.name} and {one.file.name})"
            raise DataError(msg)


def _only_volume(path: Path, series: Sequence[list[_Slice]]) -> list[_Slice]:
    """The series that is a volume; localizers and single pictures beside it are left out."""
    volumes = [slices for slices in series if not slices[0].is_localizer and (len(slices) > 1 or slices[0].frames > 1)]
    if len(volumes) > 1:
        counts = " and ".join(f"{len(slices)} slices ({slices[0].file.name})" for slices in volumes)
        msg = f"{path}: holds {len(volumes)} series, {counts}; name a file of the one that is meant"
        raise DataError(msg)
    chosen = volumes[0] if volumes else max(series, key=len)
    for one in (slices[0] for slices in series if slices is not chosen):
        if _continues(chosen, one):
            msg = f"{path}: {one.file.name} continues the series of {chosen[0].file.name} and belongs to another"
            raise DataError(msg)
    return chosen


def _continues(slices: Sequence[_Slice], one: _Slice) -> bool:
    """Whether a slice of another series lies next to the ends of this one, on its grid: a header was damaged."""
    same = one.size == slices[0].size and not one.is_localizer
    if not same or not np.allclose(one.direction, slices[0].direction, atol=1e-3):
        return False
    if not np.allclose(one.spacing[:2], slices[0].spacing[:2], rtol=1e-3):
        return False
    across = (one.position - slices[0].position) - slices[0].normal * ((one.position - slices[0].position) @ one.normal)
    places = sorted(map(_along_normal, slices))
    step = (places[-1] - places[0]) / max(len(places) - 1, 1)
    here = _along_normal(one)
    beyond = max(places[0] - here, here - places[-1])
    return bool(np.abs(across).max() < 1.0 and 0 < beyond < UNEVEN * step)


def _check_kind(path: Path, one: _Slice) -> None:
    """CT slices across the body, as far as the header tells."""
    modality = one.tags.get("0008|0060", "")
    if modality not in ("", "CT"):
        msg = f"{path}: its modality is {modality[:16]}, not CT"
        raise DataError(msg)
    right, front, head = np.abs(one.normal)
    if head < AXIAL:
        plane = "coronal" if front > AXIAL else "sagittal" if right > AXIAL else "oblique"
        msg = f"{path}: its slices are {plane}, reformatted from others; name the axial series"
        raise DataError(msg)


def _check_sizes(path: Path, slices: Sequence[_Slice]) -> None:
    first = slices[0]
    for one in slices:
        if one.size != first.size or not np.allclose(one.direction, first.direction, atol=1e-3):
            msg = f"{path}: the slices {first.file.name} and {one.file.name} differ in size or orientation"
            raise DataError(msg)
        pixels = one.size[0] * one.size[1] * one.frames * (one.number("0028|0100", int) or 16) // 8
        if one.tags.get("0002|0010", NATIVE[0]) in NATIVE and _pixel_bytes(one.file, pixels) < pixels:
            msg = f"{path}: {one.file.name} is cut short: its pixels alone take {pixels:,} bytes"
            raise DataError(msg)


def _pixel_bytes(file: Path, wanted: int) -> int:
    """Bytes that follow the header of the pixels, which are the last of a file's elements that matter."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(max(size - wanted, 0) + 2 * PIXEL_HEADER)
    tag = max(start.rfind(PIXEL_DATA), start.rfind(PIXEL_DATA_BIG))
    if tag < 0:
        return size
    named = start[tag + 4 : tag + 6] in (b"OW", b"OB")  # an explicit type takes four bytes more
    return size - tag - (PIXEL_HEADER if named else PIXEL_HEADER - 4)


def _check_numbers(path: Path, slices: Sequence[_Slice]) -> None:
    """Instance numbers are consecutive and begin with 0 or 1, where there are any."""
    numbered = {one.number("0020|0013", int): one for one in slices}
    if None in numbered:
        if len(numbered) > 1:
            msg = f"{path}: some slices have no instance number, such as {numbered[None].file.name}; {REMEDY}"
            raise DataError(msg)
        return
    present = sorted(numbered)
    if present[0] > 1:
        file = numbered[present[0]].file.name
        msg = (
            f"{path}: slices are missing: the instance numbers begin with {present[0]} ({file}), so that "
            f"{present[0] - 1} before it are not there; {REMEDY}"
        )
        raise DataError(msg)
    for before, after in pairwise(present):
        if after != before + 1:
            missing = present[-1] - present[0] + 1 - len(present)
            msg = (
                f"{path}: slices are missing: {missing} instance numbers, the first between {before} "
                f"({numbered[before].file.name}) and {after} ({numbered[after].file.name}); {REMEDY}"
            )
            raise DataError(msg)


def _check_counts(path: Path, slices: Sequence[_Slice]) -> None:
    for tag, name in COUNTS.items():
        stated = max((one.number(tag, int) or 0 for one in slices), default=0)
        if stated > len(slices):
            msg = f"{path}: slices are missing: {name} is {stated}, the folder holds {len(slices)}; {REMEDY}"
            raise DataError(msg)


def _check_positions(path: Path, slices: Sequence[_Slice]) -> None:
    """Slices lie evenly, one behind the other along their normal, as far apart as the header says."""
    steps = np.diff([one.position for one in slices], axis=0)
    gaps = np.linalg.norm(steps, axis=1)
    usual = float(np.median(gaps))
    widest, narrowest = int(gaps.argmax()), int(gaps.argmin())
    if gaps[narrowest] <= DOUBLE * usual:
        pair = f"{slices[narrowest].file.name} and {slices[narrowest + 1].file.name}"
        msg = f"{path}: two slices lie at one place ({pair}): more than one scan in a series?"
        raise DataError(msg)
    if gaps[widest] > UNEVEN * usual:
        msg = (
            f"{path}: slices are missing (gap of {gaps[widest]:.2f} mm where {usual:.2f} mm is usual, between "
            f"{slices[widest].file.name} and {slices[widest + 1].file.name})"
        )
        raise DataError(msg)
    across = np.cross(slices[-1].position - slices[0].position, slices[0].normal)
    if np.linalg.norm(across) > TILTED * gaps.sum():
        msg = f"{path}: its slices are tilted against their axis (gantry tilt); resample it to an upright grid first"
        raise DataError(msg)
    stated = slices[0].number("0018|0088")
    if stated and usual > UNEVEN * stated:
        msg = f"{path}: slices are missing: they lie {usual:.2f} mm apart, SpacingBetweenSlices is {stated:g} mm"
        raise DataError(msg)
    thickness = slices[0].number("0018|0050")
    if slices[0].number("0020|0013", int) is None and thickness and usual > UNEVEN * thickness:
        msg = (
            f"{path}: slices are perhaps missing: they are {thickness:g} mm thick and lie {usual:.2f} mm apart, and no "
            f"instance number tells that they are all; {REMEDY}"
        )
        raise DataError(msg)
