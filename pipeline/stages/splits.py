"""Which split each scan is in: as given by the user's tables, or drawn by patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..config import DataConfig, Workflow
from ..data.found import FoundScan
from ..data.records import assign_splits
from ..data.split_tables import read_split_tables
from ..errors import ConfigError

__all__ = ["given_splits", "listed_scans", "needed_splits", "split_scans"]


def given_splits(data: DataConfig) -> dict[str, str]:
    """Scan -> split of ``data.splits``; empty without that table.

    Raises:
        ConfigError: if the table cannot be read or names an unknown split.
    """
    return read_split_tables(data.split_files)


def listed_scans(scans: Sequence[FoundScan], given: Mapping[str, str], data: DataConfig) -> list[FoundScan]:
    """The scans to work on: all of them, or with ``data.only_listed`` those that have a split.

    Raises:
        ConfigError: if none has.
    """
    if not data.only_listed:
        return list(scans)
    listed = [scan for scan in scans if given.get(scan.scan_id, scan.split)]
    if not listed:
        msg = f"data.only_listed: not one of {len(scans)} scans has a split, the first is {scans[0].scan_id}"
        raise ConfigError(msg)
    return listed


def needed_splits(workflow: Workflow) -> tuple[str, ...]:
    """The splits that a run cannot do without: test only where it is explained."""
    return ("train", "valid", *(["test"] if "test" in workflow.explain.splits else []))


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
