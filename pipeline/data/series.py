"""Which DICOM series of each study is the scan: by header fields alone, before any pixel is read."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal

from .formats.dicom import is_bystander
from .formats.dicom_header import DicomFacts, anonymous, read_facts
from .found import Passed

__all__ = ["Choice", "Series", "choose_series", "patient_of", "report_names", "series_of_folder"]

READERS = 8
"""Threads that read headers: on a network disk a file takes milliseconds, in which nothing is computed."""

Choice = Literal["best", "all"]


@dataclass
class Series:
    """The slices of one series in one folder.

    Attributes:
        folder: they lie in.
        files: their names.
        facts: of the first.
        instances: hash over the ids of the slices, to know a copy.
        alone: whether no other volume lies in the folder.
    """

    folder: Path
    files: list[str]
    facts: DicomFacts
    instances: str = ""
    alone: bool = field(default=True)

    @property
    def image(self) -> Path:
        """What names it: its folder, or one of its files where the folder holds others too."""
        return self.folder if self.alone else self.folder / self.files[0]

    @property
    def is_volume(self) -> bool:
        """Whether it has several slices and is no localizer."""
        several = len(self.files) > 1 or self.facts.is_multiframe
        return several and "LOCALIZER" not in self.facts.kinds

    @property
    def fault(self) -> str:
        """Why it is no axial original CT volume; empty if it is one."""
        facts = self.facts
        if not facts.series:
            return "series of cut headers"
        if facts.modality not in ("", "CT"):
            return f"series of modality {facts.modality[:16]}"
        if "LOCALIZER" in facts.kinds:
            return "localizer series"
        if not self.is_volume:
            return "series of a single picture"
        if "DERIVED" in facts.kinds:
            return "derived series"
        return "" if facts.is_axial else "series reformatted to another plane"


def series_of_folder(folder: Path, names: Iterable[str]) -> tuple[list[Series], list[Path]]:
    """The DICOM series among some files of a folder, and the files that are none.

    Args:
        folder: where they lie.
        names: of the files, in order.
    """
    files = [folder / name for name in names]
    with ThreadPoolExecutor(READERS) as pool:
        facts = list(pool.map(_facts, files)) if len(files) > 1 else list(map(_facts, files))
    found: dict[str, list[tuple[str, DicomFacts]]] = {}
    for file, one in zip(files, facts, strict=True):
        if one is not None:
            found.setdefault(one.series, []).append((file.name, one))
    if len(found) > 1:  # cut headers: they are missed where the other series of the folder are read
        found.pop("", None)
    series = [
        Series(folder, [name for name, _ in slices], slices[0][1], _instances(one for _, one in slices))
        for slices in found.values()
    ]
    volumes = sum(one.is_volume for one in series)
    for each in series:
        each.alone = volumes < 2
    return series, [file for file, one in zip(files, facts, strict=True) if one is None]


def choose_series(series: Iterable[Series], choice: Choice) -> tuple[list[Series], list[Passed], list[Passed]]:
    """The scans among all series: of each study the axial original one with most slices, or all such series.

    Args:
        series: of all folders.
        choice: ``best`` or ``all``.

    Returns:
        What to use, what to ignore, and what to refuse: studies without a usable series, and series that lie in several
        folders.
    """
    whole, ignored, refused = _without_copies(series)
    studies: dict[tuple[str, str], list[Series]] = {}
    for one in whole:
        studies.setdefault((one.facts.patient, one.facts.study or str(one.folder)), []).append(one)
    chosen: list[Series] = []
    for own in studies.values():
        good = sorted((one for one in own if not one.fault), key=_size, reverse=True)
        taken = good[:1] if choice == "best" else good
        chosen += taken
        for one in own:
            if one.fault and not taken and one.is_volume:
                refused.append(
                    Passed(one.image, one.fault, f"the study holds no axial original CT series, only a {one.fault}")
                )
            elif one.fault:
                ignored.append(Passed(one.image, one.fault))
        for one in good[len(taken) :]:
            ignored.append(Passed(one.image, "series of a study whose other series has as many slices or more"))
    return sorted(chosen, key=lambda one: one.image), ignored, refused


def _facts(file: Path) -> DicomFacts | None:
    if is_bystander(file):
        return None
    try:
        return read_facts(file)
    except OSError:  # told when the scan is read
        return None


def _instances(slices: Iterable[DicomFacts]) -> str:
    return sha256("\n".join(sorted(one.instance for one in slices)).encode()).hexdigest()


def _size(one: Series) -> int:
    return len(one.files)


def _without_copies(series: Iterable[Series]) -> tuple[list[Series], list[Passed], list[Passed]]:
    by_name: dict[str, list[Series]] = {}
    for one in series:
        by_name.setdefault(one.facts.series or str(one.folder), []).append(one)
    whole: list[Series] = []
    ignored: list[Passed] = []
    refused: list[Passed] = []
    for own in by_name.values():
        first, *others = own
        different = [one for one in others if one.instances != first.instances]
        if different:
            told = f"slices of one series lie in {len(own)} folders ({first.folder.name}, {different[0].folder.name})"
            refused.append(Passed(first.image, "series spread over folders", f"{told}; put them into one"))
            continue
        whole.append(first)
        ignored += [Passed(one.image, "copy of a series in another folder") for one in others]
    return whole, ignored, refused


def patient_of(facts: DicomFacts) -> str:
    """A patient's name that tells nothing; empty where the header has none."""
    return f"p{anonymous(facts.patient)}" if facts.patient else ""


def report_names(facts: DicomFacts) -> tuple[str, ...]:
    """Names under which a report may stand, the likeliest first."""
    return tuple(name for name in (facts.accession, facts.study, facts.series) if name)
