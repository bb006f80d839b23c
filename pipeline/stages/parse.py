"""Report text to labels: ``labels/findings.csv``, ``labels.csv`` and ``labels_by_location.csv``.

Where labels are given (``data.labels``), their tables become the last of these, and nothing is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from organcam.nlp import (
    Spread,
    check_labels,
    find_columns,
    load_vocabulary,
    parse_table,
    read_rows,
    vocabulary_files,
    write_outputs,
)

from ..errors import ConfigError, DataError, OrganCamError
from ..runner import Failure, StagePlan, StageSpec, Unit, WorkContext, fingerprint_file, fingerprint_path, read_sidecar
from ..spreadsheet import as_text, from_text
from .run import Run, StageSummary, summarise

__all__ = ["plan_parse", "run_parse"]

VERSION = 11


def run_parse(run: Run) -> StageSummary:
    """Parse every report of ``data.reports``, or read ``data.labels``; without either there is nothing to do."""
    data = run.workflow.data
    if not data.tells_labels:
        return StageSummary("parse", 0, 0, notes=("data.reports is not set: no labels, so nothing can be trained",))
    if data.reports is not None:
        _checked_columns(run)
    result = run.make(plan_parse)
    if result.failed:
        raise DataError(result.failed[0].reason)
    (made,) = result.done.values()
    details = made["details"]
    if data.reports is None:
        what = "images are given, {} labels" if run.workflow.of_images else "scans are given, {} cells"
        told = f"labels of {details['rows']} {what.format(details['columns'])} each"
        return summarise("parse", result, notes=[told])
    failures = tuple(
        Failure("parse", from_text(str(row["report_id"])), str(row["reason"]), "data")
        for row in read_rows(run.root / "labels" / "reports.csv")
        if row["reason"]
    )
    notes = [f"{details['findings']} findings in {details['reports']} reports"]
    return replace(summarise("parse", result, notes=notes), failures=failures)


def plan_parse(run: Run) -> StagePlan:
    """The label tables of the whole table of reports, or of all given labels, in one unit."""
    data, settings = run.workflow.data, run.workflow.parse
    folder = run.root / "labels"
    if data.label_files:
        paths = [str(path.absolute()) for path in data.label_files]
        inputs = {f"labels {number}": fingerprint_path(path) for number, path in enumerate(data.label_files)}
        kind = {"kind": data.kind} if run.workflow.of_images else {}
        spec = StageSpec("parse", VERSION, folder, copy_labels, kind)
        return StagePlan(spec, (Unit("labels", inputs, {"labels": paths}),), "label tables", in_process=True)
    if data.reports is None:
        return StagePlan(StageSpec("parse", VERSION, folder, parse_reports), (), "label tables")
    before = read_sidecar(folder, "reports")
    if before is not None and not data.reports.is_file():  # a run directory can be moved away from its reports
        identity, texts = before["details"].get("columns", [None, []])
        inputs = {"reports": before["inputs"]["reports"]}
    else:
        identity, texts = _checked_columns(run)
        inputs = {"reports": fingerprint_file(data.reports)}
    if Path(settings.vocabulary).is_file():
        files = enumerate(vocabulary_files(settings.vocabulary))
        inputs |= {f"vocabulary {number}": fingerprint_file(path) for number, path in files}
    if settings.labels is not None and Path(settings.labels).is_file():
        inputs["profile"] = fingerprint_file(Path(settings.labels))
    parameters = {**settings.model_dump(mode="json"), "id_column": identity, "text_columns": list(texts)}
    unit = Unit("reports", inputs, {"reports": str(data.reports.absolute())})
    work = partial(parse_reports, spread=run.executor.run) if run.executor.workers > 1 else parse_reports
    spec = StageSpec("parse", VERSION, folder, work, parameters)
    # one table is one unit; its reports are what the processes share
    return StagePlan(spec, (unit,), "label tables", in_process=True)


def _checked_columns(run: Run) -> tuple[str, tuple[str, ...]]:
    """Id and text columns of the reports, once everything that was asked for is known to be there.

    Only the table's first line is read: a table of reports may be larger than memory.

    Raises:
        ConfigError: for a missing table or column, a bad vocabulary or an unknown label profile.
    """
    data, settings = run.workflow.data, run.workflow.parse
    vocabulary = load_vocabulary(settings.vocabulary)
    if settings.labels is not None:
        check_labels(settings.labels, vocabulary)
    assert data.reports is not None
    if not data.reports.is_file():
        msg = f"data.reports: no such file: {data.reports}"
        raise ConfigError(msg)
    try:
        return find_columns(data.reports, data.report_id_column, data.report_text_columns)
    except OrganCamError as error:
        msg = f"data.reports: {data.reports}: {error}"
        raise ConfigError(msg) from error


def copy_labels(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Given labels as one table of the run: ``labels_by_location.csv``, of 2D images ``labels.csv``."""
    from ..data.label_files import read_label_files  # noqa: PLC0415 - pandas, which parsing does without

    kind = parameters.get("kind", "volumes")
    matrix = read_label_files([Path(path) for path in payload["labels"]], kind)
    with context.output("labels.csv" if kind == "images" else "labels_by_location.csv") as path:
        matrix.rename(index=as_text).to_csv(path, index_label="report_id")
    return {"rows": len(matrix), "columns": len(matrix.columns)}


def parse_reports(
    context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any], spread: Spread | None = None
) -> dict[str, Any]:
    """Parse one table of reports, streamed and ``spread`` over processes, and write the label tables."""
    vocabulary = parameters["vocabulary"]
    reports = parse_table(
        payload["reports"],
        parameters["id_column"],
        parameters["text_columns"],
        vocabulary=vocabulary,
        spread=spread,
    )
    written = context.scratch / "labels"
    counts = write_outputs(
        reports,
        written,
        vocabulary=vocabulary,
        uncertain=parameters["uncertain"],
        historical=parameters["historical"],
        labels=parameters["labels"],
    )
    for table in sorted(written.iterdir()):
        with context.output(table.name) as path:
            table.replace(path)
    return {**counts, "columns": [parameters["id_column"], parameters["text_columns"]]}
