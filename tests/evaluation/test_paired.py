"""Draws of patients: figures of drawn scans are those of the scans written out as often as they were drawn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from organcam.evaluation.paired import auroc_median, difference, mean_of_pairs, patient_draws

PATIENTS = ["a", "a", "b", "c", "d", "d", "d", "e", "f", "g"]


def test_scans_of_a_patient_come_and_go_together_and_as_many_patients_are_drawn():
    draws = patient_draws(PATIENTS, seed=0, draws=200)
    assert draws.shape == (201, 10)
    assert draws[0].tolist() == [1] * 10
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 4] == draws[:, 6]).all()
    assert (draws[:, [0, 2, 3, 4, 7, 8, 9]].sum(axis=1) == 7).all()
    assert abs(draws[1:].mean() - 1) < 0.15
    np.testing.assert_array_equal(draws, patient_draws(PATIENTS, seed=0, draws=200))


def test_figures_are_those_of_the_scans_written_out():
    rng = np.random.default_rng(0)
    draws = patient_draws(PATIENTS, seed=1, draws=30)
    values = np.where(rng.random((10, 3)) < 0.5, np.nan, rng.random((10, 3)))
    present = rng.random((10, 3)) < 0.5
    scores = np.round(rng.normal(present, 1), 0)  # rounded, so that there are ties
    means, medians = mean_of_pairs(values, draws), auroc_median(scores, present, draws)
    for row, draw in enumerate(draws):
        written = np.repeat(np.arange(10), draw.astype(int))
        assert means[row] == pytest.approx(np.nanmean(values[written]))
        areas = [
            roc_auc_score(present[written, label], scores[written, label])
            for label in range(3)
            if 0 < present[written, label].sum() < len(written)
        ]
        assert medians[row] == pytest.approx(np.median(areas) if areas else np.nan, nan_ok=True)


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    rng = np.random.default_rng(2)
    ours, theirs = rng.normal(1.0, 1, (400, 1)), rng.normal(0, 1, (400, 1))
    draws = patient_draws([str(n) for n in range(400)], seed=0)
    found = difference(mean_of_pairs(ours, draws), mean_of_pairs(theirs, draws))
    error = 1.96 * np.std(ours - theirs) / 20
    assert found.value == pytest.approx((ours - theirs).mean())
    assert found.low == pytest.approx(found.value - error, abs=0.02)
    assert found.high == pytest.approx(found.value + error, abs=0.02)


def test_a_pair_that_moves_together_has_a_narrow_interval():
    """Both models vary by 1 from scan to scan, their difference by nothing."""
    first = np.random.default_rng(3).normal(0, 1, (50, 1))
    draws = patient_draws([str(n) for n in range(50)], seed=0)
    found = difference(mean_of_pairs(first + 0.25, draws), mean_of_pairs(first, draws))
    assert found == pytest.approx((0.25, 0.25, 0.25))


def test_nothing_measured_is_not_a_number():
    draws = patient_draws(["a", "b"], seed=0, draws=5)
    nothing = mean_of_pairs(np.full((2, 1), np.nan), draws)
    assert np.isnan(nothing).all()
    assert np.isnan(difference(nothing, nothing)).all()
    assert np.isnan(auroc_median(np.zeros((2, 1)), np.ones((2, 1), bool), draws)).all()
