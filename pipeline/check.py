"""What a workflow will find, told in seconds instead of after hours: scans, reports, pairs, splits, disk, device."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from .config import Workflow
from .data.coverage import coverage_problem, first_slice_at
from .data.discover import paired_id, reports_of, scans_of
from .data.found import FoundScan, passed_in_words
from .data.images import read_image_size
from .data.phantom import plan_dataset
from .data.readers import read_geometry
from .data.records import duplicates
from .data.splits import SPLITS
from .errors import DataError, OrganCamError, some_of
from .estimate import model_bytes, outputs_at_most, scan_counts
from .runner import safe_id
from .runner.disk import readable_size
from .stages.positives import Positives, positives_of_phantom, positives_of_scans
from .stages.readiness import unready
from .stages.splits import given_splits, listed_scans, needed_splits, split_scans
from .stages.targets import check_labels, own_labels

__all__ = ["Finding", "check_workflow"]

STORED_BYTES_PER_INPUT_VOXEL = 1.0
"""A compressed stored CT is about half of its int16 size."""
RENDERED_BYTES_PER_VOXEL = 1.3
"""Of a phantom: its image as packed NIfTI, and the masks of its organs and findings."""
ORGANS_BYTES_PER_VOXEL = 0.02
SMALL_FILES = 12_000
"""Bytes of a scan in a stage beside the volume: sidecar, quality, regions, in whole blocks of the disk."""
LISTED = 3
MOST_HEADERS = 200
MOST_REPORTS = 2000
"""Reports that are parsed to count positives; more would take longer than a check may."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    what: str
    found: str


def check_workflow(workflow: Workflow) -> list[Finding]:
    """Look at everything a run will need, without reading a single volume.

    Reports are parsed to count the positives of each label, up to `MOST_REPORTS`; a phantom's are told from its plan.

    Args:
        workflow: checked settings.

    Returns:
        Findings in the order of the stages.
    """
    findings = [Finding(True, "workflow", f"models: {', '.join(workflow.models)}")]
    found, looked = ([], _check_phantom(workflow)) if workflow.phantom is not None else _check_data(workflow)
    findings += looked
    findings += [_check_coverage(workflow), _check_label_names(workflow), _check_networks(workflow)]
    findings += [_check_device(workflow), _check_disk(workflow, found)]
    return [*findings, *_others(unready(workflow, workflow.stages()), findings)]


def _others(problems: Iterable[str], findings: Sequence[Finding]) -> list[Finding]:
    """What keeps a stage from being done and no finding tells yet."""
    told = "\n".join(finding.found for finding in findings)
    wrong = {finding.what for finding in findings if not finding.ok}
    others = []
    for problem in dict.fromkeys(problems):
        key, _, rest = problem.partition(": ")
        if problem not in told and rest not in told and problem.split()[0] not in wrong:
            others.append(Finding(False, key, rest) if rest and " " not in key else Finding(False, "workflow", problem))
    return others


def _check_phantom(workflow: Workflow) -> list[Finding]:
    phantom = workflow.phantom
    assert phantom is not None
    counts = ", ".join(f"{split} {count}" for split, count in phantom.scans.items())
    findings = [Finding(True, "phantom", f"{counts}, {phantom.interventions} interventions")]
    findings += _check_volume_scans(workflow, [spec.scan_id for spec in plan_dataset(phantom)])
    if all(phantom.scans.get(split) for split in ("train", "valid")):
        findings.append(_positives(positives_of_phantom(workflow, phantom)))
    return findings


def _check_data(workflow: Workflow) -> tuple[list[FoundScan], list[Finding]]:
    found, findings = _check_scans(workflow)
    findings += _check_reports(workflow, found)
    if found:
        findings += _check_volume_scans(workflow, [scan.scan_id for scan in found])
        findings += _check_splits(workflow, found)
        findings += [_check_image_sizes(workflow, found)] if workflow.of_images else _check_headers(found)
    return found, findings


def _check_headers(found: Sequence[FoundScan]) -> list[Finding]:
    """Whether the scans can hold a chest, and which way up they lie, by the headers of some spread over all of them."""
    step = max(1, len(found) // MOST_HEADERS)
    small: dict[str, str] = {}
    ends: dict[str, list[str]] = {"feet": [], "head": []}
    looked = [scan for scan in found[::step] if _is_there(scan.image)]
    for scan in looked:
        try:
            shape, affine = read_geometry(scan.image)
            problem = coverage_problem(shape, affine)
            ends[first_slice_at(affine)].append(scan.scan_id)
        except DataError as error:
            problem = str(error)
        if problem:
            small[scan.scan_id] = problem
    order = [f"the {end} in {len(names)} ({some_of(names, LISTED)})" for end, names in ends.items() if names]
    findings = [Finding(True, "slices", f"by its header the first lies at {', at '.join(order)}")] if order else []
    if not small:
        return [Finding(True, "sizes", f"{len(looked)} headers read: each scan can hold a chest"), *findings]
    told = "; ".join(f"{name}: {problem}" for name, problem in list(small.items())[:LISTED])
    return [Finding(False, "sizes", f"{len(small)} of {len(looked)} scans looked at can hold none: {told}"), *findings]


def _check_image_sizes(workflow: Workflow, found: Sequence[FoundScan]) -> Finding:
    """Whether 2D images can be read, by the headers of some spread over all of them."""
    looked = [scan for scan in found[:: max(1, len(found) // MOST_HEADERS)] if _is_there(scan.image)]
    sizes: list[tuple[int, int]] = []
    wrong: dict[str, str] = {}
    for scan in looked:
        try:
            sizes.append(read_image_size(scan.image, workflow.data.max_voxels))
        except DataError as error:
            wrong[scan.scan_id] = str(error)
    if wrong:
        told = "; ".join(list(wrong.values())[:LISTED])
        return Finding(False, "sizes", f"{len(wrong)} of {len(looked)} images looked at cannot be used: {told}")
    ends = dict.fromkeys((min(sizes), max(sizes))) if sizes else {}
    told = " to ".join(f"{height} x {width}" for height, width in ends)
    shown = " x ".join(map(str, workflow.input.shape[1:]))
    return Finding(True, "sizes", f"{len(looked)} headers read, {told} pixels, stored as {shown}")


def _check_volume_scans(workflow: Workflow, ids: Sequence[str]) -> list[Finding]:
    missing = sorted(set(workflow.explain.volume_scans or ()) - set(ids))
    return [Finding(False, "explain.volume_scans", f"no such scan: {some_of(missing, LISTED)}")] if missing else []


def _check_splits(workflow: Workflow, found: Sequence[FoundScan]) -> list[Finding]:
    """How many scans each split has, and whether its labels can be learnt."""
    try:
        splits, _ = split_scans(found, given_splits(workflow.data), workflow.data, workflow.seed)
    except OrganCamError as error:
        return [Finding(False, "splits", str(error))]
    counts = Counter(splits.values())
    told = ", ".join(f"{split} {counts[split]}" for split in SPLITS if counts[split])
    empty = [split for split in needed_splits(workflow) if not counts[split] and not counts["all"]]
    if empty:
        findings = [Finding(False, "splits", f"{' and '.join(empty)} is empty ({told})")]
    elif without := [scan for scan, split in splits.items() if not split]:
        findings = [Finding(False, "splits", f"{len(without)} scans have none: {some_of(without, LISTED)}")]
    else:
        findings = [Finding(True, "splits", told)]
    return [*findings, *_check_positives(workflow, found, splits)]


def _check_positives(workflow: Workflow, found: Sequence[FoundScan], splits: Mapping[str, str]) -> list[Finding]:
    data = workflow.data
    if not data.tells_labels:
        return []
    try:
        count = len(reports_of(data))
        if data.reports and count > MOST_REPORTS:
            told = f"not counted: more than {MOST_REPORTS} reports; run --until parse, then look at labels/labels.csv"
            return [Finding(True, "positives", told)]
        return [_positives(positives_of_scans(workflow, found, splits))]
    except OrganCamError as error:
        return [Finding(False, "positives", str(error))]


def _positives(found: Positives) -> Finding:
    wrong = [*found.problems, *found.doubts]
    return Finding(not wrong, "positives", "\n".join(wrong) or found.told)


def _check_coverage(workflow: Workflow) -> Finding:
    """How much of a chest the network sees, where the size of its voxels is known."""
    if workflow.of_images:
        return Finding(True, "coverage", "2D images are resized as a whole")
    spacing = workflow.store.spacing_mm or (workflow.phantom.voxel_mm if workflow.phantom else None)
    if spacing is None:
        return Finding(True, "coverage", "each scan keeps its own voxel size (store.spacing_mm: null)")
    sizes = [count * step for count, step in zip(workflow.input.shape, spacing, strict=True)]
    told = "the network sees {:.0f} x {:.0f} x {:.0f} mm".format(*sizes)
    z, y, x = spacing
    affine = np.array([[0, 0, -x, 0], [0, -y, 0, 0], [-z, 0, 0, 0], [0, 0, 0, 1.0]])
    problem = coverage_problem(workflow.input.shape, affine)
    remedy = f"its input {problem}: mend input.shape or store.spacing_mm"
    return Finding(not problem, "coverage", f"{told}; {remedy}" if problem else told)


def _check_scans(workflow: Workflow) -> tuple[list[FoundScan], list[Finding]]:
    data = workflow.data
    if data.images is None:
        return [], [Finding(False, "data.images", "not set: --set data.images=FOLDER")]
    try:
        finds = scans_of(data)
        found = listed_scans(finds.scans, given_splits(data), data) if data.only_listed else list(finds.scans)
    except OrganCamError as error:
        return [], [Finding(False, "data.images", str(error))]
    findings = [
        Finding(True, "data.images", f"{len(found)} scans, {some_of([scan.scan_id for scan in found], LISTED)}")
    ]
    root = data.images.absolute() if isinstance(data.images, Path) else Path.cwd()
    for what, passed in (("ignored", finds.ignored), ("refused", finds.refused)):
        if passed:
            findings.append(Finding(what == "ignored", what, "\n".join(passed_in_words(passed, root))))
    missing = [scan.scan_id for scan in found if not _is_there(scan.image)]
    unsafe = [scan.scan_id for scan in found if not _is_safe(scan.scan_id)]
    twice = duplicates(scan.scan_id for scan in found)
    for problem, ids in {"files missing": missing, "unusable ids": unsafe, "ids that occur twice": twice}.items():
        if ids:
            findings.append(Finding(False, problem, f"{len(ids)}: {some_of(ids, LISTED)}"))
    return found, findings


def _check_label_names(workflow: Workflow) -> Finding:
    try:
        check_labels(workflow)
    except OrganCamError as error:
        return Finding(False, "labels", str(error))
    own = f", {len(own_labels(workflow))} of {workflow.labels.table}" if workflow.labels.table else ""
    every = "those of their table" if workflow.of_images else "the catalogue's 80"
    named = every if workflow.labels.names == "all" else f"{len(workflow.labels.names)} by name"
    return Finding(True, "labels", named + own)


def _check_reports(workflow: Workflow, found: Sequence[FoundScan]) -> list[Finding]:
    data = workflow.data
    if not data.tells_labels:
        return [Finding(False, "data.reports", "not set: scans can be segmented, nothing can be trained")]
    what = "report" if data.reports else "label"
    try:
        reports = reports_of(data)
    except OrganCamError as error:
        return [Finding(False, f"data.{what}s", str(error))]
    wanted = {paired_id(scan, reports) for scan in found}
    without = sorted(wanted - set(reports))
    unused = sorted(set(reports) - wanted)
    paired = f"{len(reports)} {what}s, {len(wanted & set(reports))} belong to a scan"
    findings = [Finding(True, f"data.{what}s", paired)]
    if without:
        findings.append(Finding(False, f"scans without a {what}", f"{len(without)}: {some_of(without, LISTED)}"))
    if unused and not data.only_listed:
        findings.append(Finding(False, f"{what}s without a scan", f"{len(unused)}: {some_of(unused, LISTED)}"))
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


def _check_disk(workflow: Workflow, found: Sequence[FoundScan]) -> Finding:
    """What a run will write, by the sizes of what it holds; `organcam plan` measures it."""
    try:
        needed = dict(_expected_bytes(workflow, scan_counts(workflow, found)))
    except OrganCamError as error:  # told by the finding that it belongs to
        return Finding(True, "disk", f"not known: {str(error).splitlines()[0]}")
    total, free = sum(needed.values()), shutil.disk_usage(Path.cwd()).free
    parts = ", ".join(f"{what} {readable_size(count)}" for what, count in needed.items())
    text = f"about {readable_size(total)} ({parts}), {readable_size(free)} free on this folder's disk"
    return Finding(free > total, "disk", f"{text}; `organcam plan` measures time, memory and disk on some scans")


def _expected_bytes(workflow: Workflow, counts: Mapping[str, int]) -> Iterator[tuple[str, float]]:
    voxels = prod(workflow.input.shape) * counts["all"]
    if workflow.phantom is not None:
        yield "phantom", counts["all"] * prod(workflow.phantom.shape) * RENDERED_BYTES_PER_VOXEL
    if not workflow.of_images:
        yield "organs", voxels * ORGANS_BYTES_PER_VOXEL + counts["all"] * SMALL_FILES
    yield "volumes", voxels * STORED_BYTES_PER_INPUT_VOXEL + counts["all"] * SMALL_FILES
    labels = outputs_at_most(workflow)
    sizes = [model_bytes(workflow, model, labels, counts["explained"]) for model in workflow.models]
    yield "models", sum(files for files, _ in sizes)
    yield "attention", sum(maps for _, maps in sizes)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long, or with a NUL
        return False


def _is_safe(scan_id: str) -> bool:
    try:
        safe_id(scan_id)
    except DataError:
        return False
    return True
