"""Find the scans and reports, look into every file once, join and split them: ``manifest.csv``.

A file is read whole here, checksums included, so that a damaged, truncated or empty scan is known before hours of
computing, and its content hash is what every later stage depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import DataConfig
from ..data.coverage import coverage_problem
from ..data.ct_rate import is_ct_rate_name
from ..data.discover import paired_id, reports_of, scans_of, unique_report
from ..data.formats.described import SUFFIX, facts, is_blank
from ..data.found import Finds, FoundScan, hashed, id_of_path, passed_in_words
from ..data.images import read_image
from ..data.metadata import described, read_metadata
from ..data.readers import read_volume, source_files, volume_suffix
from ..data.records import ScanRecord, duplicates, in_split, records_frame
from ..data.splits import SPLITS
from ..errors import DataError, OrganCamError, did_you_mean
from ..runner import Failure, Unit, WorkContext, safe_id, write_csv_atomic
from .failure_rate import TRAINING_STAGES, first_of, first_reasons, require_enough_scans
from .run import Run, StageSummary, summarise
from .splits import given_splits, listed_scans, needed_splits, split_scans

__all__ = ["run_ingest"]

VERSION = 2

TAIL = 1024
"""Bytes: the last 8 of gzip, the directory of a zip archive of a few arrays."""


def run_ingest(run: Run) -> StageSummary:
    """Write ``manifest.csv`` and one ``scans/<id>.json`` a scan (content hash, shape, spacing, axes)."""
    data = run.workflow.data
    splits = given_splits(data)
    finds = scans_of(data)
    found, refused = _usable(listed_scans(finds.scans, splits, data))
    refused += [Failure("ingest", _id_of(one.path, data), f"{one.path}: {one.reason}", "data") for one in finds.refused]
    found, undescribed = _described(found, run)
    refused += undescribed
    reports = reports_of(data)
    unpaired = _unpaired(found, reports, data) if data.tells_labels else []
    run.failures.extend([*refused, *unpaired])
    units = [_unit(scan, data) for scan in found]
    look = inspect_image if run.workflow.of_images else inspect_scan
    result = run.spread("ingest", VERSION, run.folder("scans"), look, {}, units)
    broken = {failure.id for failure in result.failed}
    if len(broken) == len(found):
        msg = f"not one scan of data.images is usable: {first_reasons([*refused, *result.failed])}"
        raise OrganCamError(msg)
    # Unreadable scans stay in the manifest, so that it is the same for every shard; later stages pass them over.
    records, notes = _records(found, reports, splits, run)
    notes += _split_notes([record for record in records if record.scan_id not in broken], run)
    notes += _coverage_notes(result.done)
    notes += _note_ignored(run, finds)
    write_csv_atomic(run.root / "manifest.csv", records_frame(records))
    if "train" in run.stages:
        require_enough_scans(run)
    summary = summarise("ingest", result, notes=notes)
    return replace(summary, failures=(*summary.failures, *refused, *unpaired))


def inspect_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read one scan whole; its geometry and content hash (no patient field of its header)."""
    del context, parameters
    path = Path(payload["image"])
    files = source_files(path)
    volume = read_volume(path, payload["max_voxels"])
    if is_ct_rate_name(path.name) and is_blank(volume.affine):
        msg = f"{path}: its header is blank; take CT-RATE's repaired volumes (train_fixed), or name its data.metadata"
        raise DataError(msg)
    return {
        "content": _content_hash(files),
        "shape": list(volume.array.shape),
        "spacing_mm": [round(step, 6) for step in volume.spacing],
        "axes": volume.axes,
        "coverage": coverage_problem(volume.array.shape, volume.affine),
        "lowest": float(volume.array.min()),
        "highest": float(volume.array.max()),
    }


def inspect_image(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read one 2D image whole; what `inspect_scan` tells of a volume, as far as an image has it."""
    del context, parameters
    path = Path(payload["image"])
    image = read_image(path, payload["max_voxels"])
    return {
        "content": _content_hash([path]),
        "shape": list(image.shape),
        "spacing_mm": [round(step, 6) for step in image.spacing],
        "colour": len(image.array) > 1,
        "coverage": "",
        "lowest": float(image.array.min()),
        "highest": float(image.array.max()),
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
            _check_present(scan.image)
            if scan.split and scan.split not in SPLITS:
                msg = f"unknown split '{scan.split}': {did_you_mean(scan.split, SPLITS)}"
                raise DataError(msg)
        except DataError as error:
            refused.append(Failure("ingest", scan.scan_id, str(error), "data"))
        else:
            good.append(scan)
    return good, refused


def _described(found: Sequence[FoundScan], run: Run) -> tuple[list[FoundScan], list[Failure]]:
    """Scans with what a table of metadata says of them, and those whose row cannot be read."""
    if not run.workflow.data.metadata_files:
        return list(found), []
    rows, folder = read_metadata(run.workflow.data.metadata_files), run.folder("headers")
    good, refused = [], []
    for scan in found:
        try:
            good.append(described(scan, rows, folder))
        except DataError as error:
            refused.append(Failure("ingest", scan.scan_id, str(error), "data"))
    return good, refused


def _check_present(image: Path) -> None:
    try:
        there = image != Path() and (any(image.iterdir()) if image.is_dir() else image.exists())
    except OSError as error:  # no permission, a name too long, a disk that is gone
        msg = f"{image}: {(error.strerror or type(error).__name__).lower()}"
        raise DataError(msg) from None
    if not there:
        msg = f"no such file, or an empty folder: {image}"
        raise DataError(msg)


def _unit(scan: FoundScan, data: DataConfig) -> Unit:
    payload = {"image": str(scan.image), "max_voxels": data.max_voxels}
    return Unit(scan.scan_id, {"file": _stamp(scan.image, data.kind)}, payload)


def _unpaired(found: Iterable[FoundScan], reports: Mapping[str, list[str]], data: DataConfig) -> list[Failure]:
    """Scans without a usable report (or label) and the other way round: told, and not in the way of the rest.

    Where only listed scans are taken, reports of the others are as they should be.
    """
    what = "report" if data.reports else "label"
    problems, used = [], set()
    for scan in found:
        report_id = paired_id(scan, reports)
        used.add(report_id)
        if report_id not in reports:
            done = "explained" if data.kind == "images" else "segmented and explained"
            reason = f"no {what} with id {report_id}: the scan is {done}, not trained or scored on"
            problems.append(Failure("ingest", scan.scan_id, reason, "unpaired"))
            continue
        try:
            unique_report(reports, report_id)
        except DataError as error:
            problems.append(Failure("ingest", scan.scan_id, str(error), "unpaired"))
    for report_id in [] if data.only_listed else sorted(set(reports) - used):
        problems.append(Failure("ingest", report_id, f"a {what} without a scan", "unpaired"))
    return problems


def _records(
    scans: Sequence[FoundScan], reports: Mapping[str, list[str]], given: Mapping[str, str], run: Run
) -> tuple[list[ScanRecord], list[str]]:
    data, notes = run.workflow.data, []
    splits, drawn = split_scans(scans, given, data, run.workflow.seed)
    if drawn and set(splits.values()) == {"all"} and set(TRAINING_STAGES) & set(run.stages):
        patients = len({scan.patient_id for scan in scans})
        notes.append(
            f"{patients} patients are too few to split: every scan is used for training, thresholds and scoring, so "
            "the figures describe the training scans and not performance on new ones"
        )
    missing = [scan for scan, split in splits.items() if not split]
    if missing:
        legal = ", ".join(SPLITS)
        msg = f"{len(missing)} of {len(splits)} scans have no split, the first is {missing[0]}. Legal: {legal}"
        notes += _needed_splits(run, msg)
    records = [
        ScanRecord(
            scan.scan_id, str(scan.image.resolve()), scan.patient_id, splits[scan.scan_id], _report_of(scan, reports)
        )
        for scan in scans
    ]
    return records, notes


def _report_of(scan: FoundScan, reports: Mapping[str, list[str]]) -> str:
    report_id = paired_id(scan, reports)
    return report_id if len(set(reports.get(report_id, []))) == 1 else ""


def _split_notes(records: Sequence[ScanRecord], run: Run) -> list[str]:
    counts = {split: len(in_split(records, split)) for split in needed_splits(run.workflow)}
    empty = [split for split, count in counts.items() if not count]
    if not empty:
        return []
    have = ", ".join(f"{split} {count}" for split, count in counts.items())
    remedy = f"mend {_source_of_splits(records, run.workflow.data)}"
    lost = [failure for failure in run.failures if failure.kind != "unpaired"]
    why = f"; {len(lost)} scans failed, {first_reasons(lost)}" if lost else ""
    return _needed_splits(run, f"the split {' and '.join(empty)} is empty ({have} scans): {remedy}{why}")


def _source_of_splits(records: Sequence[ScanRecord], data: DataConfig) -> str:
    """The file and key that say which split a scan is in."""
    if data.split_files:
        return f"{', '.join(str(path) for path in data.split_files)} (data.splits)"
    if isinstance(data.images, Path) and data.images.suffix == ".csv" and any(record.split for record in records):
        return f"the split column of {data.images} (data.images), or name data.splits"
    return "data.fractions, or name data.splits"


def _needed_splits(run: Run, problem: str) -> list[str]:
    """A fault of the splits as a note where no stage of this run works on them.

    Raises:
        OrganCamError: where one does.
    """
    if set(TRAINING_STAGES) & set(run.stages):
        raise OrganCamError(problem)
    return [f"{problem} (needed for training, not by this run)"]


def _coverage_notes(scans: Mapping[str, Mapping[str, Any]]) -> list[str]:
    told = {name: sidecar["details"]["coverage"] for name, sidecar in scans.items() if sidecar["details"]["coverage"]}
    return [f"{len(told)} scans can hold no whole chest: {first_of(told)}"] if told else []


def _note_ignored(run: Run, finds: Finds) -> list[str]:
    """Write all that was passed over to ``ignored.csv``, and tell how much of what kind."""
    table = run.root / "ignored.csv"
    if not finds.ignored:
        table.unlink(missing_ok=True)
        return []
    root = _root(run.workflow.data)
    rows = [(one.path.relative_to(root).as_posix(), one.kind) for one in finds.ignored]
    write_csv_atomic(table, pd.DataFrame(rows, columns=["path", "reason"]))
    return [f"ignored: {line}" for line in passed_in_words(finds.ignored, root)]


def _root(data: DataConfig) -> Path:
    images = data.images
    assert isinstance(images, Path)
    return images.absolute()


def _id_of(path: Path, data: DataConfig) -> str:
    """The name of what is refused in ``failures.csv``."""
    place = path.relative_to(_root(data))
    return hashed(place.as_posix()) if data.ids == "hash" else id_of_path(place if place.parts else Path(path.name))


def _stamp(path: Path, kind: str) -> str:
    """Name, size and modification time of a scan's files: a touched file is looked at again, others are not read.

    Of a scan in one file also its last bytes, where packed formats keep their checksums: another scan that keeps size
    and time does not pass for the one that was there. Of the hundreds of files of a series they would cost seconds.
    """
    try:
        files = [path] if kind == "images" else source_files(path)  # a radiograph is no series of its folder
        stats = repr([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])
        if len(files) == 1:
            stats += _last_bytes(files[0]).hex()
    except (DataError, OSError) as error:  # told when it is read
        stats = str(error)
    return hashlib.sha256(stats.encode()).hexdigest()


def _last_bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - TAIL))
        return stream.read(TAIL)


def _content_hash(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        if volume_suffix(file) == SUFFIX:
            digest.update(facts(file))
            continue
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"
