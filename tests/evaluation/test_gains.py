"""Differences of AUROC: by hand, against the definition with double loops, and the table's words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from organcam.evaluation import ModelScores, ScanFigures, auroc_difference, gains_table

Z95 = 1.959963984540054


def by_definition(first, second, present):
    """DeLong, DeLong and Clarke-Pearson 1988, equations 2 to 4, one kernel call a pair of scans."""
    kernel = lambda x, y: 1.0 if x > y else 0.5 if x == y else 0.0  # noqa: E731
    positives, negatives = np.flatnonzero(present), np.flatnonzero(~present)
    psi = np.array([[[kernel(s[i], s[j]) for j in negatives] for i in positives] for s in (first, second)])
    v10, v01 = psi.mean(axis=2), psi.mean(axis=1)
    s10, s01 = np.cov(v10), np.cov(v01)
    s = s10 / len(positives) + s01 / len(negatives)
    variance = s[0, 0] + s[1, 1] - 2 * s[0, 1]
    areas = psi.mean(axis=(1, 2))
    return areas[0], areas[1], math.sqrt(variance)


@pytest.mark.parametrize("seed", range(5))
def test_interval_is_delongs(seed):
    rng = np.random.default_rng(seed)
    present = rng.permutation(np.arange(40) < 13)
    first = np.round(rng.normal(present * 1.0, 1), 1)  # rounded, so that there are ties
    second = np.round(0.5 * first + rng.normal(present * 0.5, 0.7), 1)
    found = auroc_difference(first, second, present)
    area, other, error = by_definition(first, second, present)
    assert found.first == pytest.approx(area)
    assert found.second == pytest.approx(other)
    assert found.difference == pytest.approx(other - area)
    assert (found.low, found.high) == pytest.approx((other - area - Z95 * error, other - area + Z95 * error))


def test_by_hand():
    """Positives 3, 1 and negatives 2, 0: the first model ranks three of four pairs right, the second all."""
    present = np.array([True, True, False, False])
    found = auroc_difference(np.array([3, 1, 2, 0]), np.array([3, 2, 1, 0]), present)
    assert (found.first, found.second, found.difference) == (0.75, 1.0, 0.25)
    # shares of the difference: positives 0 and 1/2, negatives 1/2 and 0: each variance 1/8, over 2 scans a side
    assert found.high == pytest.approx(0.25 + Z95 * math.sqrt(1 / 8 / 2 + 1 / 8 / 2))
    assert found.low == pytest.approx(0.25 - Z95 * math.sqrt(1 / 8))


def test_what_cannot_be_told():
    one_class = auroc_difference(np.arange(3), np.arange(3), np.array([True, True, True]))
    assert all(math.isnan(value) for value in one_class)
    single = auroc_difference(np.array([1, 0, 2]), np.array([2, 0, 1]), np.array([True, False, False]))
    assert single.difference == 0.5
    assert math.isnan(single.low)
    assert math.isnan(single.high)


def scores(logits, ids):
    labels = ("up", "down", "same", "absent")
    rng = np.random.default_rng(0)
    found = ModelScores(labels)
    for scan_id, row in zip(ids, logits, strict=True):
        place = int(scan_id[1:])
        present = np.array([place % 2 == 0] * 3 + [False])
        found.scans.append(ScanFigures(scan_id, "test", present, np.asarray(row, np.float32), {"m": rng.random(4)}))
    return found


def test_table_names_what_was_gained_and_lost_on_the_scans_that_both_have():
    ids = [f"s{n}" for n in range(40)]
    rng = np.random.default_rng(1)
    noise, right = rng.normal(size=40), np.array([2.0 if n % 2 == 0 else -2.0 for n in range(40)])
    reference = scores(np.stack([noise, right, noise, noise], axis=1), ids)
    model = scores(np.stack([right, noise, noise, noise], axis=1)[::-1][1:], ids[::-1][1:])  # another order, one less
    table = gains_table("b", "a", "test", reference.labels, model.of_split("test"), reference.of_split("test"))
    assert table["change"].tolist() == ["gained", "lost", "unclear", ""]
    assert table["scans"].tolist() == [39] * 4
    assert table["difference"].iloc[2] == 0.0
    # the logits are kept in float32
    area, other, error = by_definition(noise[:39].astype(np.float32), right[:39], np.arange(39) % 2 == 0)
    assert table.loc[0, ["auroc", "reference_auroc", "low", "high"]].tolist() == pytest.approx(
        [other, area, other - area - Z95 * error, min(other - area + Z95 * error, 1.0)]
    )
