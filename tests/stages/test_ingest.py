"""Bad data sets: what is usable goes on, what is not is told, nothing is lost."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from organcam.errors import ConfigError, OrganCamError
from organcam.runner import read_failures
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow


def save(path: Path, array=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((6, 6, 6), -800, np.int16) if array is None else array
    nib.save(nib.Nifti1Image(values, np.diag([-2.0, -2.0, 2.0, 1.0])), path)
    return path


def ingest(tmp_path: Path, **data):
    workflow = parse_workflow({"data": {"images": str(tmp_path / "in"), **data}})
    return run_workflow(workflow, tmp_path / "out", stages=["ingest"], executor="serial")


def reasons(tmp_path: Path) -> dict[str, str]:
    return {failure.id: failure.reason for failure in read_failures(tmp_path / "out")}


def test_good_scans_and_reports_are_joined(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    save(tmp_path / "in" / "b.nii")
    (tmp_path / "r.csv").write_text("scan_id,report_text\na,No nodule.\nb,Nodule.\n")
    outcome = ingest(tmp_path, reports=str(tmp_path / "r.csv"))
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv", keep_default_na=False)
    assert outcome.exit_code == 0
    assert manifest[["scan_id", "report_id", "split"]].values.tolist() == [["a", "a", "all"], ["b", "b", "all"]]
    assert "too few to split" in outcome.summaries[0].notes[0]


def test_one_rotten_scan_of_every_kind_never_stops_the_rest(tmp_path):
    folder = tmp_path / "in"
    save(folder / "good.nii.gz")
    save(folder / "flat.nii.gz", np.zeros((6, 6), np.int16))
    save(folder / "series.nii.gz", np.zeros((4, 4, 4, 3), np.int16))
    save(folder / "nan.nii.gz", np.full((4, 4, 4), np.nan, np.float32))
    cut = save(folder / "cut.nii.gz", np.random.default_rng(0).integers(0, 99, (30, 30, 30)).astype(np.int16))
    cut.write_bytes(cut.read_bytes()[:3000])
    (folder / "empty.nii.gz").write_bytes(b"")
    outcome = ingest(tmp_path)
    found = reasons(tmp_path)
    assert outcome.exit_code == 3
    assert outcome.summaries[0].done == 1
    assert set(found) == {"flat", "series", "nan", "cut", "empty"}
    assert "3 axes" in found["flat"]
    assert "NaN" in found["nan"]
    assert "unreadable or truncated" in found["cut"]


def test_ids_that_are_unsafe_double_or_without_file_are_refused_by_name(tmp_path):
    save(tmp_path / "a.nii.gz")
    rows = "good,a.nii.gz\n../evil,a.nii.gz\ntwice,a.nii.gz\nTWICE,a.nii.gz\ngone,b.nii.gz\nnofile,\n"
    (tmp_path / "in.csv").write_text("scan_id,image\n" + rows)
    outcome = ingest(tmp_path, images=str(tmp_path / "in.csv"))
    found = reasons(tmp_path)
    assert outcome.exit_code == 3
    assert set(found) == {"../evil", "twice", "TWICE", "gone", "nofile"}
    assert "more than once" in found["twice"]
    assert "no such file" in found["gone"]
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv")
    assert manifest["scan_id"].tolist() == ["good"]


def test_scan_without_report_and_report_without_scan_are_told_and_kept(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    save(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "r.csv").write_text("scan_id,report_text\na,Nodule.\nz,Mass.\n")
    outcome = ingest(tmp_path, reports=str(tmp_path / "r.csv"))
    assert outcome.exit_code == 3
    assert "no report with id b" in reasons(tmp_path)["b"]
    assert reasons(tmp_path)["z"] == "a report without a scan"
    manifest = pd.read_csv(tmp_path / "out" / "manifest.csv", keep_default_na=False)
    assert manifest["scan_id"].tolist() == ["a", "b"]


def test_conflicting_reports_of_one_id_are_not_guessed_between(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "r.csv").write_text("scan_id,report_text\na,Nodule.\na,No nodule.\n")
    ingest(tmp_path, reports=str(tmp_path / "r.csv"))
    assert "different texts" in reasons(tmp_path)["a"]


@pytest.mark.parametrize(
    ("splits", "words"),
    [
        ("a,train\nb,train\n", "valid and test is empty"),
        ("a,train\nb,tset\n", "did you mean 'test'"),
        ("a,train\n", "1 of 2 scans"),
    ],
)
def test_split_tables_that_do_not_work_are_told(tmp_path, splits, words):
    save(tmp_path / "in" / "a.nii.gz")
    save(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "s.csv").write_text("scan_id,split\n" + splits)
    with pytest.raises(OrganCamError, match=words):
        ingest(tmp_path, splits=str(tmp_path / "s.csv"))


def test_nothing_usable_at_all_is_an_error_that_says_why(tmp_path):
    save(tmp_path / "in" / "a.nii.gz", np.zeros((6, 6), np.int16))
    with pytest.raises(OrganCamError, match="not one scan of data.images is usable: .*3 axes"):
        ingest(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.images"):
        run_workflow(parse_workflow({}), tmp_path / "out2", stages=["ingest"], executor="serial")


def test_a_second_run_reads_nothing_and_a_touched_scan_alone_is_read_again(tmp_path):
    for name in "ab":
        save(tmp_path / "in" / f"{name}.nii.gz")
    ingest(tmp_path)
    assert (ingest(tmp_path).summaries[0].done, ingest(tmp_path).summaries[0].skipped) == (0, 2)
    save(tmp_path / "in" / "b.nii.gz", np.full((6, 6, 6), 40, np.int16))
    again = ingest(tmp_path).summaries[0]
    assert (again.done, again.skipped) == (1, 1)
    assert not list((tmp_path / "out").rglob("*.tmp"))
