"""Labels from tables in place of reports: the same training as from the reports that say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from organcam.errors import OrganCamError
from organcam.runner import read_failures
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import load_workflow

SETTINGS = (
    "input.shape=[24,64,64]",
    "labels.min_positives=2",
    "train.epochs=1",
    "store.spacing_mm=null",
    "explain.volumes=[]",
    "report.scans=1",
)
PHANTOM = ("phantom.shape=[24,64,64]", "phantom.scans={train: 6, valid: 3, test: 2}", "phantom.interventions=1")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    run_workflow(load_workflow("phantom", PHANTOM), out, executor="serial", stages=("phantom", "ingest", "parse"))
    return out


def run(phantom: Path, out: Path, *settings: str, stages: tuple[str, ...] | None = None):
    scans = f"data.images={phantom / 'phantom' / 'scans.csv'}"
    workflow = load_workflow("folder", [*SETTINGS, scans, *settings])
    return run_workflow(workflow, out, executor="serial", stages=stages or workflow.stages())


def test_given_labels_train_score_and_show_as_the_reports_do(phantom: Path, tmp_path: Path):
    labels = phantom / "labels" / "labels_by_location.csv"
    given = run(phantom, tmp_path / "given", f"data.labels={labels}")
    assert not any(failure.kind != "unpaired" for summary in given.summaries for failure in summary.failures)
    told = run(phantom, tmp_path / "told", f"data.reports={phantom / 'phantom' / 'reports.csv'}")
    assert told.exit_code == given.exit_code
    for name in ("scores.csv", "organ_iou.csv", "classification.csv"):
        tables = [pd.read_csv(tmp_path / way / "evaluation" / name) for way in ("given", "told")]
        pd.testing.assert_frame_equal(*tables)
    assert "scan" in (tmp_path / "given" / "report" / "index.html").read_text("utf-8")
    again = run(phantom, tmp_path / "given", f"data.labels={labels}")
    assert not any(summary.done for summary in again.summaries if summary.stage != "report")


def test_changed_labels_train_again_and_unknown_ids_are_told(phantom: Path, tmp_path: Path):
    matrix = pd.read_csv(phantom / "labels" / "labels_by_location.csv", dtype={0: str})
    first, second = matrix.iloc[::2], matrix.iloc[1::2]
    first.to_csv(tmp_path / "first.csv", index=False)
    second.assign(report_id=[f"{second.report_id.iloc[0]}.nii.gz", "elsewhere", *second.report_id.iloc[2:]]).to_csv(
        tmp_path / "second.csv", index=False
    )
    stages = ("ingest", "parse")
    files = f"data.labels=[{tmp_path / 'first.csv'}, {tmp_path / 'second.csv'}]"
    outcome = run(phantom, tmp_path / "out", files, stages=stages)
    missing = second.report_id.iloc[1]
    assert {failure.id: failure.reason.split(":")[0] for failure in read_failures(tmp_path / "out")} == {
        "elsewhere": "a label without a scan",
        missing: f"no label with id {missing}",
    }
    assert [summary.done for summary in outcome.summaries] == [len(matrix), 1]
    made = json.loads((tmp_path / "out" / "labels" / "labels.json").read_text())
    assert made["details"] == {"rows": len(matrix), "columns": len(matrix.columns) - 1}
    first.assign(**{matrix.columns[1]: 1}).to_csv(tmp_path / "first.csv", index=False)
    assert [summary.done for summary in run(phantom, tmp_path / "out", files, stages=stages).summaries] == [0, 1]


def test_labels_and_reports_together_are_refused(phantom: Path, tmp_path: Path):
    with pytest.raises(OrganCamError, match="leave out one of the two"):
        run(phantom, tmp_path, "data.labels=a.csv", "data.reports=b.csv")
    with pytest.raises(OrganCamError, match="data.labels: no such file"):
        run(phantom, tmp_path, "data.labels=a.csv")
