"""No cell of a table that organcam writes is a formula, and what organcam reads back is what it wrote."""

from __future__ import annotations

import csv

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from organcam.runner import Failure, read_failures, write_csv_atomic, write_failures
from organcam.spreadsheet import as_text, from_text
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow

FORMULAS = ("=1+2", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "'=1")


@given(st.text() | st.sampled_from(FORMULAS))
def test_every_text_comes_back_and_none_is_a_formula(text):
    cell = as_text(text)
    assert from_text(cell) == text
    if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        float(cell)


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-3", "-inf", ""])
def test_numbers_stay_numbers(number):
    assert as_text(number) == number


def test_tables_are_written_as_text_and_numbers(tmp_path):
    write_csv_atomic(tmp_path / "a.csv", pd.DataFrame({"name": ["=1+2", "fine", None], "value": [-1.5, 2.0, -3.0]}))
    assert (tmp_path / "a.csv").read_text() == "name,value\n'=1+2,-1.5\nfine,2.0\n,-3.0\n"


def test_failures_are_read_back_as_they_were(tmp_path):
    failures = [Failure("ingest", text, f"{text} is odd", "data") for text in sorted(FORMULAS)]
    write_failures(tmp_path, "ingest", failures)
    with (tmp_path / "failures.csv").open(newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in cells)
    assert read_failures(tmp_path) == failures


def test_a_report_id_that_is_a_formula_is_text_in_every_table_and_still_joins(tmp_path):
    nib.save(
        nib.Nifti1Image(np.full((6, 6, 6), -800, np.int16), np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / "a.nii.gz"
    )
    (tmp_path / "scans.csv").write_text("scan_id,image,report_id\na,a.nii.gz,=1+2\n")
    (tmp_path / "reports.csv").write_text("scan_id,report_text\n=1+2,Nodule in the right lung.\n=9,Normal.\n")
    data = {"images": str(tmp_path / "scans.csv"), "reports": str(tmp_path / "reports.csv")}
    run_workflow(parse_workflow({"data": data}), tmp_path / "out", stages=["ingest", "parse"], executor="serial")
    for path in (tmp_path / "out").rglob("*.csv"):
        with path.open(newline="") as stream:
            for row in csv.reader(stream):
                assert not any(cell.startswith(("=", "+", "@")) for cell in row), path
    from organcam.data.label_files import read_label_matrix
    from organcam.data.records import read_manifest

    (record,) = read_manifest(tmp_path / "out" / "manifest.csv")
    assert record.report_id == "=1+2"
    assert "=1+2" in read_label_matrix(tmp_path / "out" / "labels" / "labels_by_location.csv").index
