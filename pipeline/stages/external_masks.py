"""Label maps of another tool as the organs of a run's scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from organcam.segmentation import (
    HEART_MEDIASTINUM,
    ORGANS,
    Flag,
    OrganSegmentation,
    Quality,
    external_organs,
    segment_organs,
)
from organcam.segmentation.external import STRUCTURES

from ..data.readers import VOLUME_SUFFIXES, read_volume, volume_suffix
from ..data.volume import Volume
from ..errors import ConfigError, DataError
from ..runner import fingerprint_value

__all__ = ["MaskFolder", "mask_stamp", "organs_from_mask", "structure_files"]

USUAL_ENDINGS = ("organs", "seg", "mask", "segmentation")


class MaskFolder:
    """The label maps of a folder, listed once.

    Args:
        folder: holds ``<id>`` or ``<id>_<anything>`` with the suffix of a volume for every scan, or a folder ``<id>``
            of TotalSegmentator's output: one file a structure, or one label map.

    Raises:
        ConfigError: if the folder is not there.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            msg = f"segment.external: no such folder: {folder}"
            raise ConfigError(msg)
        self._folder = folder
        self._by_stem: dict[str, list[Path]] = {}
        self._structures: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                self._keep_structures(path)
                continue
            suffix = volume_suffix(path)
            if suffix in VOLUME_SUFFIXES and path.is_file():
                self._by_stem.setdefault(path.name[: -len(suffix)], []).append(path)

    def _keep_structures(self, folder: Path) -> None:
        """Remember a scan's folder of one file a structure, or of one label map."""
        for inner in (folder, folder / "segmentations"):
            if inner.is_dir() and structure_files(inner):
                self._structures[folder.name] = inner
                return
        maps = [path for path in sorted(folder.iterdir()) if volume_suffix(path) in VOLUME_SUFFIXES and path.is_file()]
        for path in maps:
            self._by_stem.setdefault(folder.name, []).append(path)

    def find(self, scan_id: str) -> Path:
        """The label map of a scan, or its folder of one file a structure.

        Raises:
            DataError: if the scan has none, or more than one.
        """
        if scan_id in self._structures and scan_id not in self._by_stem:
            return self._structures[scan_id]
        for wanted in (scan_id, *(f"{scan_id}_{word}" for word in USUAL_ENDINGS)):
            found = self._by_stem.get(wanted, [])
            if len(found) == 1:
                return found[0]
        stems = [stem for stem in self._by_stem if stem == scan_id or stem.startswith(f"{scan_id}_")]
        found = [path for stem in stems for path in self._by_stem[stem]]
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            msg = f"expected one label map '{scan_id}.*' or '{scan_id}_*.*' in {self._folder}, found {names}"
            raise DataError(msg)
        return found[0]


def structure_files(folder: Path) -> dict[str, tuple[Path, ...]]:
    """TotalSegmentator's files of each organ in a folder; empty where it holds none."""
    found = {path.name[: -len(suffix)]: path for path in folder.iterdir() if (suffix := volume_suffix(path))}
    organs = {organ: tuple(found[name] for name in names if name in found) for organ, names in STRUCTURES.items()}
    return organs if any(organs.values()) else {}


def mask_stamp(path: Path) -> str:
    """Name, size and time of a label map, or of every file of a folder: what a segmentation made of it depends on."""
    files = [file for part in structure_files(path).values() for file in part] if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files]
    if not path.is_dir():
        return fingerprint_value([stats[0][0], stats[0][1].st_size, stats[0][1].st_mtime_ns])
    return fingerprint_value([[name, found.st_size, found.st_mtime_ns] for name, found in stats])


def _joined_structures(folder: Path, axes: str) -> tuple[Volume, dict[str, tuple[int, ...]]]:
    """One label map of a folder's structures, in the order of the organs, and the table of its values.

    Raises:
        DataError: if a lung is missing, or the files are not on one grid.
    """
    files = structure_files(folder)
    missing = [organ for organ in ("right_lung", "left_lung") if not files[organ]]
    if missing:
        names = ", ".join(STRUCTURES[missing[0]])
        msg = f"{folder}: no file of the {missing[0].replace('_', ' ')}; expected {names}"
        raise DataError(msg)
    joined: Volume | None = None
    # The heart first: where structures overlap the lungs win, as in a label map.
    for value, organ in reversed(list(enumerate(ORGANS, start=1))):
        for path in files[organ]:
            part = read_volume(path).reoriented(axes)
            if joined is None:
                joined = Volume(np.zeros(part.array.shape, np.uint8), part.affine)
            if part.array.shape != joined.array.shape or not np.allclose(part.affine, joined.affine, atol=1e-3):
                msg = f"{path}: it is on another grid than the other structures of {folder}"
                raise DataError(msg)
            joined.array[part.array > 0] = value
    assert joined is not None
    return joined, {organ: (value,) if files[organ] else () for value, organ in enumerate(ORGANS, start=1)}


def organs_from_mask(volume: Volume, path: Path, table: Mapping[str, Sequence[int]]) -> OrganSegmentation:
    """Organs from a label map or a folder of structures, in the voxels of the CT, whatever the order of its axes.

    ``table`` holds the values of each organ (`read_value_table`).
    A table without heart and mediastinum (lungmask) leaves that organ to our own segmentation, with a note.

    Raises:
        DataError: if the map is on another grid, or holds none of the table's values.
    """
    if path.is_dir():
        mask, table = _joined_structures(path, volume.axes)
    else:
        mask = read_volume(path).reoriented(volume.axes)
    try:
        organs = external_organs(
            mask.array, affine=mask.affine, table=table, ct_shape=volume.array.shape, ct_affine=volume.affine
        )
    except ValueError as error:
        msg = f"{path}: {error}"
        raise DataError(msg) from None
    return organs if table["heart_mediastinum"] else _with_own_heart(organs, volume)


def _with_own_heart(organs: OrganSegmentation, volume: Volume) -> OrganSegmentation:
    own = segment_organs(volume.array, affine=volume.affine)
    labels = organs.labels.copy()
    labels[(labels == 0) & (own.labels == HEART_MEDIASTINUM)] = HEART_MEDIASTINUM
    count = int((labels == HEART_MEDIASTINUM).sum())
    heart_ml = count * abs(float(np.linalg.det(volume.affine[:3, :3]))) / 1000.0
    sentence = "The external masks hold no heart: heart and mediastinum are organcam's own."
    flags = [Flag("heart_from_organcam", heart_ml, 0.0, sentence, "note")]
    if own.rough or not count:
        bad = "The external masks hold no heart, and none was found: the scan has no usable heart and mediastinum."
        flags = [Flag("heart_small", heart_ml, 0.0, bad)]
    quality = Quality((*organs.quality.flags, *flags), {**organs.quality.measures, "heart_mediastinum_ml": heart_ml})
    return replace(organs, labels=labels, quality=quality)
