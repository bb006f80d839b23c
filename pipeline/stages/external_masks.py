"""Label maps of another tool as the organs of a run's scans."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from organcam.segmentation import HEART_MEDIASTINUM, Flag, OrganSegmentation, Quality, external_organs, segment_organs

from ..data.readers import VOLUME_SUFFIXES, read_volume, volume_suffix
from ..data.volume import Volume
from ..errors import ConfigError, DataError

__all__ = ["find_mask", "mask_stamp", "organs_from_mask"]


USUAL_ENDINGS = ("organs", "seg", "mask", "segmentation")


def find_mask(folder: Path, scan_id: str) -> Path:
    """The label map of a scan: ``<id>`` or ``<id>_<anything>`` with the suffix of a volume.

    Raises:
        ConfigError: if the folder is not there.
        DataError: if the scan has none, or more than one.
    """
    if not folder.is_dir():
        msg = f"segment.external: no such folder: {folder}"
        raise ConfigError(msg)
    volumes = [path for path in sorted(folder.iterdir()) if path.is_file() and volume_suffix(path) in VOLUME_SUFFIXES]
    stems = {path: path.name[: -len(volume_suffix(path))] for path in volumes}
    for wanted in (scan_id, *(f"{scan_id}_{word}" for word in USUAL_ENDINGS)):
        found = [path for path, stem in stems.items() if stem == wanted]
        if len(found) == 1:
            return found[0]
    found = [path for path, stem in stems.items() if stem == scan_id or stem.startswith(f"{scan_id}_")]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        msg = f"expected one label map '{scan_id}.*' or '{scan_id}_*.*' in {folder}, found {names}"
        raise DataError(msg)
    return found[0]


def mask_stamp(folder: Path, scan_id: str) -> str:
    """Name, size and time of a scan's label map, or why there is none: what its segmentation depends on."""
    try:
        path = find_mask(folder, scan_id)
    except DataError as error:
        return str(error)
    stats = path.stat()
    return hashlib.sha256(repr((path.name, stats.st_size, stats.st_mtime_ns)).encode()).hexdigest()


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
