"""What a workflow will find, told in seconds instead of after hours: scans, reports, pairs, splits, disk, device."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .config import Workflow
from .data.discover import FoundScan, find_scans, read_reports
from .data.records import duplicates
from .errors import DataError, OrganCamError
from .runner import safe_id
from .stages.targets import check_labels, own_labels

__all__ = ["Finding", "check_workflow"]

STORED_BYTES_PER_INPUT_VOXEL = 1.0  # a compressed stored CT is about half of its int16 size
LISTED = 3


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    what: str
    found: str


def check_workflow(workflow: Workflow) -> list[Finding]:
    """Look at everything a run will need, without reading a single volume.

    Args:
        workflow: checked settings.

    Returns:
        Findings in the order of the stages.
    """
    findings = [Finding(True, "workflow", f"{len(workflow.models)} models: {', '.join(workflow.models)}")]
    if workflow.phantom is not None:
        counts = ", ".join(f"{split} {count}" for split, count in workflow.phantom.scans.items())
        findings.append(Finding(True, "phantom", f"{counts}, {workflow.phantom.interventions} interventions"))
        scans = sum(workflow.phantom.scans.values())
    else:
        found, more = _check_scans(workflow)
        findings += [*more, *_check_reports(workflow, found)]
        scans = len(found)
    return [
        *findings,
        _check_label_names(workflow),
        _check_networks(workflow),
        _check_device(workflow),
        _check_disk(workflow, scans),
    ]


def _check_scans(workflow: Workflow) -> tuple[list[FoundScan], list[Finding]]:
    data = workflow.data
    if data.images is None:
        return [], [Finding(False, "data.images", "not set: --set data.images=FOLDER")]
    try:
        found = find_scans(data.images, data.id_column, data.image_column)
    except OrganCamError as error:
        return [], [Finding(False, "data.images", str(error))]
    findings = [Finding(True, "data.images", f"{len(found)} scans, {_some([scan.scan_id for scan in found])}")]
    missing = [scan.scan_id for scan in found if not scan.image.exists()]
    unsafe = [scan.scan_id for scan in found if not _is_safe(scan.scan_id)]
    twice = duplicates(scan.scan_id for scan in found)
    for problem, ids in {"files missing": missing, "unusable ids": unsafe, "ids that occur twice": twice}.items():
        if ids:
            findings.append(Finding(False, problem, f"{len(ids)}: {_some(ids)}"))
    return found, findings


def _check_label_names(workflow: Workflow) -> Finding:
    try:
        check_labels(workflow)
    except OrganCamError as error:
        return Finding(False, "labels", str(error))
    own = f", {len(own_labels(workflow))} of {workflow.labels.table}" if workflow.labels.table else ""
    named = "the catalogue's 80" if workflow.labels.names == "all" else f"{len(workflow.labels.names)} by name"
    return Finding(True, "labels", named + own)


def _check_reports(workflow: Workflow, found: Sequence[FoundScan]) -> list[Finding]:
    data = workflow.data
    if data.reports is None:
        return [Finding(False, "data.reports", "not set: scans can be segmented, nothing can be trained")]
    try:
        reports = read_reports(data.reports, data.report_id_column, data.report_text_columns)
    except OrganCamError as error:
        return [Finding(False, "data.reports", str(error))]
    wanted = {scan.report_id or scan.scan_id for scan in found}
    without = sorted(wanted - set(reports))
    unused = sorted(set(reports) - wanted)
    findings = [Finding(True, "data.reports", f"{len(reports)} reports, {len(wanted & set(reports))} belong to a scan")]
    if without:
        findings.append(Finding(False, "scans without a report", f"{len(without)}: {_some(without)}"))
    if unused:
        findings.append(Finding(False, "reports without a scan", f"{len(unused)}: {_some(unused)}"))
    return findings


def _check_networks(workflow: Workflow) -> Finding:
    from .stages.grids import grids_of_models  # noqa: PLC0415 - loads torch

    try:
        grids = grids_of_models(workflow)
    except OrganCamError as error:
        return Finding(False, "network", str(error))
    cells = ", ".join(f"{model} {' x '.join(map(str, grid.shape))} cells" for model, grid in grids.items())
    return Finding(True, "network", cells)


def _check_device(workflow: Workflow) -> Finding:
    from .engines import choose_device  # noqa: PLC0415 - loads torch

    try:
        device = choose_device(workflow.train.device)
    except OrganCamError as error:
        return Finding(False, "train.device", str(error))
    return Finding(True, "train.device", str(device))


def _check_disk(workflow: Workflow, scans: int) -> Finding:
    depth, height, width = workflow.input.shape
    needed = scans * depth * height * width * STORED_BYTES_PER_INPUT_VOXEL
    free = shutil.disk_usage(Path.cwd()).free
    text = f"about {needed / 1e9:.1f} GB for stored volumes, {free / 1e9:.1f} GB free in this folder's disk"
    return Finding(free > needed, "disk", text)


def _is_safe(scan_id: str) -> bool:
    try:
        safe_id(scan_id)
    except DataError:
        return False
    return True


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:LISTED]) + (f" and {len(ids) - LISTED} more" if len(ids) > LISTED else "")
