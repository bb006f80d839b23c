"""Scores by size and confidence, and places that reports name: by hand, and through a real series and parser."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from organcam.errors import DataError
from organcam.evaluation.mentions import mentioned_mm, slices_of_series
from organcam.evaluation.strata import by_strata, strata_edges
from organcam.metrics import axial_error
from organcam.nlp import ReportParser


def test_strata_by_hand():
    """Sizes 4, 9 | 10, 19 | 30: the edge of 10 belongs to the second stratum."""
    hits, sizes = np.array([[0.0, 1.0, np.nan], [1.0, 1.0, 0.0]]), np.array([[4.0, 10.0, 8.0], [9.0, 19.0, 30.0]])
    table = by_strata(hits, sizes, [10, 20])
    assert table["mean"].tolist() == [0.5, 1.0, 0.0]
    assert table["count"].tolist() == [2, 2, 1]
    assert table[["low", "high"]].values.tolist() == [[4, 10], [10, 20], [20, 30]]


def test_strata_of_their_own_hold_about_as_many_each():
    rng = np.random.default_rng(0)
    sizes = rng.exponential(10, 90)
    assert by_strata(sizes, sizes)["count"].tolist() == [30, 30, 30]
    assert by_strata(sizes, sizes)["mean"].is_monotonic_increasing


def test_equal_values_make_one_stratum_and_nothing_none():
    assert strata_edges(np.ones(5)) == []
    assert by_strata(np.array([0.0, 1.0]), np.ones(2)).values.tolist() == [[1, 1, 0.5, 2]]
    assert by_strata(np.full(2, np.nan), np.ones(2)).empty


def test_bad_strata_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        by_strata(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"edges must ascend, got \[3.0, 1.0\]"):
        by_strata(np.zeros(2), np.zeros(2), [3, 1])


def findings(*rows):
    return pd.DataFrame(rows, columns=["abnormality", "status", "series", "image"])


SLICES = {("3", "1"): 100.0, ("3", "2"): 95.0, ("4", "2"): 94.0}


def test_mentions_by_hand():
    table = findings(
        ("nodule", "present", "3", "2"),
        ("nodule", "present", "3", "02"),  # the same slice
        ("nodule", "absent", "3", "1"),
        ("mass", "present", "", "1"),  # only one series has it
        ("cyst", "present", "", "2"),  # two have
        ("cyst", "present", "9", "1"),  # no such series
        ("cyst", "present", "3", ""),
    )
    cells = {"lung_nodule": ["nodule"], "lung_mass": ["mass", "nodule"], "lung_cyst": ["cyst"]}
    found = mentioned_mm(table, SLICES, cells, list(cells))
    assert found[0, 0] == 95.0
    assert set(found[1][~np.isnan(found[1])]) == {95.0, 100.0}
    assert np.isnan(found[2]).all()


def test_from_a_series_and_a_report_to_millimetres(write_series, tmp_path):
    """The series has 7 slices, 2.5 mm apart from z = 30; image 6 lies at 42.5."""
    folder = write_series(tmp_path / "series")
    slices = slices_of_series(folder)
    assert len(slices) == 7
    assert {image for _, image in slices} == {str(number) for number in range(1, 8)}
    parsed = ReportParser().parse("FINDINGS: There is a 9 mm nodule in the right upper lobe (image 6).")
    table = pd.DataFrame([vars(one) if hasattr(one, "__dict__") else one._asdict() for one in parsed.findings])
    named = mentioned_mm(table, slices, {"lung_nodule": ["nodule"]}, ["lung_nodule"])
    assert named.shape[0] == 1
    assert np.unique(named) == pytest.approx([42.5])
    attention = torch.zeros(1, 1, 7, 2, 2)
    attention[0, 0, 2] = 1.0  # at 35 mm
    centres = torch.tensor(sorted(slices.values()))
    assert axial_error(attention, centres, torch.tensor(named)[None]).item() == pytest.approx(7.5)


def test_a_folder_without_dicom_is_named(tmp_path):
    with pytest.raises(DataError, match="no DICOM series"):
        slices_of_series(tmp_path)
