"""The pages of a run: ``report/index.html`` and one page for each of a few scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from organcam.nlp import parse_table, read_rows

from ..catalogue import abnormalities
from ..catalogue.targets import RegionTargets, region_targets
from ..data.discover import read_table, report_columns
from ..data.images import as_one_slice
from ..data.network_input import grid_key, grid_on_scan, input_affine
from ..data.readers import read_volume
from ..data.records import ScanRecord
from ..data.region_store import has_regions, read_regions
from ..data.volume import Volume
from ..data.volume_store import read_stored
from ..errors import DataError, OrganCamError
from ..geometry import FeatureGrid
from ..report import (
    SCAN_PAGE_MARK,
    ModelMaps,
    Results,
    ScanView,
    index_context,
    index_page,
    quoted_findings,
    read_results,
    scan_context,
    scan_page,
    shown_labels,
)
from ..report.context import METHOD_NAMES
from ..runner import Failure, output_hash, write_text_atomic
from ..transforms import expand_regions
from .attention_files import ScanAttention, read_attention
from .evaluate import plan_evaluate
from .explain import plan_explain
from .image_places import ImagePlaces
from .lesions import COLUMNS as LESION_COLUMNS
from .lesions import joined, read_masks
from .parse import plan_parse
from .regions import plan_regions
from .run import PlanMaker, Run, StageSummary
from .segment import plan_segment
from .store import plan_store
from .surveys import NotReadyError
from .targets import load_targets
from .train import plan_choice

__all__ = ["run_report"]

SPLIT_ORDER = ("test", "all", "shifted", "valid", "intervention", "train")


def run_report(run: Run) -> StageSummary:
    """Write the pages; what earlier stages have not made is left out with a sentence."""
    records = run.records()
    made = _Made(run)
    failures = [
        {"stage": failure.stage, "scan_id": failure.id, "kind": failure.kind, "reason": failure.reason}
        for failure in run.failures
    ]
    targets = made.targets(records)
    lesions = _lesion_table(run)
    outdated = made.outdated()
    results = read_results(run.root, made.models, failures, outdated, made.sentences)
    chosen, lost = _sound(run, made, _choose(run, made, records, targets))
    texts = _report_texts(run, {record.report_id for record in chosen if record.report_id})
    pages = [_page(record, targets) for record in chosen]
    context = index_context(run.workflow, results, pages)
    folder = run.folder("report")
    for position, (record, page) in enumerate(zip(chosen, pages, strict=True)):
        view = _view(run, made, record, targets, lesions)
        scores = {name: (model.labels, model.scores) for name, model in view.models.items()}
        labels = shown_labels(view.present, scores, run.workflow.report.labels)
        flag = next((row for row in context["flagged"]["rows"] if row["scan_id"] == record.scan_id), None)
        place = {**page, "name": run.workflow.name, "flag": flag, "cautions": context["cautions"]}
        findings = quoted_findings(_findings_of(results, record), texts.get(record.report_id))
        text = scan_page({**place, **scan_context(view, labels, findings)})
        write_text_atomic(folder / page["file"], text)
        run.progress.advance("report", position + 1, len(chosen) + 1, 0)
    write_text_atomic(folder / "index.html", index_page(context))
    run.progress.advance("report", len(chosen) + 1, len(chosen) + 1, 0)
    _drop_old_pages(folder, {"index.html", *(page["file"] for page in pages)})
    return StageSummary("report", len(chosen) + 1, 0, lost)


class _Made:
    """What earlier stages made with the settings of now; what is of other settings is left out and said.

    Attributes:
        sentences: what is left out.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._scans: dict[Any, Mapping[str, Mapping[str, Any]]] = {}
        self.sentences: list[str] = []
        self.models = [model for model in run.workflow.models if self._has(plan_choice, model)]

    def targets(self, records: Sequence[ScanRecord]) -> RegionTargets | None:
        """Labels of the scans; None without reports."""
        try:
            return load_targets(self._run, records)
        except OrganCamError as error:
            self._say(error)
            return None

    def outdated(self) -> set[str]:
        """Folders whose tables are not those of now."""
        makers = {"evaluation": plan_evaluate, "labels": plan_parse}
        folders = {name for name, maker in makers.items() if not self._has(maker)}
        return folders | ({"organs"} if not self.scans(plan_segment) else set())

    def scans(self, maker: PlanMaker, *arguments: Any) -> Mapping[str, Mapping[str, Any]]:
        """Scan to sidecar of what a stage made, as far as it is of now."""
        if maker in (plan_segment, plan_regions) and self._run.workflow.of_images:
            return {}
        if (maker, arguments) not in self._scans:
            try:
                survey = self._run.survey(maker, *arguments)
            except OrganCamError as error:
                self._say(error)
                return self._scans.setdefault((maker, arguments), {})
            self._scans[maker, arguments] = {**survey.current, **survey.damaged}
            stale = sum(state == "stale" for state in survey.unfit.values())
            if stale:
                what, stage = self._run.plan(maker, *arguments).what, self._run.plan(maker, *arguments).spec.name
                self._add(f"Left out here: {what} of {stale} scans, made with other settings; run the {stage} stage.")
        return self._scans[maker, arguments]

    def maps(self, scan_id: str) -> dict[str, Mapping[str, Any]]:
        """Model to sidecar of its maps of a scan."""
        found = {model: self.scans(plan_explain, model).get(scan_id) for model in self.models}
        return {model: sidecar for model, sidecar in found.items() if sidecar is not None}

    def files(self, scan_id: str) -> dict[str, str]:
        """Path to content hash of what is shown of a scan."""
        found: dict[str, Mapping[str, Any]] = {}
        for folder, maker in (("volumes", plan_store), ("regions", plan_regions), ("organs", plan_segment)):
            sidecar = self.scans(maker).get(scan_id)
            if sidecar is not None:
                found |= {folder: sidecar}
        found |= {f"attention/{model}": sidecar for model, sidecar in self.maps(scan_id).items()}
        return {
            str(self._run.root / folder / name): output_hash(sidecar, name)
            for folder, sidecar in found.items()
            for name in sidecar["outputs"]
        }

    def _has(self, maker: PlanMaker, *arguments: Any) -> bool:
        try:
            return bool(self._run.current(maker, *arguments))
        except OrganCamError as error:
            self._say(error)
            return False

    def _say(self, error: OrganCamError) -> None:
        """Results of other settings are worth a sentence; what was never made has its own place on the page."""
        if isinstance(error, NotReadyError) and error.stale:
            self._add(f"Left out here: {error}.")

    def _add(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.append(sentence)


def _choose(run: Run, made: _Made, records: Sequence[ScanRecord], targets: RegionTargets | None) -> list[ScanRecord]:
    """Explained scans that are still in the store: test scans first, those with most labels first."""
    counts = dict(zip(targets.ids, targets.present.sum(axis=1).tolist(), strict=True)) if targets else {}
    volumes = made.scans(plan_store)
    usable = [record for record in records if record.scan_id in volumes and made.maps(record.scan_id)]
    usable.sort(key=lambda record: (SPLIT_ORDER.index(record.split), -counts.get(record.scan_id, 0), record.scan_id))
    return usable[: run.workflow.report.scans]


def _sound(run: Run, made: _Made, records: Sequence[ScanRecord]) -> tuple[list[ScanRecord], tuple[Failure, ...]]:
    """The scans whose files hold what was written, damaged ones made again, and why the others have no page."""
    sound, lost = [], []
    for record in records:
        try:
            run.verify(made.files(record.scan_id))
        except OrganCamError as error:
            lost.append(Failure("report", record.scan_id, f"no page: {error}", "data"))
        else:
            sound.append(record)
    return sound, tuple(lost)


def _page(record: ScanRecord, targets: RegionTargets | None) -> dict[str, Any]:
    reported = targets is not None and record.scan_id in targets.ids
    index = record.scan_id.casefold() == "index"  # the one name that is taken
    return {
        "scan_id": record.scan_id,
        "file": f"{record.scan_id}_scan.html" if index else f"{record.scan_id}.html",
        "split": record.split,
        "findings": int(targets.present[targets.ids.index(record.scan_id)].sum()) if targets and reported else None,
    }


def _view(
    run: Run, made: _Made, record: ScanRecord, targets: RegionTargets | None, lesions: pd.DataFrame | None
) -> ScanView:
    """Read one scan and everything that is shown on it, all told in voxels of its stored volume."""
    name = record.scan_id
    geometry = made.scans(plan_store)[name]["details"]
    stored = Volume(read_stored(run.root / "volumes" / f"{name}.b2nd"), np.asarray(geometry["affine"]))
    of_images = run.workflow.of_images
    shown = as_one_slice(stored) if of_images else stored
    row = targets.ids.index(name) if targets is not None and name in targets.ids else None
    present, places = None, {}
    if targets is not None and row is not None:
        present = {label: bool(there) for label, there in zip(targets.names, targets.present[row], strict=True)}
        places = {label: targets.places[row, column].tolist() for column, label in enumerate(targets.names)}
    methods = run.workflow.explain.methods
    method = "hirescam" if "hirescam" in methods else methods[0]
    models: dict[str, ModelMaps] = {}
    for model in made.maps(name):
        found = read_attention(run.root / "attention" / model / f"{name}.npz")
        models[model] = ModelMaps(
            found.labels,
            found.maps[method],
            found.scores,
            _on_shown(found.grid, stored, shown),
            _allowed(run, found, places, name) if name in made.scans(plan_regions) else None,
        )
    organs = run.root / "organs" / f"{name}_organs.nii.gz"
    known, confounder = (_places(run, name, geometry), None) if of_images else _known(run, lesions, name)
    return ScanView(
        scan_id=name,
        volume=shown,
        models=models,
        organs=read_volume(organs).reoriented() if name in made.scans(plan_segment) else None,
        present=present,
        organ_bits={label: given[:3] for label, given in places.items() if any(given[:3])},
        lesions=known,
        confounder=confounder,
        method=METHOD_NAMES.get(method, method),
        of_image=of_images,
    )


def _on_shown(grid: FeatureGrid, stored: Volume, shown: Volume) -> FeatureGrid:
    """The cells in voxels of what is shown: of the stored volume, which the network saw padded or cropped."""
    shape = shown.array.shape
    affine = input_affine(stored.affine, stored.array.shape, grid.input_shape)
    return grid_on_scan(grid, affine, shown.affine, (shape[0], shape[1], shape[2]))


def _allowed(
    run: Run, found: ScanAttention, places: Mapping[str, Sequence[int]], scan_id: str
) -> NDArray[np.bool_] | None:
    """Allowed cells as they were trained and scored on; None without a report or without regions."""
    path, key = run.root / "regions" / f"{scan_id}.npz", grid_key(found.grid)
    if not places or not has_regions(path, key):
        return None
    nowhere = [0] * len(next(iter(places.values())))
    bits = torch.tensor([list(places.get(label, nowhere)) for label in found.labels], dtype=torch.uint8)
    return expand_regions(torch.from_numpy(read_regions(path, key)), bits).numpy()


def _places(run: Run, name: str, geometry: Mapping[str, Any]) -> dict[str, Volume]:
    """Known places of a 2D image by label; none where they cannot be used, which the evaluation tells."""
    path = run.workflow.data.lesions
    if path is None or not path.exists():
        return {}
    known: ImagePlaces = run.once("known places", lambda: ImagePlaces(path))
    try:
        return known.masks(name, geometry) if name in known else {}
    except DataError:
        return {}


def _lesion_table(run: Run) -> pd.DataFrame | None:
    """Known lesions of volumes."""
    path = None if run.workflow.of_images else run.workflow.data.lesions
    return read_table(path, LESION_COLUMNS, "data.lesions") if path is not None and path.is_file() else None


def _known(run: Run, table: pd.DataFrame | None, scan_id: str) -> tuple[dict[str, Volume], Volume | None]:
    """Known lesions of a scan by region label, and its confounder, from all of its mask files.

    A row without an abnormality of the catalogue is a confounder.
    """
    path = run.workflow.data.lesions
    rows = table[table["scan_id"] == scan_id] if table is not None else None
    if path is None or rows is None or rows.empty:
        return {}, None
    parts: dict[str, list[Volume]] = {}
    for masks, own in read_masks(path.parent, rows):
        values: dict[str, list[int]] = {}
        for row in own.to_dict("records"):
            for label in _labels_of_cell(row["abnormality"], row["location"]):
                values.setdefault(label, []).append(int(row["value"]))
        for label, wanted in values.items():
            parts.setdefault(label, []).append(Volume(np.isin(masks.array, wanted), masks.affine))
    found = {label: joined(masks) for label, masks in parts.items()}
    lesions = {label: mask for label, mask in found.items() if mask.array.any()}
    return {label: mask for label, mask in lesions.items() if label}, lesions.get("")


@lru_cache(maxsize=256)
def _labels_of_cell(abnormality: str, location: str) -> tuple[str, ...]:
    """Region labels that a lesion makes present; an empty name for a confounder."""
    if not location or abnormality not in {known.name for known in abnormalities()}:
        return ("",)
    targets = region_targets(pd.DataFrame([[1]], columns=[f"{abnormality}*{location}"]))
    return tuple(name for name, there in zip(targets.names, targets.present[0], strict=True) if there)


def _findings_of(results: Results, record: ScanRecord) -> pd.DataFrame | None:
    if results.findings is None or not record.report_id:
        return None
    return results.findings[results.findings["report_id"] == record.report_id]


def _report_texts(run: Run, wanted: set[str]) -> dict[str, str]:
    """The texts of some reports, as their findings' offsets count; none if the file is no longer there."""
    data = run.workflow.data
    if data.reports is None or not data.reports.is_file() or not wanted:
        return {}
    try:
        identity, columns = report_columns(data.reports, data.report_id_column, data.report_text_columns)
        rows = [row for row in read_rows(data.reports) if str(row.get(identity, "")).strip() in wanted]
        parsed = parse_table(rows, identity, columns, vocabulary=run.workflow.parse.vocabulary)
        return {name: report.text for name, report in parsed}
    except OrganCamError:  # the table, or a vocabulary of one's own, has changed since it was parsed
        return {}


def _drop_old_pages(folder: Path, current: set[str]) -> None:
    """Scan pages of an earlier choice, which no link leads to any more."""
    for path in sorted(folder.glob("*.html")):
        if path.name not in current:
            with path.open(encoding="utf-8", errors="replace") as stream:
                if SCAN_PAGE_MARK in stream.read(1000):
                    path.unlink()
