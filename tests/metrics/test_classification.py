"""Classification metrics against scikit-learn, the published evaluation's numbers, and small cases by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score, roc_auc_score

from organcam.metrics import accuracy, auroc, average_precision, classification_table, top_k
from organcam.metrics.classification import median_of_defined


def test_perfect_reversed_and_constant_scores():
    labels = np.array([[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]])
    scores = np.array([[0.1, 0.9, 0.5], [0.2, 0.8, 0.5], [0.8, 0.2, 0.5], [0.9, 0.1, 0.5]])
    assert auroc(scores, labels).tolist() == [1.0, 0.0, 0.5]
    assert average_precision(scores, labels)[[0, 2]].tolist() == [1.0, 0.5]
    assert accuracy(scores, labels).tolist() == [1.0, 0.0, 0.5]


def test_label_with_one_class_is_undefined():
    scores, labels = np.random.default_rng(0).random((5, 2)), np.array([[0, 1]] * 5)
    assert np.isnan(auroc(scores, labels)).all()
    assert np.isnan(average_precision(scores, labels)).all()


def test_top_k_by_hand():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.3, 0.2, 0.1]])
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0]])
    assert top_k(scores, labels).tolist() == [[1.0, 0.5, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]]


def test_of_equal_scores_the_earlier_label_is_taken_first_however_many():
    """40 labels of one score, only the last present: it is found at k = 40; only the first: at once."""
    last, first = np.eye(40)[39], np.eye(40)[0]
    found = top_k(np.full((2, 40), 0.5), np.array([last, first]))
    assert found[0].tolist() == [0.0] * 39 + [1.0]
    assert found[1].tolist() == [1.0] * 40


def test_median_is_over_the_labels_that_have_a_value():
    assert median_of_defined(np.array([np.nan, 0.9, 0.1, 0.4])) == 0.4
    assert median_of_defined(np.array([0.2, np.inf, 0.6])) == pytest.approx(0.4)
    assert np.isnan(median_of_defined(np.array([np.nan, np.nan])))


def test_table_has_one_row_per_label():
    """a: scores .8, .3, .4 of which the first two are present; b: never present, above .5 in one of three scans."""
    table = classification_table(
        np.array([[0.8, 0.6], [0.3, 0.4], [0.4, 0.1]]), np.array([[1, 0], [1, 0], [0, 0]]), "ab"
    )
    assert table.columns.tolist() == ["label", "positives", "scans", "auroc", "average_precision", "accuracy"]
    assert table.iloc[0, :4].tolist() == ["a", 2, 3, 0.5]
    # precision 1 at the first positive and 2/3 at the second, each half of the recall; .8 and .4 are on the right side
    assert table.iloc[0, 4:].tolist() == pytest.approx([(1 + 2 / 3) / 2, 2 / 3])
    assert table.iloc[1, :3].tolist() == ["b", 0, 3]
    assert table.iloc[1, 3:5].isna().all()
    assert table.iloc[1, 5] == pytest.approx(2 / 3)


def test_a_table_needs_a_name_for_every_label():
    with pytest.raises(ValueError, match="^expected one name for each of the 2 labels, got 1$"):
        classification_table(np.zeros((3, 2)), np.zeros((3, 2)), ["a"])


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.float64, (9, 2), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    hnp.arrays(np.int8, (9, 2), elements=st.integers(0, 1)),
)
def test_equal_to_scikit_learn_with_ties(scores, labels):
    area, precision = auroc(scores, labels), average_precision(scores, labels)
    for m in range(2):
        if 0 < labels[:, m].sum() < 9:
            assert area[m] == pytest.approx(roc_auc_score(labels[:, m], scores[:, m]))
            assert precision[m] == pytest.approx(average_precision_score(labels[:, m], scores[:, m]))


def test_equal_to_scikit_learn_on_many_scans():
    generator = np.random.default_rng(7)
    labels = (generator.random((400, 6)) < 0.2).astype(int)
    scores = np.round(generator.random((400, 6)) + 0.3 * labels, 2)
    for m in range(6):
        assert auroc(scores, labels)[m] == pytest.approx(roc_auc_score(labels[:, m], scores[:, m]))
        assert average_precision(scores, labels)[m] == pytest.approx(
            average_precision_score(labels[:, m], scores[:, m])
        )


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, 8, elements=st.floats(-3, 3)), hnp.arrays(np.int8, 8, elements=st.integers(0, 1)))
def test_area_of_negated_scores_is_the_complement(scores, labels):
    area, complement = auroc(scores, labels)[0], auroc(-scores, labels)[0]
    assert np.isnan(area) == np.isnan(complement)
    assert np.isnan(area) or area + complement == pytest.approx(1)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2)), r"both be \[N, M\]"),
        (np.zeros((2, 1)), np.array([[0], [2]]), "0 and 1 only"),
        (np.array([[0.1], [np.nan]]), np.zeros((2, 1)), "NaN, first in row 1"),
    ],
)
def test_bad_input_says_what_is_wrong(scores, labels, words):
    with pytest.raises(ValueError, match=words):
        auroc(scores, labels)


def test_published_numbers(shared_spec):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["11_evaluation"]
    cases = ((entry, entry["pred"], entry["true"]),)
    second = entry["second_table_with_an_all_positive_label"]
    cases += ((second, second["pred"], second["true"]),)
    for case, pred, true in cases:
        scores, labels = np.array(pred), np.array(true)
        two_classes = (labels.min(0) == 0) & (labels.max(0) == 1)
        np.testing.assert_allclose(accuracy(scores, labels), case["accuracy"], atol=1e-8)
        np.testing.assert_allclose(auroc(scores, labels), [float(v) for v in case["auroc"]], atol=1e-8)
        # the published code gives 0 or 1 where only one class exists; here that is undefined
        np.testing.assert_allclose(
            average_precision(scores, labels), np.where(two_classes, case["avg_precision"], np.nan), atol=1e-8
        )
        np.testing.assert_allclose(top_k(scores, labels).mean(axis=0), case["top_k"], atol=1e-8)
    np.testing.assert_allclose(top_k(np.array(entry["pred"]), np.array(entry["true"])), entry["top_k_per_scan"])
