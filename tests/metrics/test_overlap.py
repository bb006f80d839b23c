"""Overlap of maps and masks: by hand, against plain counting and scikit-learn, and conventions for what is empty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score, jaccard_score, precision_score

from organcam.metrics import (
    WSS_THRESHOLDS,
    LocalizationAccuracy,
    compute_score,
    find_thresholds,
    localization_hits,
    mask_iou_curve,
    mask_overlap,
    normalise_map,
)


def test_by_hand():
    """Lit above half of 8: the first two cells. The mask holds the first and the last."""
    found = mask_overlap(torch.tensor([[[8.0, 5.0, 4.0, -9.0]]]), torch.tensor([[[1, 0, 0, 1]]]))
    assert (found.ior.item(), found.dice.item()) == (0.5, 0.5)
    assert found.iou.item() == pytest.approx(1 / 3)


def test_a_map_without_positive_value_lights_nothing_and_an_empty_mask_has_no_score():
    found = mask_overlap(-torch.rand(1, 2, 4) - 0.1, torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]]]))
    for values in found:
        assert values[0, 0].item() == 0
        assert values[0, 1].isnan()
    assert localization_hits(found)[0, 1].isnan()


def test_what_changes_a_map_and_what_does_not():
    attention, mask = torch.tensor([[[4.0, 1.0, 0.0]]]), torch.tensor([[[1, 0, 0]]])
    assert mask_overlap(7 * attention, mask).iou.item() == mask_overlap(attention, mask).iou.item() == 1.0
    assert mask_overlap(attention + 5, mask).iou.item() < 1


@pytest.mark.parametrize(("by", "expected"), [("ior or iou", 1.0), ("ior", 1.0), ("iou", 0.0), ("dice", 0.0)])
def test_hits_by_criterion(by, expected):
    """One lit cell inside a mask of ten: IoR 1, IoU 0.1, Dice 2 / 11."""
    attention, mask = torch.zeros(1, 1, 20), torch.zeros(1, 1, 20)
    attention[..., 0], mask[..., :10] = 1, 1
    assert localization_hits(mask_overlap(attention, mask), 0.2, by).item() == expected


def test_dice_is_reached_where_the_others_must_be_exceeded():
    found = mask_overlap(torch.tensor([[[1.0, 1.0, 0.0]]]), torch.tensor([[[1, 0, 1]]]))
    assert found.dice.item() == 0.5
    assert localization_hits(found, 0.5, "dice").item() == 1.0
    assert localization_hits(found, 0.5, "ior").item() == 0.0


def test_an_unknown_criterion_is_refused():
    found = mask_overlap(torch.ones(1, 1, 2), torch.ones(1, 1, 2))
    with pytest.raises(ValueError, match="by='f1' is unknown. Legal: ior or iou, ior, iou, dice"):
        localization_hits(found, 0.1, "f1")


@settings(max_examples=50)
@given(
    hnp.arrays(np.float32, (3, 5), elements=st.floats(-1, 1, width=16)),
    hnp.arrays(np.bool_, (3, 5)),
    st.sampled_from([0.0, 0.25, 0.5]),
)
def test_equal_to_scikit_learn(attention, mask, threshold):
    if not mask.any() or attention.max() <= 0:
        return
    lit = attention / attention.max() > threshold
    found = mask_overlap(torch.tensor(attention)[None, None], torch.tensor(mask)[None, None], threshold)
    truth, said = mask.ravel(), lit.ravel()
    assert found.ior.item() == pytest.approx(precision_score(truth, said))
    assert found.iou.item() == pytest.approx(jaccard_score(truth, said))
    assert found.dice.item() == pytest.approx(f1_score(truth, said))
    assert found.ior.item() == pytest.approx(compute_score(attention, mask, "ioa", threshold))


def slow_iou(attention, mask, threshold, counted):
    lit = normalise_map(attention)[0, 0].to(torch.float32) > torch.tensor(threshold, dtype=torch.float32)
    lit, inside = lit & counted, mask[0, 0].bool() & counted
    both = (lit | inside).sum().item()
    return (lit & inside).sum().item() / both if both else 0.0


@pytest.mark.parametrize("void", [False, True])
def test_sweep_equals_counting_at_every_threshold(void):
    torch.manual_seed(1)
    attention, mask = torch.randn(1, 1, 6, 7), torch.rand(1, 1, 6, 7) > 0.6
    ignore = torch.rand(1, 6, 7) > 0.8
    curve = mask_iou_curve(attention, mask, ignore=ignore if void else None)[0, 0].tolist()
    counted = ~ignore[0] if void else torch.ones(6, 7, dtype=torch.bool)
    assert curve == pytest.approx([slow_iou(attention, mask, level, counted) for level in WSS_THRESHOLDS])
    assert len(WSS_THRESHOLDS) == 49
    assert (WSS_THRESHOLDS[0], WSS_THRESHOLDS[-1]) == (0.02, 0.98)


def test_each_label_keeps_its_best_threshold():
    """Two images of one label: IoU 1 at .5 in both; at .1 the second cell is lit too."""
    attention = torch.tensor([[[1.0, 0.3, 0.0]], [[1.0, 0.2, 0.0]]])
    mask = torch.tensor([[[1, 0, 0]], [[1, 0, 0]]])
    curves = mask_iou_curve(attention, mask, (0.1, 0.5))
    assert curves[..., 0].flatten().tolist() == [0.5, 0.5]
    assert find_thresholds(curves, torch.ones(2, 1), (0.1, 0.5)).tolist() == [0.5]


@pytest.mark.parametrize("measure", [mask_overlap, mask_iou_curve])
def test_masks_of_other_values_are_refused(measure):
    with pytest.raises(ValueError, match="0 and 1 only, got values from 0.5"):
        measure(torch.ones(1, 1, 2), torch.full((1, 1, 2), 0.5))


def test_class_pools_pairs_and_labels():
    attention = torch.tensor([[[9.0, 0.0], [9.0, 0.0]], [[9.0, 0.0], [9.0, 0.0]], [[9.0, 0.0], [9.0, 0.0]]])
    masks = torch.tensor([[[1, 0], [0, 1]], [[1, 0], [0, 0]], [[1, 0], [0, 0]]])
    metric = LocalizationAccuracy(least=0.5)
    metric(attention, masks)
    assert metric.aggregate().item() == 0.75  # 3 of 4 pairs
    assert metric.aggregate("macro").item() == 0.5  # 1 and 0
