"""Label maps of another tool as the organs of a run's scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from organcam.segmentation import HEART_MEDIASTINUM, Flag, OrganSegmentation, Quality, external_organs, segment_organs

from ..data.readers import VOLUME_SUFFIXES, read_volume, volume_suffix
from ..data.volume import Volume
from ..errors import ConfigError, DataError
from ..runner import fingerprint_value

__all__ = ["MaskFolder", "mask_stamp", "organs_from_mask"]

USUAL_ENDINGS = ("organs", "seg", "mask", "segmentation")


class MaskFolder:
    """The label maps of a folder, listed once.

    Args:
        folder: holds ``<id>`` or ``<id>_<anything>`` with the suffix of a volume for every scan.

    Raises:
        ConfigError: if the folder is not there.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            msg = f"segment.external: no such folder: {folder}"
            raise ConfigError(msg)
        self._folder = folder
        self._by_stem: dict[str, list[Path]] = {}
        for path in sorted(folder.iterdir()):
            suffix = volume_suffix(path)
            if suffix in VOLUME_SUFFIXES and path.is_file():
                self._by_stem.setdefault(path.name[: -len(suffix)], []).append(path)

    def find(self, scan_id: str) -> Path:
        """The label map of a scan.

        Raises:
            DataError: if the scan has none, or more than one.
        """
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


def mask_stamp(path: Path) -> str:
    """Name, size and time of a label map: what a segmentation made of it depends on."""
    stats = path.stat()
    return fingerprint_value([path.name, stats.st_size, stats.st_mtime_ns])


def organs_from_mask(volume: Volume, path: Path, table: Mapping[str, Sequence[int]]) -> OrganSegmentation:
    """Organs from a label map, in the voxels of the CT, whatever the order of the map's axes.

    ``table`` holds the values of each organ (`read_value_table`).
    A table without heart and mediastinum (lungmask) leaves that organ to our own segmentation, with a note.

    Raises:
        DataError: if the map is on another grid, or holds none of the table's values.
    """
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
    quality = Quality((*organs.quality.flags, *flags), {**organs.quality.measures, "heart_ml": heart_ml})
    return replace(organs, labels=labels, quality=quality)
