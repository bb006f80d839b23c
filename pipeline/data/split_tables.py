"""Which scans are in which split, as tables tell it: our own form, or RAD-ChestCT's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import ConfigError, did_you_mean
from .discover import read_table
from .image_lists import listed_images
from .readers import without_ending
from .splits import SPLITS

__all__ = ["read_split_tables"]

RAD_CHESTCT_IDS = ("NoteAcc_DEID", "VolumeAcc_DEID")
RAD_CHESTCT_SUBSET = "Subset_Assigned"


def read_split_tables(paths: Sequence[Path]) -> dict[str, str]:
    """Scan -> split.

    Args:
        paths: text files of names whose own name says the split (see `image_lists`), and CSV files with
            ``scan_id, split``, or of RAD-ChestCT with ``NoteAcc_DEID`` (or ``VolumeAcc_DEID``) and
            ``Subset_Assigned``: its extrema and metadata tables and its lists of random subsets, whose ``imgtrain``,
            ``imgvalid_a`` and ``imgtest_a`` to ``imgtest_d`` are train, valid and test.

    Raises:
        ConfigError: if a table cannot be read, has neither form, names an unknown split, or gives a scan another split
            than an earlier one.
    """
    splits: dict[str, str] = {}
    for path in paths:
        rows = listed_images(path) if path.suffix == ".txt" else _rows(path, read_table(path, [], "data.splits"))
        for name, split in rows:
            if splits.setdefault(name, split) != split:
                msg = f"data.splits: {path}: scan '{name}' is in '{split}' here and in '{splits[name]}' before"
                raise ConfigError(msg)
    return splits


def _rows(path: Path, table: pd.DataFrame) -> list[tuple[str, str]]:
    identity = next((name for name in RAD_CHESTCT_IDS if name in table.columns), None)
    if identity is not None and RAD_CHESTCT_SUBSET in table.columns and "split" not in table.columns:
        subsets = zip(table[identity], table[RAD_CHESTCT_SUBSET], strict=True)
        return [(without_ending(name.strip()), _rad_chestct(path, subset.strip())) for name, subset in subsets]
    missing = [name for name in ("scan_id", "split") if name not in table.columns]
    if missing:
        found = ", ".join(str(name)[:40] for name in table.columns[:10])
        msg = (
            f"data.splits: {path}: column '{missing[0]}' is missing, found {found}; legal are scan_id and split, or "
            f"RAD-ChestCT's {RAD_CHESTCT_IDS[0]} and {RAD_CHESTCT_SUBSET}"
        )
        raise ConfigError(msg)
    wrong = sorted(set(table["split"]) - set(SPLITS))
    if wrong:
        msg = f"data.splits: {path}: unknown split '{wrong[0]}': {did_you_mean(wrong[0], SPLITS)}"
        raise ConfigError(msg)
    return list(zip(table["scan_id"], table["split"], strict=True))


def _rad_chestct(path: Path, subset: str) -> str:
    match = re.match(r"img(train|valid|test)", subset)
    if match is None:
        legal = "imgtrain, imgvalid_*, imgtest_*"
        msg = f"data.splits: {path}: unknown {RAD_CHESTCT_SUBSET} '{subset[:40]}'. Legal: {legal}"
        raise ConfigError(msg)
    return match[1]
