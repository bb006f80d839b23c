"""Which split each scan is in: as given by the user's tables, or drawn by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config import SPLITS, DataConfig
from ..data.discover import FoundScan, read_table
from ..data.records import assign_splits
from ..errors import ConfigError, did_you_mean

__all__ = ["given_splits", "split_scans"]


def given_splits(data: DataConfig) -> dict[str, str]:
    """Scan -> split of ``data.splits``; empty without that table.

    Raises:
        ConfigError: if the table cannot be read or names an unknown split.
    """
    if data.splits is None:
        return {}
    table = read_table(data.splits, ["scan_id", "split"], "data.splits")
    wrong = sorted(set(table["split"]) - set(SPLITS))
    if wrong:
        msg = f"data.splits: {data.splits}: unknown split '{wrong[0]}': {did_you_mean(wrong[0], SPLITS)}"
        raise ConfigError(msg)
    return dict(zip(table["scan_id"], table["split"], strict=True))


def split_scans(
    scans: Sequence[FoundScan], given: Mapping[str, str], data: DataConfig, seed: int
) -> tuple[dict[str, str], bool]:
    """Scan -> split, and whether it was drawn; with a single scan in a split nothing is drawn.

    Args:
        scans: with the split of their own table, if it has one.
        given: `given_splits`, which come before those.
        data: its fractions are used where no scan has a split.
        seed: of the draw.
    """
    splits = {scan.scan_id: given.get(scan.scan_id, scan.split) for scan in scans}
    if any(splits.values()):
        return splits, False
    shares = {str(split): share for split, share in data.fractions.items()}
    by_patient = assign_splits([scan.patient_id for scan in scans], shares, seed)
    return {scan.scan_id: by_patient[scan.patient_id] for scan in scans}, True
