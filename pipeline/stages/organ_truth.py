"""How well the segmentation found the organs, where somebody knows them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..catalogue.targets import ORGANS
from ..data.discover import read_table
from ..data.readers import read_volume
from ..errors import ConfigError, DataError

__all__ = ["organ_scores", "overlap"]

COLUMNS = ("scan_id", "organs")


def overlap(found: NDArray, known: NDArray) -> dict[str, float]:
    """Dice, precision and recall of a mask; NaN where neither or one side has a voxel to judge by.

    Args:
        found: bool, any shape.
        known: bool, same shape.
    """
    both = float(np.count_nonzero(found & known))
    sizes = float(np.count_nonzero(found)), float(np.count_nonzero(known))
    return {
        "dice": 2 * both / sum(sizes) if sum(sizes) else float("nan"),
        "precision": both / sizes[0] if sizes[0] else float("nan"),
        "recall": both / sizes[1] if sizes[1] else float("nan"),
    }


def organ_scores(path: Path, scan_ids: Iterable[str], folder: Path) -> pd.DataFrame:
    """One row a scan and organ: Dice, precision and recall against known label maps.

    Args:
        path: CSV ``scan_id, organs``: label maps on the scan's grid, relative to the CSV.
        scan_ids: scans to judge; those without a known or found map are passed over.
        folder: of the found maps, ``<id>_organs.nii.gz``.

    Raises:
        ConfigError: if the table or a column is missing, or a scan occurs twice.
        DataError: if a map cannot be read, or the two differ in shape.
    """
    table = read_table(path, COLUMNS, "data.organs").set_index("scan_id")["organs"]
    if not table.index.is_unique:
        msg = f"data.organs: {path}: scan {table.index[table.index.duplicated()][0]} occurs more than once"
        raise ConfigError(msg)
    rows = []
    for name in scan_ids:
        if name in table.index and (folder / f"{name}_organs.nii.gz").is_file():
            known = read_volume(path.parent / table[name]).reoriented().array
            found = read_volume(folder / f"{name}_organs.nii.gz").reoriented().array
            if found.shape != known.shape:
                sizes = " and ".join(" x ".join(map(str, array.shape)) for array in (known, found))
                msg = (
                    f"data.organs: {path.parent / table[name]} and the organs found in {name} differ in shape: {sizes}"
                )
                raise DataError(msg)
            rows += [
                {"scan_id": name, "organ": organ, **overlap(found == value, known == value)}
                for value, organ in enumerate(ORGANS, start=1)
            ]
    return pd.DataFrame(rows, columns=["scan_id", "organ", "dice", "precision", "recall"])
