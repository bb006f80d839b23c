"""Known lesions of a scan, as the share of each feature cell that a label's lesions fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from organcam.segmentation.regions import organ_occupancy

from ..catalogue.targets import RegionTargets, region_targets
from ..data.discover import read_table
from ..data.network_input import grid_on_scan, input_affine
from ..data.readers import read_volume
from ..data.volume import Volume
from ..errors import ConfigError
from ..geometry import FeatureGrid

__all__ = ["Lesions", "joined", "read_masks"]

COLUMNS = ("scan_id", "value", "abnormality", "location", "mask")


class Lesions:
    """The table of known lesions, ``scan_id, value, abnormality, location, mask`` (mask relative to the table).

    A scan may have several masks, each with values of its own.

    Args:
        path: the CSV; one row a lesion cell, ``value`` being its value in the scan's label map. Rows without a location
            are passed over: a confounder has a mask and no place in the label matrix.

    Raises:
        ConfigError: if the file or a column is missing, or a value is no whole number.
    """

    def __init__(self, path: Path) -> None:
        table = read_table(path, COLUMNS, "data.lesions")
        wrong = table[~table["value"].str.strip().str.fullmatch(r"\d{1,9}")]
        if not wrong.empty:
            row = wrong.iloc[0]
            msg = (
                f"data.lesions: {path}: scan {row['scan_id']} has the value '{row['value']}'; a whole number is needed"
            )
            raise ConfigError(msg)
        table = table[table["location"] != ""]
        self._folder = path.parent
        self._labels = _labels_of_cells(table)
        self._rows = {str(name): rows for name, rows in table.groupby("scan_id")}
        self._last: tuple[tuple[Any, ...], NDArray[np.float32]] | None = None

    def __contains__(self, scan_id: str) -> bool:
        return scan_id in self._rows

    def targets(self, scan_id: str) -> RegionTargets:
        """The region labels that the lesions of one scan make positive, by the place that the table states."""
        cells = sorted({f"{row.abnormality}*{row.location}" for row in self._rows[scan_id].itertuples()})
        return region_targets(pd.DataFrame([[1] * len(cells)], columns=cells, index=[scan_id]))

    def occupancy(
        self, scan_id: str, labels: tuple[str, ...], grid: FeatureGrid, geometry: Mapping[str, Any]
    ) -> NDArray[np.float32]:
        """Share of each cell that the lesions of each label fill, ``[M, S, h, w]``.

        Args:
            scan_id: a scan of the table.
            labels: region labels.
            grid: of the network.
            geometry: details of the scan's stored volume.
        """
        asked = (scan_id, labels, grid)
        if self._last is None or self._last[0] != asked:  # the models of a run ask for the same scan in turn
            self._last = (asked, self._occupancy(scan_id, labels, grid, geometry))
        return self._last[1]

    def _occupancy(
        self, scan_id: str, labels: tuple[str, ...], grid: FeatureGrid, geometry: Mapping[str, Any]
    ) -> NDArray[np.float32]:
        affine = input_affine(np.asarray(geometry["affine"]), geometry["shape"], grid.input_shape)
        result = np.zeros((len(labels), *grid.shape), dtype=np.float32)
        for mask, rows in read_masks(self._folder, self._rows[scan_id]):
            values = sorted({int(value) for value in rows["value"]})
            cells = grid_on_scan(grid, affine, mask.affine, mask.array.shape)
            shares = dict(zip(values, organ_occupancy(mask.array, cells, values), strict=True))
            for row in rows.to_dict("records"):
                for label in self._labels[row["abnormality"], row["location"]]:
                    if label in labels:
                        column = labels.index(label)
                        result[column] = np.maximum(result[column], shares[int(row["value"])])
        return result


def read_masks(folder: Path, rows: pd.DataFrame) -> list[tuple[Volume, pd.DataFrame]]:
    """Every mask file that some rows of the table name, in the network's axes, with its own rows.

    Args:
        folder: the masks are relative to it.
        rows: of one scan.

    Raises:
        DataError: if a mask cannot be read.
    """
    return [(read_volume(folder / str(name)).reoriented(), own) for name, own in rows.groupby("mask", sort=False)]


def joined(masks: Sequence[Volume]) -> Volume:
    """Boolean masks as one, on the grid of the first; those on other grids are laid on it by nearest voxels."""
    first, *others = masks
    array = first.array
    for mask in others:
        there = mask.array
        if there.shape != array.shape or not np.allclose(mask.affine, first.affine, atol=1e-3):
            place = np.linalg.inv(mask.affine) @ first.affine
            there = affine_transform(there.astype(np.uint8), place[:3, :3], place[:3, 3], array.shape, order=0) > 0
        array = array | there
    return Volume(array, first.affine)


def _labels_of_cells(table: pd.DataFrame) -> dict[tuple[str, str], tuple[str, ...]]:
    """Region labels that each (abnormality, location) of the table makes positive."""
    cells = sorted(set(zip(table["abnormality"], table["location"], strict=True)))
    columns = [f"{abnormality}*{location}" for abnormality, location in cells]
    targets = region_targets(pd.DataFrame(np.eye(len(cells), dtype=int), columns=columns))
    return {
        cell: tuple(name for name, there in zip(targets.names, row, strict=True) if there)
        for cell, row in zip(cells, targets.present, strict=True)
    }
