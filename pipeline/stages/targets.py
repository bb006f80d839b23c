"""Training targets of the run's scans: which region labels are present, and in which organs their evidence may lie."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..catalogue.targets import RegionTargets, region_targets, select_labels
from ..data.records import ScanRecord, in_split
from ..errors import OrganCamError
from .run import Run

__all__ = ["load_targets", "training_labels"]


def load_targets(run: Run, records: Sequence[ScanRecord]) -> RegionTargets:
    """Targets of the scans that have a report, in the order of the records.

    Raises:
        OrganCamError: if the parse stage has not run, or no scan has a report.
    """
    path = run.root / "labels" / "labels_by_location.csv"
    if not path.is_file():
        msg = f"{run.root} has no labels/labels_by_location.csv: set data.reports and run the parse stage first"
        raise OrganCamError(msg)
    table = pd.read_csv(path, dtype={0: str}).set_index("report_id")
    known = set(table.index)
    if not records:
        msg = "no scan got through the earlier stages: see failures.csv"
        raise OrganCamError(msg)
    paired = [record for record in records if record.report_id in known]
    if not paired:
        msg = "no scan of the manifest has a parsed report: check data.report_id_column against the scan ids"
        raise OrganCamError(msg)
    cells = table.loc[[record.report_id for record in paired]]
    cells.index = pd.Index([record.scan_id for record in paired], name="scan_id")
    return region_targets(cells, fidelity=run.workflow.labels.fidelity)


def training_labels(run: Run, targets: RegionTargets, records: Sequence[ScanRecord]) -> tuple[str, ...]:
    """Names of the network's outputs: the wanted labels that enough training scans have.

    Raises:
        ConfigError: for a name that no region label has.
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
