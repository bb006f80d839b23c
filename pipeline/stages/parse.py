"""Report text to labels: ``labels/findings.csv``, ``labels.csv`` and ``labels_by_location.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from organcam.nlp import parse_table, write_outputs

from ..data.discover import read_table, report_columns
from ..errors import DataError
from ..runner import Failure, Unit, WorkContext, fingerprint_file, make_executor
from .run import Run, StageSummary, summarise

__all__ = ["run_parse"]

VERSION = 2


def run_parse(run: Run) -> StageSummary:
    """Parse every report of ``data.reports``; without reports there is nothing to do."""
    data, settings = run.workflow.data, run.workflow.parse
    if data.reports is None:
        return StageSummary("parse", 0, 0, notes=("data.reports is not set: no labels, so nothing can be trained",))
    identity, texts = report_columns(data.reports, data.report_id_column, data.report_text_columns)
    inputs = {"reports": fingerprint_file(data.reports)}
    if Path(settings.vocabulary).is_file():
        inputs["vocabulary"] = fingerprint_file(Path(settings.vocabulary))
    parameters = {**settings.model_dump(mode="json"), "id_column": identity, "text_columns": texts}
    unit = Unit("reports", inputs, {"reports": str(data.reports.absolute()), "workers": run.executor.workers})
    with make_executor("serial") as here:  # the parser spreads the reports itself
        result = run.spread("parse", VERSION, run.folder("labels"), parse_reports, parameters, [unit], executor=here)
    if result.failed:
        raise DataError(result.failed[0].reason)
    details = result.done["reports"]["details"]
    table = read_table(run.root / "labels" / "reports.csv", ["report_id", "reason"], "labels/reports.csv")
    failures = tuple(
        Failure("parse", row["report_id"], row["reason"], "data") for row in table.to_dict("records") if row["reason"]
    )
    notes = [f"{details['findings']} findings in {details['reports']} reports"]
    return replace(summarise("parse", result, notes=notes), failures=failures)


def parse_reports(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parse one table of reports, streamed, and write the label tables."""
    vocabulary = parameters["vocabulary"]
    reports = parse_table(
        payload["reports"],
        parameters["id_column"],
        parameters["text_columns"],
        vocabulary=vocabulary,
        workers=payload["workers"],
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
    return counts
