"""What a DICOM file's first elements tell, without a library: which series, study and patient, and of what kind.

A folder of a hospital holds hundreds of thousands of slices, and each has to be asked to which series it belongs.
pydicom takes about ten times as long for that, GDCM (SimpleITK) too, and GDCM tells nothing of a file whose pixels
are cut off. Only the elements up to the number of columns are looked at, in order; those of sequences are passed over.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

__all__ = ["DicomFacts", "anonymous", "has_preamble", "is_whole", "read_facts"]

IMPLICIT, BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
WANTED = {
    0x00020010: "syntax",
    0x00080008: "image_type",
    0x00080016: "storage",
    0x00080018: "instance",
    0x00080050: "accession",
    0x00080060: "modality",
    0x00100020: "patient",
    0x0020000D: "study",
    0x0020000E: "series",
    0x00200037: "orientation",
    0x00280008: "frames",
}
META_END, LAST, PIXELS = 0x00030000, 0x00280011, 0x7FE00010
FIRST_READ, MOST_READ = 1 << 13, 1 << 20
LONG_TYPES = (b"OB", b"OD", b"OF", b"OL", b"OW", b"OV", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
TYPES = frozenset(LONG_TYPES) | {
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"),
    *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
}
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
DEEPEST = 16
AXIAL = 0.8
"""Least part of the direction across the slices that points from head to feet (37 degrees off); beyond it a series is
coronal, sagittal or an oblique reformat. Slices of a tilted gantry lie at up to 30 degrees."""


@dataclass(frozen=True)
class DicomFacts:
    """Header fields as text, empty where there are none. ``patient`` and ``accession`` are for no message and no file.

    ``orientation`` holds six cosines, ``frames`` a number, ``image_type`` words between backslashes.
    """

    syntax: str = ""
    image_type: str = ""
    storage: str = ""
    instance: str = ""
    accession: str = ""
    modality: str = ""
    patient: str = ""
    study: str = ""
    series: str = ""
    orientation: str = ""
    frames: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The words of the image type, in capitals."""
        return tuple(word.strip().upper() for word in self.image_type.split("\\"))

    @property
    def is_multiframe(self) -> bool:
        """Whether one file holds several slices."""
        return self.frames.strip().isdecimal() and int(self.frames) > 1

    @property
    def is_axial(self) -> bool:
        """Whether slices lie across the body, as far as the header tells."""
        try:
            cosines = np.array([float(value) for value in self.orientation.split("\\")])
        except ValueError:
            return True
        if cosines.shape != (6,):
            return True
        return bool(abs(np.cross(cosines[:3], cosines[3:])[2]) >= AXIAL)


def anonymous(text: str) -> str:
    """Twelve hexadecimal characters in place of a name that must not be seen: equal for equal names, and no way back
    but by trying all names. Numbers of patients are few enough to be tried: this hides them from eyes, not from an
    attacker."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


def has_preamble(file: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_facts(file: Path) -> DicomFacts | None:
    """The facts of a file; None where it does not begin as DICOM files do. What a cut header lacks is empty.

    Raises:
        OSError: if it cannot be read.
    """
    with file.open("rb") as stream:
        start = stream.read(FIRST_READ)
        if start[128:132] != b"DICM":
            return None
        found, complete = _scan(start)
        if not complete and len(start) == FIRST_READ:  # long private elements before the ones looked for
            found, _ = _scan(start + stream.read(MOST_READ - FIRST_READ))
    return DicomFacts(**found)


def is_whole(file: Path) -> bool:
    """Whether a file has pixels, and the lengths of all its elements lie within it.

    GDCM takes the memory that a length asks for before it looks whether the file has so much, and does not give it back
    where reading fails: gigabytes for a damaged file of a few kilobytes.

    Raises:
        OSError: if it cannot be read.
    """
    data = file.read_bytes()
    if data[128:132] != b"DICM":
        return False
    found: dict[str, str] = {}
    try:
        position = _collect(data, 132, True, False, META_END, found)
        syntax = found.get("syntax", "")
        if syntax == DEFLATED:
            return True
        explicit, big, seen = syntax != IMPLICIT, syntax == BIG_ENDIAN, False
        while True:
            tag, length, value = _element(data, position, explicit, big)
            if explicit and data[position + 4 : position + 6] not in TYPES:  # it would be taken for another length
                return False
            position, seen = _after(data, value, length, explicit, big, 0), seen or tag == PIXELS
            if position >= len(data) or (seen and not any(data[position : position + 8])):  # zeros fill up some files
                return seen and position <= len(data)
    except _CutError:
        return False


class _CutError(Exception):
    """The bytes end inside an element."""


def _scan(data: bytes) -> tuple[dict[str, str], bool]:
    """The wanted elements, and whether the last of them was reached."""
    found: dict[str, str] = {}
    try:
        position = _collect(data, 132, True, False, META_END, found)
        syntax = found.get("syntax", "")
        if syntax == DEFLATED:
            data, position = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[position:], MOST_READ), 0
        _collect(data, position, syntax != IMPLICIT, syntax == BIG_ENDIAN, LAST, found)
    except (_CutError, zlib.error):
        return found, False
    return found, True


def _collect(data: bytes, position: int, explicit: bool, big: bool, end: int, found: dict[str, str]) -> int:
    """Put the wanted elements before the tag ``end`` into ``found``; returns where that one begins."""
    while True:
        tag, length, value = _element(data, position, explicit, big)
        if tag >= end:
            return position
        if tag in WANTED and length != UNDEFINED:
            if value + length > len(data):
                raise _CutError
            found[WANTED[tag]] = data[value : value + length].decode("latin-1").strip("\0 ")
        position = _after(data, value, length, explicit, big, 0)


def _element(data: bytes, position: int, explicit: bool, big: bool) -> tuple[int, int, int]:
    """Tag, length and the place of the value of the element at a place."""
    if position + 8 > len(data):
        raise _CutError
    order: Literal["big", "little"] = "big" if big else "little"
    group = int.from_bytes(data[position : position + 2], order)
    tag = group << 16 | int.from_bytes(data[position + 2 : position + 4], order)
    if not explicit or group == 0xFFFE:
        return tag, int.from_bytes(data[position + 4 : position + 8], order), position + 8
    if data[position + 4 : position + 6] in LONG_TYPES:
        if position + 12 > len(data):
            raise _CutError
        return tag, int.from_bytes(data[position + 8 : position + 12], order), position + 12
    return tag, int.from_bytes(data[position + 6 : position + 8], order), position + 8


def _after(data: bytes, value: int, length: int, explicit: bool, big: bool, depth: int) -> int:
    """Where the next element begins; sequences of undefined length are gone through to their end."""
    if length != UNDEFINED:
        return value + length
    if depth > DEEPEST:
        raise _CutError
    position = value
    while True:
        tag, inner, start = _element(data, position, explicit, big)
        if tag in (ITEM_END, SEQUENCE_END):
            return start
        position = _after(data, start, inner, explicit, big, depth + 1)
