"""Summaries of scores by label and group, by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from organcam.metrics import concept_groups, summarise_scores


def rows(table):
    """(by, name) -> (mean, std, count)."""
    return {(by, name): tuple(values) for by, name, *values in table.itertuples(index=False)}


def test_groups_of_the_published_labels():
    """A nodule is focal, its origin biological; a stent in the heart is an intervention; own labels are in no group."""
    groups = concept_groups(["lung_nodule", "own", "heart_stent", "h_great_vessel_atherosclerosis"])
    assert list(groups) == [
        *("focal", "diffuse", "biological", "intervention"),
        *("great_vessel", "mediastinum", "heart", "lung"),
    ]
    assert (groups["lung"], groups["heart"], groups["great_vessel"]) == ((0,), (2,), (3,))
    assert groups["mediastinum"] == ()
    assert groups["intervention"] == (2,)
    assert groups["biological"] == (0, 3)
    assert 0 in groups["focal"]
    assert not set(groups["focal"]) & set(groups["diffuse"])
    assert sorted(groups["focal"] + groups["diffuse"]) == [0, 2, 3]


def test_own_groups_take_the_place_of_the_published():
    scores = np.array([[1.0, 0.5, np.nan], [0.0, np.nan, np.nan]])
    found = rows(summarise_scores(scores, ["lung_nodule", "b", "c"], {"first two": (0, 1), "none": ()}))
    assert [key for key in found if key[0] == "group"] == [("group", "first two"), ("group", "none")]
    # 1, 0 and 1/2: the mean is 1/2, the mean square of the differences (1/4 + 1/4 + 0) / 3
    assert found["group", "first two"] == pytest.approx((0.5, np.sqrt(1 / 6), 3))
    assert found["label", "lung_nodule"] == (0.5, 0.5, 2)
    assert found["overall", "overall"] == found["group", "first two"]


def test_scans_without_a_label_are_in_no_summary_and_empty_ones_are_undefined():
    scores = np.array([[0.25, np.nan], [np.nan, np.nan], [0.75, np.nan]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no mean of nothing
        found = rows(summarise_scores(scores, ["a", "b"], {}))
    assert [name for by, name in found if by == "labels_per_scan"] == ["1"]
    assert found["labels_per_scan", "1"] == (0.5, 0.25, 2)
    assert found["label", "b"][2] == 0
    assert np.isnan(found["label", "b"][:2]).all()


def test_means_are_in_double_precision():
    table = summarise_scores(np.array([[2.0**24], [1.0]], np.float32), ["a"], {})  # in float32 the sum loses the 1
    assert rows(table)["overall", "overall"][0] == 2.0**23 + 0.5


@pytest.mark.parametrize("scores", [np.zeros(2), np.zeros((3, 1)), np.zeros((1, 2, 2))], ids=lambda one: str(one.shape))
def test_other_shapes_are_refused(scores):
    with pytest.raises(ValueError, match=r"^scores must be \[N, M\] with one column for each of the 2 names, got \("):
        summarise_scores(scores, ["a", "b"])


def test_macro_weighs_labels_alike():
    """Label a has means of 1 in one scan, b of 0 and 1/2: labels' means 1 and 1/4, pairs' mean 1/2."""
    found = rows(summarise_scores(np.array([[1.0, 0.0, np.nan], [np.nan, 0.5, np.nan]]), ["a", "b", "c"], {}))
    assert found["macro", "macro"] == (0.625, 0.375, 2)
    assert found["overall", "overall"][0] == 0.5
