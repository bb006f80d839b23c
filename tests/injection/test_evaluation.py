"""Scores of maps against masks, by hand and against scikit-image's own threshold."""

from __future__ import annotations

import numpy as np
import openpyxl
import pandas as pd
import pytest
from skimage.filters import threshold_otsu

from organcam.errors import ConfigError
from organcam.injection import Evaluator, compute_score
from organcam.metrics.functional.mask_score import scale_map

MAP = np.array([[4.0, 3.0, 1.0], [0.0, -8.0, 2.0]])
MASK = np.array([[1, 0, 0], [0, 1, 1]])


@pytest.mark.parametrize(
    ("metric", "threshold", "expected"),
    [
        ("ioa", 0.4, 2 / 3),  # lit: 4, 3, 2; inside: 4, 2
        ("wioa", 0.4, 6 / 9),
        ("iou", 0.4, 2 / 4),
        ("ioa", 0.5, 1 / 2),  # a voxel is lit above the threshold
        ("wioa", 0.0, 6 / 10),
        ("iou", 0.9, 1 / 3),
    ],
)
def test_by_hand(metric, threshold, expected):
    assert compute_score(MAP, MASK, metric, threshold) == pytest.approx(expected)


def test_otsu_is_that_of_the_scaled_map():
    values = np.random.default_rng(0).gamma(1.0, size=(6, 7, 8))
    mask = np.random.default_rng(1).random(values.shape) < 0.3
    lit = values / values.max() > threshold_otsu(values / values.max())
    assert compute_score(values, mask, "ioa") == pytest.approx((lit & mask).sum() / lit.sum())
    assert compute_score(7 * values, mask, "ioa") == compute_score(values, mask, "ioa")


def test_negative_evidence_counts_nowhere_and_flat_maps_need_no_luck():
    assert compute_score(-MAP.clip(0), MASK) == 0
    assert compute_score(np.zeros(4), np.ones(4)) == 0
    assert compute_score(np.full(4, 2.0), np.array([1, 1, 1, 0]), "ioa") == 0.75
    assert np.array_equal(scale_map(scale_map(MAP)), scale_map(MAP))


@pytest.mark.parametrize(
    ("mask", "words"), [(MASK[:1], "different shapes"), (MASK * 2, "0 and 1 only"), (MASK - 1, "0 and 1 only")]
)
def test_other_masks_are_refused(mask, words):
    with pytest.raises(ValueError, match=words):
        compute_score(MAP, mask)


def test_means_by_layer_and_label(tmp_path):
    evaluator = Evaluator("ioa", 0.4)
    for scan, mask in (("a", MASK), ("b", 1 - MASK)):
        evaluator.add(MAP, mask, scan=scan, layer="conv", label="=1")
    evaluator.add(MAP, MASK, scan="a", layer="last", label="2")
    means = evaluator.means()
    assert means["mean"].tolist() == pytest.approx([0.5, 2 / 3])
    assert means["count"].tolist() == [2, 1]
    paths = evaluator.dump(tmp_path / "new")
    assert [path.name for path in paths] == ["scores.csv", "mean_scores.csv", "scores.xlsx"]
    book = openpyxl.load_workbook(tmp_path / "new" / "scores.xlsx")
    assert [cell.value for cell in book["Scores"][2]] == ["a", "conv", "'=1", "ioa", pytest.approx(2 / 3)]
    assert book["Mean Scores"]["E3"].value is None  # no deviation of a single score
    assert pd.read_csv(tmp_path / "new" / "scores.csv").shape == (3, 5)


def test_without_openpyxl_the_tables_are_there_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    evaluator = Evaluator()
    evaluator.add(MAP, MASK)
    with pytest.raises(ConfigError, match=r"organcam\[xlsx\]"):
        evaluator.dump(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mean_scores.csv", "scores.csv"]
