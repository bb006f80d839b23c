"""Training targets of the run's scans: which labels are present, and in which organs their evidence may lie."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd

from organcam.nlp import load_vocabulary

from ..catalogue import region_labels
from ..catalogue.label_table import OwnLabel, read_label_table
from ..catalogue.targets import ORGANS, RegionTargets, custom_targets, region_targets, select_labels
from ..catalogue.targets import possible_places as possible_of_label
from ..config import Workflow
from ..data.image_labels import image_label_names
from ..data.label_files import read_label_matrix
from ..data.records import ScanRecord, in_split
from ..errors import ConfigError, OrganCamError, did_you_mean
from ..runner import output_hash
from .parse import plan_parse
from .run import Run

__all__ = [
    "check_labels",
    "label_matrix_name",
    "legal_labels",
    "load_targets",
    "nearest_label",
    "own_labels",
    "picture_places",
    "possible_places",
    "targets_of_table",
    "training_labels",
]


MOST_LISTED = 40


def load_targets(run: Run, records: Sequence[ScanRecord]) -> RegionTargets:
    """Targets of the scans that have a report, in the order of the records: the 80 labels and those of a label table.

    Raises:
        OrganCamError: if the parse stage has not run with the settings of now, or no scan has a report.
        ConfigError: if the label table does not fit.
    """
    table: pd.DataFrame = run.once("labels by location", lambda: _read_cells(run))
    known = set(table.index)
    if not records:
        msg = "no scan got through the earlier stages: see failures.csv"
        raise OrganCamError(msg)
    paired = [record for record in records if record.report_id in known]
    if not paired:
        msg = "no scan of the manifest has a parsed report or a given label: check their ids against the scans'"
        raise OrganCamError(msg)
    cells = table.loc[[record.report_id for record in paired]]
    cells.index = pd.Index([record.scan_id for record in paired], name="scan_id")
    return targets_of_table(run.workflow, cells)


def targets_of_table(workflow: Workflow, cells: pd.DataFrame) -> RegionTargets:
    """Targets of the rows of a label matrix: the 80 labels and those of a label table; of 2D images its own columns.

    Args:
        workflow: its labels section, and the kind of its scans.
        cells: 0/1, one row a scan, columns ``abnormality*location``; of 2D images the labels by name.

    Raises:
        ConfigError: if the label table does not fit.
    """
    if workflow.of_images:
        shape = (len(cells), len(cells.columns))
        nowhere = np.zeros((*shape, len(ORGANS)), np.uint8)
        names = tuple(map(str, cells.columns))
        return RegionTargets(tuple(map(str, cells.index)), names, cells.to_numpy(np.uint8), nowhere)
    own = own_labels(workflow)
    targets = region_targets(cells, fidelity=workflow.labels.fidelity)
    return targets.join(custom_targets(cells, own)) if own else targets


def _read_cells(run: Run) -> pd.DataFrame:
    """The label matrix as the parse stage would write it now, one row a report."""
    if not run.workflow.data.tells_labels:
        msg = "data.reports is not set: without reports there are no labels to train or score on"
        raise OrganCamError(msg)
    path = run.root / "labels" / label_matrix_name(run.workflow)
    (made,) = run.current(plan_parse).values()
    run.verify({str(path): output_hash(made, path.name)})
    return read_label_matrix(path)


def label_matrix_name(workflow: Workflow) -> str:
    """The table of the parse stage that targets are made of: of 2D images no place is known."""
    return "labels.csv" if workflow.of_images else "labels_by_location.csv"


def legal_labels(workflow: Workflow) -> list[str]:
    """Every name that a label may have in this workflow.

    Raises:
        ConfigError: if the tables of an image data set cannot be read.
    """
    if not workflow.of_images:
        return [*own_labels(workflow), *(label.name for label in region_labels())]
    if workflow.data.label_files:
        return list(dict.fromkeys(name for path in workflow.data.label_files for name in image_label_names(path)))
    return list(load_vocabulary(workflow.parse.vocabulary).labels) if workflow.data.reports is not None else []


def own_labels(workflow: Workflow) -> dict[str, OwnLabel]:
    """The labels of the workflow's label table; none without one."""
    table = workflow.labels.table
    return read_label_table(table) if table is not None else {}


def check_labels(workflow: Workflow) -> None:
    """Refuse a label table that does not fit and names that no label has, before anything is computed or written.

    Raises:
        ConfigError: with the nearest legal name.
    """
    legal = legal_labels(workflow)
    wanted = {
        "labels.names": workflow.labels.names,
        "regions.pictures": workflow.regions.pictures,
        "explain.volumes": [name for name in workflow.explain.volumes if name not in {"predicted", "present"}],
    }
    problems = [
        f"{key}: unknown label '{name}': {nearest_label(name, legal)}"
        for key, names in wanted.items()
        for name in names
        if names != "all" and name not in legal
    ]
    if problems:
        msg = "\n".join(problems)
        raise ConfigError(msg)


def nearest_label(name: str, legal: Sequence[str]) -> str:
    """A hint; all names only where they are not the catalogue's 80."""
    if len(legal) <= MOST_LISTED:
        return did_you_mean(name, legal)
    near = get_close_matches(name, legal, n=3)
    hint = f"did you mean {' or '.join(repr(word) for word in near)}? " if near else ""
    return f"{hint}All labels: organcam describe labels"


def possible_places(workflow: Workflow, names: Sequence[str]) -> list[tuple[int, ...]]:
    """Place bits of each label (`RegionTargets.places`): where it could lie, whatever a report says.

    Raises:
        ConfigError: for a name that is neither in the catalogue nor in the label table.
    """
    own = own_labels(workflow)
    return [possible_of_label(own.get(name, name)) for name in names]


def picture_places(run: Run, names: Sequence[str], scan_ids: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """For pictures of regions: scan -> label -> its place bits, and whether a report or the label alone gave them.

    Raises:
        ConfigError: for an unknown label.
    """
    if not names:
        return {}
    possible = {name: list(places) for name, places in zip(names, possible_places(run.workflow, names), strict=True)}
    targets = None
    if run.workflow.data.tells_labels and (run.root / "labels" / "labels_by_location.csv").is_file():
        targets = load_targets(run, run.records("regions"))
    pictures: dict[str, dict[str, dict[str, Any]]] = {}
    for scan_id in scan_ids:
        pictures[scan_id] = {name: {"places": at, "basis": "wherever it could lie"} for name, at in possible.items()}
        if targets is None or scan_id not in targets.rows:
            continue
        row = targets.rows[scan_id]
        for name in names:
            column = targets.names.index(name)
            if targets.present[row, column]:
                pictures[scan_id][name] = {"places": targets.places[row, column].tolist(), "basis": "as reported"}
    return pictures


def training_labels(run: Run, targets: RegionTargets, records: Sequence[ScanRecord]) -> tuple[str, ...]:
    """Names of the network's outputs: the wanted labels that enough training scans have.

    Raises:
        ConfigError: for a name that no label has.
        OrganCamError: if no label is left.
    """
    settings = run.workflow.labels
    if settings.names != "all":
        targets = targets.columns(settings.names)
    train = {record.scan_id for record in in_split(records, "train")}
    labels = select_labels(targets.of_scans([name for name in targets.ids if name in train]), settings.min_positives)
    if not labels:
        msg = f"no label has {settings.min_positives} positive training scans (labels.min_positives)"
        raise OrganCamError(msg)
    return labels
