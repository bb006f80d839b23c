"""Scans of a folder as it lies on disk: volume files and DICOM series at any depth, side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Literal

from ..errors import ConfigError
from .ct_rate import ct_rate_scans
from .found import Finds, FoundScan, Passed, hashed, id_of_path, unshared
from .images import is_image_file
from .readers import VOLUME_SUFFIXES, volume_suffix
from .series import Choice, Series, choose_series, patient_of, report_names, series_of_folder

__all__ = ["IdRule", "scans_of_folder"]

IdRule = Literal["path", "hash", "accession"]
RUN_FILES = {"workflow.yaml", "run.json"}
VOXEL_FILES = (".raw", ".zraw", ".img")


def scans_of_folder(folder: Path, ids: IdRule = "path", choice: Choice = "best") -> Finds:
    """All scans of a folder and of the folders below it.

    Args:
        folder: hidden files and folders, and run directories inside it, are passed over.
        ids: what ids are made of: ``path`` (relative to the folder), ``hash`` of it (for names that tell who the
            patient is), or ``accession`` (DICOM: the accession number, which is asked for by this alone).
        choice: ``best`` takes one series of a DICOM study, ``all`` every axial original one.

    Returns:
        Scans by path. The patient is the DICOM header's, as a hash; of volume files (and where all headers name one
        patient, as anonymised ones do) the first folder below ``folder`` that tells scans apart, so that scans in one
        such folder never get into different splits. Where all volume files have CT-RATE's names, they are taken as that
        data set's.

    Raises:
        ConfigError: if there is no scan at all; it tells what there is.
    """
    volumes: list[Path] = []
    series: list[Series] = []
    ignored: list[Passed] = []
    for place, names in _walk(folder, ignored):
        own = dict.fromkeys(name for name in names if volume_suffix(name) in VOLUME_SUFFIXES)
        volumes += [place / name for name in own]
        stems = {PurePath(name).stem for name in own}
        rest = [name for name in names if name not in own and not _is_part(name, stems)]
        found, others = series_of_folder(place, rest) if rest else ([], [])
        series += found
        ignored += [Passed(file, f"files that are no scans ({file.suffix.lower() or 'no ending'})") for file in others]
    chosen, passed, refused = choose_series(series, choice)
    ignored += passed
    known = ct_rate_scans(volumes)
    of_ct_rate = len(known.scans) + len(known.others) == len(volumes)
    scans = [FoundScan(*scan) for scan in known.scans] if of_ct_rate else []
    ignored += [Passed(path, "further reconstructions of a study of CT-RATE") for path in known.others if of_ct_rate]
    scans += _named(folder, [] if of_ct_rate else volumes, chosen, ids)
    if not scans and not refused:
        what = f"; it holds {len(ignored)} other files and series" if ignored else ""
        what += " (2D images: set data.kind: images)" if any(is_image_file(one.path) for one in ignored) else ""
        msg = f"data.images: {folder} holds no volume ({', '.join(VOLUME_SUFFIXES)}) and no DICOM series{what}"
        raise ConfigError(msg)
    return Finds(tuple(sorted(scans, key=lambda scan: scan.image)), tuple(ignored), tuple(refused))


def _walk(folder: Path, ignored: list[Passed]) -> Iterator[tuple[Path, list[str]]]:
    """Every folder with the names of its files, links followed, none entered twice."""
    entered: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        ignored.append(Passed(Path(error.filename), "folders that cannot be read", str(error.strerror)))

    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        state = os.stat(place)
        if (state.st_dev, state.st_ino) in entered:
            folders.clear()
            continue
        entered.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if set(names) >= RUN_FILES and Path(place) != folder:
            folders.clear()
            ignored.append(Passed(Path(place), "run directories"))
            continue
        yield Path(place), sorted(name for name in names if not name.startswith("."))


def _is_part(name: str, stems: set[str]) -> bool:
    """Whether a file holds the voxels of a header beside it."""
    return name.lower().endswith(VOXEL_FILES) and PurePath(name).stem in stems


def _named(root: Path, volumes: Sequence[Path], series: Sequence[Series], ids: IdRule) -> list[FoundScan]:
    """Volume files and series with their ids, patients and the names that reports may have for them."""
    images = [*volumes, *(one.image for one in series)]
    headers = [*[None] * len(volumes), *(one.facts for one in series)]
    places = [PurePath(image.relative_to(root).as_posix()) for image in images]
    places = [place if place.parts else PurePath(root.name) for place in places]
    patients = _patients(places, [patient_of(header) if header else "" for header in headers])
    names = unshared(_names(place) for place in places)
    scans = []
    for image, header, place, patient, own in zip(images, headers, places, patients, names, strict=True):
        asked = header.accession if header and ids == "accession" else ""
        name = (
            id_of_path(PurePath(asked)) if asked else hashed(place.as_posix()) if ids == "hash" else id_of_path(place)
        )
        of_header = report_names(header) if header else ()
        scans.append(FoundScan(name, image, hashed(patient) if ids == "hash" else patient, also=(*of_header, *own)))
    return scans


def _patients(places: Sequence[PurePath], headers: Sequence[str]) -> list[str]:
    """The patient of each scan.

    Args:
        places: relative paths.
        headers: patients by DICOM header, empty for others. A volume file that lies in a folder with the series of one
            such patient is of that patient too.
    """
    folders = _folders_apart(places)
    told = set(headers) - {""}
    if len(told) == 1 and len(set(folders)) > 1:  # anonymised: one name for all
        return folders
    within: dict[str, set[str]] = {}
    for folder, header in zip(folders, headers, strict=True):
        within.setdefault(folder, set()).update({header} - {""})
    return [
        header or (next(iter(within[folder])) if len(within[folder]) == 1 else folder)
        for folder, header in zip(folders, headers, strict=True)
    ]


def _folders_apart(places: Sequence[PurePath]) -> list[str]:
    """The first folder that tells scans apart; a scan that lies in none is told by its own name."""
    depth = 0
    while all(len(place.parts) > depth + 1 for place in places) and len({p.parts[: depth + 1] for p in places}) == 1:
        depth += 1
    return [id_of_path(PurePath(place.parts[depth])) for place in places]


def _names(place: PurePath) -> list[str]:
    """What a report may call the scan at a place: its path, its file with and without ending, any of its folders."""
    without = [id_of_path(place), place.as_posix(), place.name, *reversed(place.parts[:-1])]
    ending = volume_suffix(place.name)
    stem = place.name[: -len(ending)] if ending in VOLUME_SUFFIXES else place.name
    return [*without, stem, place.as_posix()[: len(place.as_posix()) - len(place.name) + len(stem)]]
