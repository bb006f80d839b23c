"""Report text to labels: ``labels/findings.csv``, ``labels.csv`` and ``labels_by_location.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from organcam.nlp import ReportParser, findings_table, labels_by_location_table, labels_table

from ..data.discover import read_reports, read_table, unique_report
from ..errors import DataError
from ..runner import Failure, Unit, WorkContext, fingerprint_file
from .run import Run, StageSummary, summarise

__all__ = ["run_parse"]

VERSION = 1


def run_parse(run: Run) -> StageSummary:
    """Parse every report of ``data.reports``; without reports there is nothing to do."""
    data, settings = run.workflow.data, run.workflow.parse
    if data.reports is None:
        return StageSummary("parse", 0, 0, notes=("data.reports is not set: no labels, so nothing can be trained",))
    read_table(data.reports, [data.report_id_column, *data.report_text_columns], "data.reports")
    inputs = {"reports": fingerprint_file(data.reports)}
    if Path(settings.vocabulary).is_file():
        inputs["vocabulary"] = fingerprint_file(Path(settings.vocabulary))
    parameters = {
        **settings.model_dump(mode="json"),
        "id_column": data.report_id_column,
        "text_columns": data.report_text_columns,
    }
    unit = Unit("reports", inputs, {"reports": str(data.reports.absolute())})
    result = run.spread("parse", VERSION, run.folder("labels"), parse_reports, parameters, [unit])
    if result.failed:
        raise DataError(result.failed[0].reason)
    details = result.done["reports"]["details"]
    failures = tuple(Failure("parse", row["report_id"], row["reason"], "data") for row in details["problems"])
    notes = [f"{details['findings']} findings in {details['reports']} reports"]
    return replace(summarise("parse", result, notes=notes), failures=failures)


def parse_reports(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parse one table of reports and write the three label tables."""
    texts = read_reports(Path(payload["reports"]), parameters["id_column"], parameters["text_columns"])
    parser = ReportParser(vocabulary=parameters["vocabulary"])
    parsed, problems = {}, []
    for report_id in texts:
        try:
            parsed[report_id] = parser.parse(unique_report(texts, report_id))
        except ValueError as error:
            problems.append({"report_id": report_id, "reason": str(error)})
    policy = {key: parameters[key] for key in ("uncertain", "historical")}
    found = findings_table(parsed)
    tables = {
        "findings.csv": found,
        "labels.csv": labels_table(parsed, **policy, vocabulary=parameters["vocabulary"]),
        "labels_by_location.csv": labels_by_location_table(
            parsed, **policy, vocabulary=parameters["vocabulary"]
        ).reset_index(),
    }
    for name, table in tables.items():
        with context.output(name) as path:
            table.to_csv(path, index=False, lineterminator="\n")
    return {"reports": len(parsed), "findings": len(found), "problems": problems}
