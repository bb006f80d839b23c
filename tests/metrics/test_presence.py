"""When a label is present: one rule for loss, metric and thresholds; and what mutated code showed untested."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from organcam.losses import ClassAndMaskLoss, MaskLoss, mask_loss
from organcam.metrics import OrganIoU, fill_thresholds, find_thresholds, is_present

LABELS = [0.0, 0.3, 0.5, 0.51, 1.0]
PRESENT = [False, False, False, True, True]


def test_present_is_above_a_half_for_every_kind():
    for labels in (np.array(LABELS), torch.tensor(LABELS), torch.tensor(LABELS).bfloat16()):
        assert is_present(labels).tolist() == PRESENT
    assert is_present(np.array([0, 1], np.uint8)).tolist() == [False, True]
    assert is_present(torch.tensor([False, True])).tolist() == [False, True]


def test_metric_thresholds_and_loss_take_the_same_labels():
    attention = torch.tensor([[[4.0, -2.0]] * 5])
    allowed = torch.tensor([[[0, 1]] * 5])
    labels = torch.tensor([LABELS])
    assert (~OrganIoU()(attention, allowed, labels=labels).isnan()).tolist() == [PRESENT]
    curves = torch.zeros(1, 5, 2)
    assert (~np.isnan(find_thresholds(curves, labels, (0.1, 0.2)))).tolist() == PRESENT
    # forbidden is one cell of 4 for a present label, both cells of 4 and -2 for an absent one
    each = [mask_loss(attention[:, m : m + 1], allowed[:, m : m + 1], labels[:, m : m + 1]).item() for m in range(5)]
    assert each == [1.5, 1.5, 1.5, 2.0, 2.0]  # halves: a mean of (4 + 2) / 2, or 4


def test_nan_is_refused_everywhere():
    attention, allowed = torch.ones(1, 2, 2), torch.ones(1, 2, 2)
    labels = torch.tensor([[1.0, float("nan")]])
    calls = [
        lambda: OrganIoU()(attention, allowed, labels=labels),
        lambda: mask_loss(attention, allowed, labels),
        lambda: find_thresholds(np.zeros((1, 2, 1)), labels, (0.5,)),
        lambda: is_present(labels.numpy()),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"labels hold NaN \(1 of 2\)"):
            call()


def test_lists_of_scans_are_scored_by_their_own_labels():
    attention = [torch.tensor([[5.0, 1.0], [1.0, 5.0]]), torch.tensor([[1.0, 5.0], [5.0, 1.0]])]
    allowed = [torch.tensor([[1, 0], [1, 0]])] * 2
    metric = OrganIoU(0.5)
    scores = metric(attention, allowed, labels=[torch.tensor([1, 0]), torch.tensor([1, 1])])
    torch.testing.assert_close(
        scores, torch.tensor([[1.0, float("nan")], [0.0, 1.0]], dtype=torch.float64), equal_nan=True
    )
    value, count = OrganIoU(0.5, get_not_nans=True), None
    value(attention, allowed, labels=[torch.tensor([1, 0]), torch.tensor([1, 1])])
    pooled, count = value.aggregate()
    assert (pooled.item(), count.item()) == (pytest.approx(2 / 3), 3)
    assert metric.aggregate("mean_batch").tolist() == [0.5, 1.0]
    torch.testing.assert_close(metric.aggregate("none"), scores, equal_nan=True)


def test_without_labels_a_label_with_an_allowed_cell_is_present():
    attention = torch.tensor([[[[5.0, 1.0], [0.0, 0.0]]] * 3])
    allowed = torch.zeros(1, 3, 2, 2)
    allowed[0, 0, 0, 0] = allowed[0, 1, 1, 1] = 1
    assert OrganIoU(0.5)(attention, allowed).nan_to_num(-1).tolist() == [[1, 0, -1]]


def test_lists_without_labels_and_missing_regions():
    attention = [torch.tensor([[5.0, 1.0]])]
    assert OrganIoU(0.5)(attention, [torch.tensor([[1, 0]])]).tolist() == [[1.0]]
    with pytest.raises(ValueError, match="OrganIoU needs the allowed regions as y"):
        OrganIoU()(attention[0][None])


def test_thresholds_by_hand():
    # label 0: means .5 and .6; label 1 is absent; label 2: equal means, the smaller threshold
    curves = np.array([[[1.0, 0.2], [9, 9], [0.4, 0.4]], [[0.0, 1.0], [9, 9], [0.6, 0.6]]])
    found = find_thresholds(curves, np.array([[1, 0, 1], [1, 0, 1]]), (0.1, 0.3))
    np.testing.assert_array_equal(found, [0.3, np.nan, 0.1])
    np.testing.assert_array_equal(fill_thresholds(found), [0.3, 0.2, 0.1])
    np.testing.assert_array_equal(fill_thresholds([np.nan, np.nan]), [0.5, 0.5])
    np.testing.assert_array_equal(fill_thresholds([np.nan], default=0.25), [0.25])
    given = np.array([np.nan, 0.75])
    fill_thresholds(given)
    assert np.isnan(given[0])  # the caller's own array stays
    assert fill_thresholds([1]).dtype == np.float64


def test_double_precision_stays_in_the_class_loss():
    target = {"label": torch.tensor([[1, 0]]), "allowed": torch.zeros(1, 2, 1)}
    prediction = {"logits": torch.tensor([[1e-9, 0.0]], dtype=torch.float64), "attention": torch.zeros(1, 2, 1)}
    loss = ClassAndMaskLoss(MaskLoss(), weight=0.0)(prediction, target)
    assert loss.dtype == torch.float64
    # -log sigmoid(1e-9) = ln 2 - 5e-10, half of the mean
    assert abs(loss.item() - (np.log(2) - 2.5e-10)) < 1e-14
