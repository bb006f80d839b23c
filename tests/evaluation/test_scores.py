"""Running sums choose the best thresholds; tables keep every scan's id."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from organcam.evaluation import ModelScores, ScanFigures, ThresholdSearch, evaluate_models, pairs_table, scores_table
from organcam.metrics import THRESHOLDS

LABELS = ("a", "b", "c")


@pytest.mark.parametrize("seed", range(5))
def test_search_chooses_the_highest_mean_and_the_smallest_threshold_of_equals(seed):
    rng = np.random.default_rng(seed)
    curves = rng.integers(0, 5, (8, 3, len(THRESHOLDS))) / 4  # few values, so that means are equal often
    present = rng.random((8, 3)) < 0.6
    present[:, 2] = False
    search = ThresholdSearch(LABELS)
    for curve, there in zip(curves, present, strict=True):
        search.add(np.where(there[:, None], curve, np.nan), there)
    for label in (0, 1):
        totals = [sum(Fraction(curves[n, label, t]) for n in range(8) if present[n, label]) for t in range(53)]
        assert search.best()[label] == THRESHOLDS[totals.index(max(totals))]
    assert np.isnan(search.best()[2])


def test_a_label_without_a_threshold_takes_the_median_of_the_others():
    search = ThresholdSearch(LABELS)
    curve = np.zeros((3, len(THRESHOLDS)))
    curve[0, 10], curve[1, 20] = 1, 1
    search.add(curve, np.array([True, True, False]))
    assert search.best()[:2].tolist() == [THRESHOLDS[10], THRESHOLDS[20]]
    assert np.isnan(search.best()[2])
    assert search.steps().tolist() == [10, 20, 15]


def figures(scan_id, split, present, logits, overlap, **more):
    return ScanFigures(
        scan_id, split, np.array(present), np.array(logits, np.float32), {"hirescam": np.array(overlap)}, **more
    )


@pytest.fixture
def scores():
    nan = np.nan
    found = ModelScores(("lung_nodule", "lung_mass"))
    found.scans += [
        figures("v1", "valid", [True, False], [1.0, -1.0], [0.5, nan]),
        figures("t1", "test", [True, True], [2.0, 1.0], [0.25, 0.75]),
        figures(
            "t2",
            "test",
            [False, True],
            [3.0, -2.0],
            [nan, 1.0],
            pointing={"hirescam": np.array([nan, 1.0])},
            energy={"hirescam": np.array([nan, 0.4])},
        ),
    ]
    return found


def test_pairs_hold_a_row_for_every_label_of_a_scan(scores):
    table = pairs_table("m", scores)
    assert table.columns.tolist() == [
        *("model", "method", "split", "scan_id", "label", "logit", "organ_iou", "pointing", "energy")
    ]
    assert table[["scan_id", "label", "logit", "organ_iou"]].values.tolist() == [
        ["v1", "lung_nodule", 1.0, 0.5],
        ["t1", "lung_nodule", 2.0, 0.25],
        ["t1", "lung_mass", 1.0, 0.75],
        ["t2", "lung_mass", -2.0, 1.0],
    ]
    assert table["energy"].tolist()[-1] == 0.4
    assert table["pointing"].isna().tolist() == [True, True, True, False]


def test_scores_hold_a_row_for_every_scan(scores):
    table = scores_table("m", scores)
    assert table.values.tolist() == [
        ["m", "valid", "v1", 1.0, -1.0],
        ["m", "test", "t1", 2.0, 1.0],
        ["m", "test", "t2", 3.0, -2.0],
    ]


def test_headline_figures_are_those_of_the_test_split(scores):
    found = evaluate_models({"m": scores}, {"m": {"hirescam": np.array([0.1, 0.2])}})
    figures = found.models["m"]
    assert figures["split"] == "test"
    assert figures["organ_iou"]["hirescam"] == pytest.approx((0.25 + 0.75 + 1.0) / 3)
    assert figures["splits"]["valid"]["organ_iou"]["hirescam"] == 0.5
    assert figures["auroc"]["lung_nodule"] == 0.0  # the scan without a nodule scores higher
    assert figures["pointing"]["hirescam"] == 1.0
    assert figures["energy"]["hirescam"] == pytest.approx(0.4)
    table = found.tables["organ_iou"].query("split == 'test' and by == 'label'").set_index("name")
    assert table["threshold"].to_dict() == {"lung_nodule": 0.1, "lung_mass": 0.2}
    assert "gains" not in found.tables  # nothing to compare with


def test_another_model_is_compared_with_the_first(scores):
    thresholds = {"hirescam": np.array([0.1, 0.2])}
    found = evaluate_models({"m": scores, "n": scores}, {"m": thresholds, "n": thresholds})
    assert found.tables["gains"]["model"].tolist() == ["n", "n"]
    assert found.tables["gains"]["reference"].tolist() == ["m", "m"]
    assert found.tables["gains"]["scans"].tolist() == [2, 2]
