"""Calibration, operating points and bootstrap: by hand, against scikit-learn and against drawing rows anew."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from organcam.metrics import (
    auroc,
    bootstrap_auroc,
    bootstrap_means,
    draw_weights,
    expected_calibration_error,
    interval,
    operating_points,
    rates_at,
    reliability_table,
)


def sample(seed, scans=60, labels=3):
    rng = np.random.default_rng(seed)
    present = rng.random((scans, labels)) < 0.4
    probabilities = np.clip(np.round(0.3 + 0.3 * present + rng.normal(0, 0.2, present.shape), 2), 0, 1)
    return probabilities, present.astype(int)


def test_calibration_error_by_hand():
    """Bin below .5: said .15, one of two there; bin above: said .9, there. (2 x .35 + 1 x .1) / 3."""
    found = expected_calibration_error(np.array([0.1, 0.2, 0.9]), np.array([0, 1, 1]), bins=2)
    assert found.tolist() == pytest.approx([(2 * 0.35 + 0.1) / 3])


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_reliability_is_scikit_learns(bins):
    probabilities, labels = sample(0)
    table = reliability_table(probabilities, labels, ["a", "b", "c"], bins=bins)
    for column, name in enumerate("abc"):
        observed, predicted = calibration_curve(labels[:, column], probabilities[:, column], n_bins=bins)
        own = table[table["label"] == name]
        np.testing.assert_allclose(own["observed"], observed)
        np.testing.assert_allclose(own["predicted"], predicted)
        assert own["scans"].sum() == len(labels)


def test_perfectly_calibrated_and_perfectly_wrong():
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])).item() == 0
    assert expected_calibration_error(np.array([0.0, 1.0]), np.array([1, 0])).item() == 1
    assert expected_calibration_error(np.full(4, 0.25), np.array([0, 0, 0, 1])).item() == 0


def test_logits_are_no_probabilities():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        reliability_table(np.array([-1.0, 2.0]), np.array([0, 1]))


def test_operating_points_by_hand():
    """Scores .9 + .8 - .7 + .6 - .5 -: at .8 half a chance is missed and nothing wrong, at .6 the other way round."""
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([1, 0, 1, 0, 0])
    found = operating_points(scores, labels).iloc[0]
    assert found["threshold"] == 0.7
    assert found["sensitivity"] == 1
    assert found["specificity"] == pytest.approx(2 / 3)
    assert found["ppv"] == pytest.approx(2 / 3)
    assert found["npv"] == 1
    assert operating_points(scores, labels, by="specificity", least=1.0).iloc[0]["threshold"] == 0.9
    assert operating_points(scores, labels, by="sensitivity", least=0.5).iloc[0]["threshold"] == 0.9


@pytest.mark.parametrize("seed", range(4))
def test_operating_points_are_the_best_of_scikit_learns_curve(seed):
    probabilities, labels = sample(seed)
    balanced, youden = (operating_points(probabilities, labels, by=by) for by in ("balanced", "youden"))
    for column in range(3):
        wrong, right, levels = roc_curve(labels[:, column], probabilities[:, column], drop_intermediate=False)
        for table, worth in ((balanced, right * (1 - wrong)), (youden, right - wrong)):
            row = table.iloc[column]
            assert row["threshold"] == levels[int(np.argmax(worth))]
            assert (row["sensitivity"], row["specificity"]) == pytest.approx(
                (right[np.argmax(worth)], 1 - wrong[np.argmax(worth)])
            )


def test_labels_of_one_class_have_no_operating_point():
    table = operating_points(np.array([0.1, 0.9]), np.array([1, 1]))
    assert table[["threshold", "sensitivity", "ppv"]].isna().all(axis=None)
    assert operating_points(np.array([0.1, 0.1]), np.array([1, 0]), by="specificity").isna().any(axis=None)


def test_thresholds_chosen_elsewhere():
    table = rates_at(np.array([[0.2, 0.8], [0.9, 0.1]]), np.array([[1, 0], [1, 1]]), [0.5, 0.5])
    assert table["sensitivity"].tolist() == [0.5, 0.0]
    assert np.isnan(table["specificity"][0])
    with pytest.raises(ValueError, match="one threshold for each of the 2 labels, got 1"):
        rates_at(np.zeros((1, 2)), np.zeros((1, 2)), [0.5])


@pytest.mark.parametrize(("by", "least"), [("best", 0.9), ("sensitivity", 0.0), ("sensitivity", 1.1)])
def test_unknown_rules_are_refused(by, least):
    with pytest.raises(ValueError, match="legal are balanced, youden, sensitivity, specificity"):
        operating_points(np.array([0.1, 0.9]), np.array([0, 1]), by=by, least=least)


def test_draws_keep_the_scans_of_a_patient_together_and_are_repeatable():
    weights = draw_weights(["a", "b", "a", "c"], draws=50, seed=3)
    assert np.array_equal(weights[:, 0], weights[:, 2])
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert np.array_equal(weights, draw_weights(["a", "b", "a", "c"], draws=50, seed=3))
    assert len(np.unique(weights, axis=0)) > 5


def test_draws_equal_drawing_rows():
    probabilities, labels = sample(1)
    weights = draw_weights(range(60), draws=20)
    areas = bootstrap_auroc(probabilities, labels.astype(bool), weights)
    values = np.where(labels, probabilities, np.nan)
    means = bootstrap_means(values, weights)
    for draw, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(60), counts)
        np.testing.assert_allclose(areas[draw], auroc(probabilities[rows], labels[rows]))
        np.testing.assert_allclose(
            areas[draw], [roc_auc_score(labels[rows, m], probabilities[rows, m]) for m in range(3)]
        )
        np.testing.assert_allclose(means[draw], np.nanmean(values[rows], axis=0))


def test_draws_without_a_class_have_no_area():
    areas = bootstrap_auroc(np.array([[0.1], [0.9]]), np.array([[False], [True]]), np.array([[2.0, 0.0], [1.0, 1.0]]))
    assert np.isnan(areas[0, 0])
    assert areas[1, 0] == 1


def test_intervals_are_percentiles_of_what_is_defined():
    draws = np.random.default_rng(0).normal(size=(201, 3))
    draws[:150, 1] = np.nan
    draws[:20, 2] = np.nan
    low, high = interval(draws, 0.9)
    assert (low[0], high[0]) == pytest.approx(tuple(np.quantile(draws[:, 0], [0.05, 0.95])))
    assert np.isnan([low[1], high[1]]).all()
    assert (low[2], high[2]) == pytest.approx(tuple(np.quantile(draws[20:, 2], [0.05, 0.95])))


def test_the_interval_of_a_mean_covers_it():
    """Twenty independent samples of 40 patients with two scans each: at least 15 of 20 intervals hold the true mean."""
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        values = np.repeat(rng.normal(0, 1, 40), 2)[:, None]
        low, high = interval(bootstrap_means(values, draw_weights(np.repeat(np.arange(40), 2), 400, seed)))
        covered += int(low[0] <= 0 <= high[0])
    assert covered >= 15


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="0 scans"):
        draw_weights([])
