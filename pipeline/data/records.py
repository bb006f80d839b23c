"""The manifest: which scans a run holds, where they lie, which report belongs to each and which split each is in."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError
from ..runner.identifiers import safe_id
from ..spreadsheet import from_text
from .splits import SPLITS

__all__ = ["ScanRecord", "assign_splits", "in_split", "read_manifest", "records_frame"]

FEWEST_PATIENTS_TO_SPLIT = 10


@dataclass(frozen=True)
class ScanRecord:
    """One scan of a run.

    Attributes:
        scan_id: unique, safe as a file name.
        image: the volume file or DICOM folder.
        patient_id: scans of one patient stay in one split.
        split: ``train``, ``valid``, ``test``, ``shifted``, ``intervention``, or ``all``.
        report_id: id of its report; empty without one.
    """

    scan_id: str
    image: str
    patient_id: str
    split: str
    report_id: str


def records_frame(records: Iterable[ScanRecord]) -> pd.DataFrame:
    """The manifest as a table, one row a scan."""
    return pd.DataFrame([asdict(record) for record in records], columns=[field.name for field in fields(ScanRecord)])


def read_manifest(path: Path) -> list[ScanRecord]:
    """Read ``manifest.csv`` back.

    Raises:
        DataError: if it is not as the ingest stage writes it: its ids become file names, its splits decide what is
            trained on.
    """
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise _not_a_manifest(path, str(error)) from None
    columns = [field.name for field in fields(ScanRecord)]
    if not rows or rows[0] != columns:
        raise _not_a_manifest(path, f"its columns are not {', '.join(columns)}")
    records = []
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise _not_a_manifest(path, f"row {number} has {len(row)} values")
        record = ScanRecord(*map(from_text, row))
        if record.split and record.split not in SPLITS:
            raise _not_a_manifest(path, f"row {number} has the split '{record.split[:20]}'")
        try:
            safe_id(record.scan_id)
        except DataError as error:
            raise _not_a_manifest(path, f"row {number}: {error}") from None
        if not record.image or "\0" in record.image or not record.patient_id:
            raise _not_a_manifest(path, f"row {number} has no image or no patient")
        records.append(record)
    repeated = duplicates(record.scan_id for record in records)
    if repeated:
        raise _not_a_manifest(path, f"scan {repeated[0]} occurs more than once")
    return records


def _not_a_manifest(path: Path, why: str) -> DataError:
    msg = f"{path} is damaged ({why}): run the ingest stage again"
    return DataError(msg)


def in_split(records: Iterable[ScanRecord], *splits: str) -> list[ScanRecord]:
    """The records of some splits; a record in ``all`` belongs to train, valid and test."""
    everyone = bool({"train", "valid", "test"} & set(splits))
    return [record for record in records if record.split in splits or (everyone and record.split == "all")]


def assign_splits(
    patients: Sequence[str], fractions: Mapping[str, float], seed: int, fewest: int = FEWEST_PATIENTS_TO_SPLIT
) -> dict[str, str]:
    """A split for every patient.

    Args:
        patients: patient ids, may repeat.
        fractions: share of the patients of each split; scaled to sum to one.
        seed: another seed, another division.
        fewest: with fewer distinct patients every one gets ``all``: a split of three scans measures nothing.

    Returns:
        patient -> split. Every split with a share above zero gets at least one patient.

    Raises:
        DataError: if no fraction is above zero.
    """
    distinct = sorted(set(patients))
    wanted = {split: share for split, share in fractions.items() if share > 0}
    if not wanted:
        msg = f"data.fractions leaves every split empty: {fractions}"
        raise DataError(msg)
    if len(distinct) < fewest:
        return dict.fromkeys(distinct, "all")
    order = np.random.default_rng(seed).permutation(len(distinct))
    shares = np.array(list(wanted.values())) / sum(wanted.values())
    counts = np.maximum(np.rint(shares * len(distinct)).astype(int), 1)
    counts[np.argmax(counts)] += len(distinct) - counts.sum()  # the largest split takes what rounding left over
    names = np.repeat(list(wanted), counts)
    return {distinct[patient]: str(name) for patient, name in zip(order, names, strict=True)}


def duplicates(ids: Iterable[str]) -> list[str]:
    """Ids that occur more than once, by case-insensitive comparison (file systems of laptops ignore case)."""
    names = list(ids)
    counts = Counter(name.lower() for name in names)
    return sorted({name for name in names if counts[name.lower()] > 1})
