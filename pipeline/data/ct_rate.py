"""CT-RATE on disk: nested folders of NIfTI files whose names tell split, patient, study and reconstruction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

__all__ = ["CTRateScan", "ct_rate_scans"]

NAME = re.compile(r"(?P<patient>(?P<part>train|valid)_(?P<number>\d+))_(?P<study>[a-z]+)_(?P<reconstruction>\d+)")
EVERY = 20


class CTRateScan(NamedTuple):
    """One reconstruction of a study."""

    scan_id: str
    image: Path
    patient_id: str
    split: str


def ct_rate_scans(files: Iterable[Path]) -> list[CTRateScan]:
    """The first reconstruction of every study among files of CT-RATE's names (``train_12_a_2.nii.gz``).

    A report belongs to a study, so that its other reconstructions would be the same labels again. The published
    validation part is the test split here, since thresholds and the best epoch are chosen on a split of their own:
    every twentieth training patient (those whose number 20 divides).

    Args:
        files: any; those of other names are passed over.

    Example:
        >>> found = ct_rate_scans(Path(f"{name}.nii.gz") for name in ("train_3_a_2", "train_3_a_1", "valid_7_b_1"))
        >>> [(scan.scan_id, scan.patient_id, scan.split) for scan in found]
        [('train_3_a_1', 'train_3', 'train'), ('valid_7_b_1', 'valid_7', 'test')]
    """
    studies: dict[tuple[str, int, str], tuple[int, CTRateScan]] = {}
    for path in files:
        name = path.name.removesuffix(".nii.gz")
        match = NAME.fullmatch(name)
        if match is None or name == path.name:
            continue
        number, reconstruction = int(match["number"]), int(match["reconstruction"])
        split = "test" if match["part"] == "valid" else "train" if number % EVERY else "valid"
        key = (match["part"], number, match["study"])
        scan = (reconstruction, CTRateScan(name, path, match["patient"], split))
        studies[key] = min(scan, studies.get(key, scan))
    return [studies[key][1] for key in sorted(studies)]
