"""Find the scans and reports, look into every file once, join and split them: ``manifest.csv``.

A file is read whole here, so that a truncated or empty scan is known before hours of computing, and its content hash is
what every later stage depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import SPLITS, DataConfig
from ..data.discover import FoundScan, find_scans, read_reports, read_table, unique_report
from ..data.readers import read_volume
from ..data.records import ScanRecord, assign_splits, duplicates, in_split, records_frame
from ..errors import ConfigError, DataError, OrganCamError, did_you_mean
from ..runner import Failure, Unit, WorkContext, safe_id, write_csv_atomic
from .run import Run, StageSummary, summarise

__all__ = ["run_ingest"]

VERSION = 1


def run_ingest(run: Run) -> StageSummary:
    """Write ``manifest.csv`` and one ``scans/<id>.json`` a scan (content hash, shape, spacing, axes)."""
    data = run.workflow.data
    if data.images is None:
        msg = "data.images is not set: name a folder, a CSV or a list of files (--set data.images=FOLDER)"
        raise ConfigError(msg)
    found, refused = _usable(find_scans(_absolute(data.images), data.id_column, data.image_column))
    reports = read_reports(data.reports, data.report_id_column, data.report_text_columns) if data.reports else {}
    splits = _given_splits(data)
    units = [Unit(scan.scan_id, {"file": _stamp(scan.image)}, {"image": str(scan.image)}) for scan in found]
    result = run.spread("ingest", VERSION, run.folder("scans"), inspect_scan, {}, units)
    unpaired = _unpaired(found, reports) if data.reports else []
    run.failures.extend([*refused, *unpaired])
    broken = {failure.id for failure in result.failed}
    if len(broken) == len(found):
        reasons = "; ".join(failure.reason for failure in [*refused, *result.failed][:3])
        msg = f"not one scan of data.images is usable: {reasons}"
        raise OrganCamError(msg)
    # Unreadable scans stay in the manifest, so that it is the same for every shard; later stages pass them over.
    records, notes = _records(found, reports, splits, run)
    _check_splits([record for record in records if record.scan_id not in broken])
    write_csv_atomic(run.root / "manifest.csv", records_frame(records))
    summary = summarise("ingest", result, notes=notes)
    return replace(summary, failures=(*summary.failures, *refused, *unpaired))


def inspect_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read one scan whole; its geometry and content hash (no patient field of its header)."""
    del context, parameters
    path = Path(payload["image"])
    volume = read_volume(path)
    return {
        "content": _content_hash(path),
        "shape": list(volume.array.shape),
        "spacing_mm": [round(step, 6) for step in volume.spacing],
        "axes": volume.axes,
        "lowest": float(volume.array.min()),
        "highest": float(volume.array.max()),
    }


def _usable(found: Sequence[FoundScan]) -> tuple[list[FoundScan], list[Failure]]:
    """Scans with a safe and unique id and an existing file, and why the others are not."""
    twice = set(duplicates(scan.scan_id for scan in found))
    good, refused = [], []
    for scan in found:
        try:
            safe_id(scan.scan_id)
            if scan.scan_id in twice:
                msg = f"scan id {scan.scan_id} occurs more than once; none of them is used ({scan.image})"
                raise DataError(msg)
            if not scan.image.exists() or scan.image == Path():
                msg = f"no such file: {scan.image}"
                raise DataError(msg)
            if scan.split and scan.split not in SPLITS:
                msg = f"unknown split '{scan.split}': {did_you_mean(scan.split, SPLITS)}"
                raise DataError(msg)
        except DataError as error:
            refused.append(Failure("ingest", scan.scan_id, str(error), "data"))
        else:
            good.append(scan)
    return good, refused


def _unpaired(found: Iterable[FoundScan], reports: Mapping[str, list[str]]) -> list[Failure]:
    """Scans without a usable report and reports without a scan: told, and not in the way of the rest."""
    problems, used = [], set()
    for scan in found:
        report_id = scan.report_id or scan.scan_id
        used.add(report_id)
        if report_id not in reports:
            reason = f"no report with id {report_id}: the scan is segmented and explained, not trained or scored on"
            problems.append(Failure("ingest", scan.scan_id, reason, "unpaired"))
            continue
        try:
            unique_report(reports, report_id)
        except DataError as error:
            problems.append(Failure("ingest", scan.scan_id, str(error), "unpaired"))
    for report_id in sorted(set(reports) - used):
        problems.append(Failure("ingest", report_id, "a report without a scan", "unpaired"))
    return problems


def _records(
    scans: Sequence[FoundScan], reports: Mapping[str, list[str]], given: Mapping[str, str], run: Run
) -> tuple[list[ScanRecord], list[str]]:
    data, notes = run.workflow.data, []
    splits = {scan.scan_id: given.get(scan.scan_id, scan.split) for scan in scans}
    if not any(splits.values()):
        by_patient = assign_splits(
            [scan.patient_id for scan in scans],
            {str(split): share for split, share in data.fractions.items()},
            run.workflow.seed,
        )
        splits = {scan.scan_id: by_patient[scan.patient_id] for scan in scans}
        if set(splits.values()) == {"all"}:
            notes.append(
                f"{len(set(by_patient))} patients are too few to split: every scan is used for training, thresholds "
                "and scoring, so the figures describe the training scans and not performance on new ones"
            )
    missing = [scan for scan, split in splits.items() if not split]
    if missing:
        legal = ", ".join(SPLITS)
        msg = f"{len(missing)} of {len(splits)} scans have no split, the first is {missing[0]}. Legal: {legal}"
        raise OrganCamError(msg)
    records = [
        ScanRecord(
            scan.scan_id, str(scan.image.resolve()), scan.patient_id, splits[scan.scan_id], _report_of(scan, reports)
        )
        for scan in scans
    ]
    return records, notes


def _report_of(scan: FoundScan, reports: Mapping[str, list[str]]) -> str:
    report_id = scan.report_id or scan.scan_id
    return report_id if len(set(reports.get(report_id, []))) == 1 else ""


def _check_splits(records: Sequence[ScanRecord]) -> None:
    counts = {split: len(in_split(records, split)) for split in ("train", "valid", "test")}
    empty = [split for split, count in counts.items() if not count]
    if empty:
        have = ", ".join(f"{split} {count}" for split, count in counts.items())
        msg = (
            f"the split {' and '.join(empty)} is empty ({have} scans): mend the split column, data.splits or "
            "data.fractions"
        )
        raise OrganCamError(msg)


def _given_splits(data: DataConfig) -> dict[str, str]:
    if data.splits is None:
        return {}
    table = read_table(data.splits, ["scan_id", "split"], "data.splits")
    wrong = sorted(set(table["split"]) - set(SPLITS))
    if wrong:
        msg = f"data.splits: {data.splits}: unknown split '{wrong[0]}': {did_you_mean(wrong[0], SPLITS)}"
        raise ConfigError(msg)
    return dict(zip(table["scan_id"], table["split"], strict=True))


def _absolute(images: Path | Sequence[Path]) -> Path | list[Path]:
    return images.absolute() if isinstance(images, Path) else [Path(image).absolute() for image in images]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _stamp(path: Path) -> str:
    """Name, size and modification time of a scan's files: a touched file is looked at again, others are not read."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in _files(path)]
    return hashlib.sha256(repr(stats).encode()).hexdigest()


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(path):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"
