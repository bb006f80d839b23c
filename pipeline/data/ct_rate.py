"""CT-RATE on disk: nested folders of NIfTI files whose names tell split, patient, study and reconstruction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CTRateFiles", "CTRateScan", "ct_rate_scans", "is_ct_rate_name"]

NAME = re.compile(r"(?P<patient>(?P<part>train|valid)_(?P<number>\d+))_(?P<study>[a-z]+)_(?P<reconstruction>\d+)")
EVERY = 20
REPAIRED = "_fixed"
"""Ending of the folders whose volumes have their geometry in the header; those of the others are blank."""


class CTRateScan(NamedTuple):
    """One reconstruction of a study."""

    scan_id: str
    image: Path
    patient_id: str
    split: str


class CTRateFiles(NamedTuple):
    """The scans that are taken, and the other files of such names: further reconstructions, and copies."""

    scans: list[CTRateScan]
    others: list[Path]


def is_ct_rate_name(name: str) -> bool:
    """Whether a file is named as CT-RATE's volumes are."""
    return name.endswith(".nii.gz") and NAME.fullmatch(name.removesuffix(".nii.gz")) is not None


def ct_rate_scans(files: Iterable[Path]) -> CTRateFiles:
    """The first reconstruction of every study among files of CT-RATE's names (``train_12_a_2.nii.gz``).

    A report belongs to a study, so that its other reconstructions would be the same labels again. Of a volume that is
    there twice the one below a folder ``..._fixed`` is taken. The published validation part is the test split here,
    since thresholds and the best epoch are chosen on a split of their own: every twentieth training patient (those
    whose number 20 divides).

    Args:
        files: any; those of other names are passed over.

    Example:
        >>> found = ct_rate_scans(Path(f"{name}.nii.gz") for name in ("train_3_a_2", "train_3_a_1", "valid_7_b_1"))
        >>> [(scan.scan_id, scan.patient_id, scan.split) for scan in found.scans]
        [('train_3_a_1', 'train_3', 'train'), ('valid_7_b_1', 'valid_7', 'test')]
        >>> [path.name for path in found.others]
        ['train_3_a_2.nii.gz']
    """
    studies: dict[tuple[str, int, str], list[tuple[int, bool, CTRateScan]]] = {}
    for path in files:
        name = path.name.removesuffix(".nii.gz")
        match = NAME.fullmatch(name)
        if match is None or name == path.name:
            continue
        number, reconstruction = int(match["number"]), int(match["reconstruction"])
        split = "test" if match["part"] == "valid" else "train" if number % EVERY else "valid"
        blank = not any(part.endswith(REPAIRED) for part in path.parts)
        scan = CTRateScan(name, path, match["patient"], split)
        studies.setdefault((match["part"], number, match["study"]), []).append((reconstruction, blank, scan))
    ordered = [sorted(studies[key]) for key in sorted(studies)]
    return CTRateFiles([own[0][2] for own in ordered], [scan.image for own in ordered for *_, scan in own[1:]])
