"""Whether the labels of a data set are frequent enough to learn and to judge, before a scan is read."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from organcam.nlp import parse_table, write_outputs

from ..catalogue.targets import RegionTargets, select_labels
from ..config import Workflow
from ..data.discover import paired_id, report_columns
from ..data.found import FoundScan
from ..data.label_files import read_label_files, read_label_matrix
from ..data.phantom import PhantomSettings, plan_dataset, planned_cells
from .targets import label_matrix_name, targets_of_table

__all__ = ["Positives", "count_positives", "positives_of_phantom", "positives_of_scans"]


@dataclass(frozen=True)
class Positives:
    """What can be learnt and judged of a data set.

    Attributes:
        problems: what a stage would stop at.
        doubts: what is asked for and cannot be, though every stage would end.
        told: how many labels are learnt, and how many of them the validation split can judge.
    """

    problems: tuple[str, ...]
    doubts: tuple[str, ...]
    told: str


def positives_of_phantom(workflow: Workflow, phantom: PhantomSettings) -> Positives:
    """From the plan of the data set; a finding that is rendered smaller than a voxel counts although no report does."""
    plan = [spec for spec in plan_dataset(phantom) if spec.split in {"train", "valid"}]
    cells = {spec.scan_id: {"*".join(cell) for cell in planned_cells(phantom, spec)} for spec in plan}
    columns = sorted(set().union(*cells.values()))
    rows = [[int(column in found) for column in columns] for found in cells.values()]
    table = pd.DataFrame(rows, index=pd.Index(list(cells), name="scan_id"), columns=columns)
    return count_positives(workflow, table, {spec.scan_id: spec.split for spec in plan})


def positives_of_scans(workflow: Workflow, scans: Sequence[FoundScan], splits: Mapping[str, str]) -> Positives:
    """From the given labels, or from the reports, parsed as the parse stage does; seconds for a thousand of them."""
    files = workflow.data.label_files
    matrix = read_label_files(files, workflow.data.kind) if files else _parsed(workflow)
    known = set(matrix.index)
    ids = {scan.scan_id: paired_id(scan, known) for scan in scans}
    paired = [scan for scan in scans if ids[scan.scan_id] in known]
    table = matrix.loc[[ids[scan.scan_id] for scan in paired]]
    table.index = pd.Index([scan.scan_id for scan in paired], name="scan_id")
    return count_positives(workflow, table, splits)


def _parsed(workflow: Workflow) -> pd.DataFrame:
    data, rules = workflow.data, workflow.parse
    assert data.reports is not None
    identity, texts = report_columns(data.reports, data.report_id_column, data.report_text_columns)
    with tempfile.TemporaryDirectory() as folder:
        write_outputs(
            parse_table(data.reports, identity, texts, vocabulary=rules.vocabulary),
            Path(folder),
            vocabulary=rules.vocabulary,
            uncertain=rules.uncertain,
            historical=rules.historical,
        )
        return read_label_matrix(Path(folder) / label_matrix_name(workflow))


def count_positives(workflow: Workflow, cells: pd.DataFrame, splits: Mapping[str, str]) -> Positives:
    """Judge a label matrix by what the workflow asks of it.

    Args:
        workflow: its labels and explain sections.
        cells: 0/1, one row a scan, columns as `targets_of_table` takes them.
        splits: scan -> split; scans in ``all`` count for every one.
    """
    settings = workflow.labels
    targets = targets_of_table(workflow, cells)
    if settings.names != "all":
        targets = targets.columns(settings.names)
    train, valid = (_of_split(targets, splits, split) for split in ("train", "valid"))
    kept = select_labels(train, settings.min_positives)
    problems = []
    if not kept:
        most = int(train.present.sum(axis=0).max(initial=0))
        problems.append(
            f"no label has {settings.min_positives} positive scans of the {len(train.ids)} for training, the most "
            f"frequent one has {most}: lower labels.min_positives or add scans"
        )
    counts = dict(zip(train.names, train.present.sum(axis=0).tolist(), strict=True))
    rare = {
        name: f"{name} has {count} positive training scans, fewer than labels.min_positives ({settings.min_positives})"
        for name, count in counts.items()
        if kept and name not in kept
    }
    problems += [f"explain.volumes: {rare[name]}" for name in workflow.explain.volumes if name in rare]
    doubts = [f"labels.names: {rare[name]}" for name in settings.names if settings.names != "all" and name in rare]
    share = valid.columns(kept).present.mean(axis=0) if valid.ids and kept else np.zeros(0)
    judged = int(((share > 0) & (share < 1)).sum())
    if kept and not judged:
        doubts.append(
            f"no label is both present and absent in the {len(valid.ids)} scans for validation: nothing can be chosen "
            "or given thresholds"
        )
    told = f"{len(kept)} labels to learn, {judged} of them with both classes in valid"
    return Positives(tuple(problems), tuple(doubts), told)


def _of_split(targets: RegionTargets, splits: Mapping[str, str], split: str) -> RegionTargets:
    return targets.of_scans([name for name in targets.ids if splits.get(name) in {split, "all"}])
