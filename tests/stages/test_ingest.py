"""Bad data sets: what is usable goes on, what is not is told, nothing is lost."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from organcam.errors import ConfigError, OrganCamError
from organcam.runner import SilentProgress, make_executor, read_failures, read_sidecar
from organcam.stages.ingest import run_ingest
from organcam.stages.run import Run
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow


def save(path: Path, array=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.full((6, 6, 6), -800, np.int16) if array is None else array
    nib.save(nib.Nifti1Image(values, np.diag([-2.0, -2.0, 2.0, 1.0])), path)
    return path


def ingest(tmp_path: Path, stages=("ingest",), **data):
    workflow = parse_workflow({"data": {"images": str(tmp_path / "in"), **data}})
    return run_workflow(workflow, tmp_path / "out", stages=stages, executor="serial")


def reports_of(tmp_path: Path, *names: str) -> str:
    """A table with a report of every scan, without which a run that trains is refused at once."""
    path = tmp_path / "reports.csv"
    path.write_text("scan_id,report_text\n" + "".join(f"{name},Nodule in the right lung.\n" for name in names))
    return str(path)


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
    assert not any("too few to split" in note for note in outcome.summaries[0].notes)  # nothing is trained


def test_a_run_that_trains_says_that_its_few_scans_are_in_every_split(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    workflow = parse_workflow({"data": {"images": str(tmp_path / "in"), "max_failed": 1}})
    run = Run(workflow, tmp_path / "out", make_executor("serial"), SilentProgress(), stages=("ingest", "train"))
    assert run_ingest(run).notes[0].startswith("1 patients are too few to split: every scan is used for training")


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
    ("splits", "words"), [("a,train\nb,train\n", "valid and test is empty"), ("a,train\n", "1 of 2 scans")]
)
def test_split_tables_that_do_not_work_stop_a_run_that_trains_and_no_other(tmp_path, splits, words):
    save(tmp_path / "in" / "a.nii.gz")
    save(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "s.csv").write_text("scan_id,split\n" + splits)
    with pytest.raises(OrganCamError, match=words):
        ingest(tmp_path, ["ingest", "train"], splits=str(tmp_path / "s.csv"), reports=reports_of(tmp_path, "a", "b"))
    outcome = ingest(tmp_path, splits=str(tmp_path / "s.csv"))
    assert outcome.exit_code == 0
    assert any(words in note for note in outcome.summaries[0].notes)


def test_a_split_that_does_not_exist_is_told(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "s.csv").write_text("scan_id,split\na,tset\n")
    with pytest.raises(OrganCamError, match="did you mean 'test'"):
        ingest(tmp_path, splits=str(tmp_path / "s.csv"))


def rotten(path: Path) -> None:
    """A scan whose last bytes are lost."""
    noise = np.random.default_rng(len(path.name)).integers(-1000, 99, (20, 20, 20)).astype(np.int16)
    content = save(path, noise).read_bytes()
    path.write_bytes(content[:-2000])


def test_one_rotten_scan_does_not_stop_a_run_that_needs_no_splits(tmp_path):
    """The only scan of the split valid is unreadable: a run that trains is refused, one that stores is not."""
    for name in "abc":
        save(tmp_path / "in" / f"{name}.nii.gz")
    rotten(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "s.csv").write_text("scan_id,split\na,train\nb,valid\nc,test\n")
    outcome = ingest(tmp_path, ["ingest", "store"], splits=str(tmp_path / "s.csv"))
    assert outcome.exit_code == 3
    assert [summary.done for summary in outcome.summaries] == [2, 2]
    assert "truncated" in reasons(tmp_path)["b"]
    (tmp_path / "out" / "failures.csv").unlink()
    with pytest.raises(OrganCamError, match=r"the split valid is empty .*, b: .*b\.nii\.gz: unreadable or truncated"):
        ingest(tmp_path, ["ingest", "train"], splits=str(tmp_path / "s.csv"), reports=reports_of(tmp_path, *"abc"))
    assert "truncated" in reasons(tmp_path)["b"]


def test_where_every_scan_fails_every_reason_is_written(tmp_path):
    for name in ("flat", "cut", "empty", "text"):
        save(tmp_path / "in" / f"{name}.nii.gz", np.zeros((6, 6), np.int16))
    rotten(tmp_path / "in" / "cut.nii.gz")
    (tmp_path / "in" / "empty.nii.gz").write_bytes(b"")
    with pytest.raises(OrganCamError, match="not one scan of data.images is usable"):
        ingest(tmp_path)
    assert set(reasons(tmp_path)) == {"flat", "cut", "empty", "text"}


def test_an_unreadable_scan_without_a_report_keeps_both_rows_and_stays_out(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    rotten(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "r.csv").write_text("scan_id,report_text\na,Nodule.\n")
    outcome = ingest(tmp_path, ["ingest", "store"], reports=str(tmp_path / "r.csv"))
    found = [(failure.id, failure.kind) for failure in read_failures(tmp_path / "out")]
    assert found == [("b", "data"), ("b", "unpaired")]
    assert outcome.summaries[1].done == 1


def test_a_run_in_which_most_images_vanish_does_not_go_on_to_training(tmp_path):
    for number in range(8):
        save(tmp_path / "in" / f"s{number}.nii.gz")
    table = tmp_path / "scans.csv"
    table.write_text("scan_id,image\n" + "".join(f"s{n},in/s{n}.nii.gz\n" for n in range(8)))
    for number in range(5):
        (tmp_path / "in" / f"s{number}.nii.gz").unlink()
    reports = reports_of(tmp_path, *(f"s{n}" for n in range(8)))
    words = r"5 of 8 scans cannot be used \(62%, data.max_failed allows 50%\).*s0: no such file"
    with pytest.raises(OrganCamError, match=words):
        ingest(tmp_path, ["ingest", "store", "train"], images=str(table), reports=reports)
    assert len(reasons(tmp_path)) == 5
    assert not (tmp_path / "out" / "volumes").exists()
    ingest(tmp_path, ["ingest", "store"], images=str(table))
    with pytest.raises(OrganCamError, match="allows 60%"):
        ingest(tmp_path, ["train"], images=str(table), reports=reports, max_failed=0.6)
    with pytest.raises(OrganCamError) as caught:  # the next thing that is missing
        ingest(tmp_path, ["train"], images=str(table), reports=reports, max_failed=0.7)
    assert "max_failed" not in str(caught.value)


def test_scans_that_can_hold_no_chest_are_noted(tmp_path):
    save(tmp_path / "in" / "small.nii.gz")
    path = tmp_path / "in" / "whole.nii.gz"
    nib.save(nib.Nifti1Image(np.full((30, 30, 30), -800, np.int16), np.diag([-10.0, -10.0, 8.0, 1.0])), path)
    outcome = ingest(tmp_path)
    assert outcome.exit_code == 0
    assert outcome.summaries[0].notes[-1].startswith("1 scans can hold no whole chest: small: covers 12 mm from top")


def test_a_scan_over_the_limit_is_one_row_with_shape_and_limit(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    save(tmp_path / "in" / "b.nii.gz", np.zeros((8, 8, 8), np.int16))
    ingest(tmp_path, max_voxels=300)
    assert "declares 8 x 8 x 8 voxels, more than the 300 of data.max_voxels" in reasons(tmp_path)["b"]


def test_resampling_over_the_limit_is_one_row_too(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    outcome = ingest(tmp_path, ["ingest", "store"], max_voxels=300)
    assert outcome.exit_code == 3
    assert "a.nii.gz: resamples to 15 x 15 x 15 voxels" in reasons(tmp_path)["a"]


def test_the_data_file_of_a_detached_header_belongs_to_the_scan(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    image = sitk.GetImageFromArray(np.full((6, 6, 6), -800, np.int16))
    sitk.WriteImage(image, str(folder / "a.mhd"))
    ingest(tmp_path)
    first = read_sidecar(tmp_path / "out" / "scans", "a")["details"]["content"]
    sitk.WriteImage(image + 1, str(folder / "a.mhd"))
    assert ingest(tmp_path).summaries[0].done == 1
    assert read_sidecar(tmp_path / "out" / "scans", "a")["details"]["content"] != first


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_rows(tmp_path):
    for name in "abc":
        save(tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "b.nii.gz").chmod(0)
    assert ingest(tmp_path).exit_code == 3
    assert "ermission denied" in reasons(tmp_path)["b"]


def test_a_file_name_that_no_system_takes_is_a_row(tmp_path):
    save(tmp_path / "a.nii.gz")
    (tmp_path / "in.csv").write_text(f"scan_id,image\ngood,a.nii.gz\nlong,{'x' * 5000}.nii.gz\n")
    assert ingest(tmp_path, images=str(tmp_path / "in.csv")).exit_code == 3
    assert "name too long" in reasons(tmp_path)["long"]


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


def test_a_scan_that_takes_longer_than_the_workflow_allows_is_a_row(tmp_path):
    save(tmp_path / "in" / "a.nii.gz")
    workflow = parse_workflow({"data": {"images": str(tmp_path / "in")}, "timeout": 1e-6})
    with pytest.raises(OrganCamError, match="took longer than 1e-06 s"):
        run_workflow(workflow, tmp_path / "out", stages=["ingest"], executor="processes")
    (failure,) = read_failures(tmp_path / "out")
    assert failure.kind == "timeout"
