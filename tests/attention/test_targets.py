"""Scores and outputs that are asked for, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from organcam.attention.targets import SegmentationTarget, fixed_target, logits_of, parse_targets, scores_of, select

LOGITS = torch.tensor([[3.0, 1.0, -2.0], [4.0, 0.0, 5.0]])


@pytest.mark.parametrize(
    ("targets", "scores", "chosen"),
    [
        (None, LOGITS.tolist(), (0, 1, 2)),
        (2, [[-2], [5]], (2,)),
        ([2, 0], [[-2, 3], [5, 4]], (2, 0)),
        (np.array([1]), [[1], [0]], (1,)),
        (torch.tensor(0), [[3], [4]], (0,)),
        ([], [[], []], ()),
        ([[1], [2]], [[1], [5]], ((1,), (2,))),
        (torch.tensor([[0, 1], [2, 2]]), [[3, 1], [5, 5]], ((0, 1), (2, 2))),
        ((torch.tensor([0]), [1]), [[3], [0]], ((0,), (1,))),
        (lambda output: output[:, 0] - output[:, 1], [[2], [4]], (0,)),
        (lambda output: output[:, :2] * 2, [[6, 2], [8, 0]], (0, 1)),
    ],
)
def test_scores_of_outputs(targets, scores, chosen):
    found = scores_of(LOGITS, targets, 2)
    assert (found.scores.tolist(), found.targets) == (scores, chosen)


def test_a_score_without_an_axis():
    assert scores_of(torch.tensor([7.0, 8.0]), None, 2).scores.tolist() == [[7], [8]]
    one = scores_of({"anything": torch.zeros(1)}, lambda output: output["anything"].sum() + 3, 1)
    assert (one.scores.tolist(), one.targets) == ([[3.0]], (0,))


@pytest.mark.parametrize(
    ("targets", "error", "words"),
    [
        (3, ValueError, "^target 3 is out of range; the network has outputs 0 to 2$"),
        ([0, -1], ValueError, "^target -1 is out of range; the network has outputs 0 to 2$"),
        ([[0], [3]], ValueError, "^target 3 is out of range"),
        ([[0, 1], [2]], ValueError, "^targets by item need 2 lists of the same length, got lists of 2, 1$"),
        ([[0]], ValueError, "^targets by item need 2 lists of the same length, got lists of 1$"),
        ("ab", TypeError, "^targets must be an index, .* a function of the output, or None for all, got 'ab'$"),
        (0.5, TypeError, "^targets must be an index, .* got 0.5$"),
        (
            SegmentationTarget(0),
            ValueError,
            r"^a SegmentationTarget needs an output \[B, M, \*voxels\], .* gave \[2, 3\]$",
        ),
        (lambda output: output.sum(), ValueError, "^targets as a function must give scores .* for 2 inputs, got "),
        (lambda output: output[:1], ValueError, r"for 2 inputs, got .*\[1, 3\]"),
        (lambda output: output[..., None], ValueError, r"for 2 inputs, got .*\[2, 3, 1\]"),
        (lambda output: 3.0, ValueError, "for 2 inputs, got .*float"),
    ],
)
def test_targets_that_do_not_fit_are_told(targets, error, words):
    with pytest.raises(error, match=words):
        scores_of(LOGITS, targets, 2)


@pytest.mark.parametrize("logits", [torch.zeros(3), torch.zeros(3, 2), torch.zeros(())])
def test_logits_of_other_batches_are_refused(logits):
    with pytest.raises(
        ValueError, match=r"^attention needs logits \[B, M\], or \[B, M, \*voxels\], .* for 2 inputs$"
    ) as caught:
        scores_of(logits, None, 2)
    assert f"gave {list(logits.shape)} for" in str(caught.value)


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, None),
        [LOGITS, torch.zeros(1)],
        {"aux": torch.zeros(1), "logits": LOGITS, "pred": torch.zeros(2)},
        {"out": LOGITS, "aux": torch.zeros(1)},
        {"pred": LOGITS, "out": torch.zeros(1)},
        {"output": LOGITS, "aux": torch.zeros(1)},
        {"mine": LOGITS},
    ],
)
def test_logits_are_found(output):
    assert logits_of(output) is LOGITS


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"a": LOGITS, "b": LOGITS}, "got dict with a, b; or give targets as a function of that output$"),
        ((), "got tuple; or give"),
        (None, "got NoneType; or give"),
        ({}, "got dict with ; or give"),
        ((None, LOGITS), "got tuple; or give"),
    ],
)
def test_where_logits_are_nowhere_what_there_was_is_named(output, words):
    with pytest.raises(
        ValueError, match="^the network must return logits, a dictionary with 'logits' or a tuple .*" + words
    ):
        logits_of(output)


# one item, two classes, a picture of 1 x 3: class 0 has the largest logit in the first place, class 1 in the others
PICTURE = torch.tensor([[[[3.0, 1.0, -2.0]], [[1.0, 4.0, -1.0]]]])
MASK = torch.tensor([[1, 0, 1]])


@pytest.mark.parametrize(
    ("target", "scores", "chosen"),
    [
        (None, [[3, 3]], (0, 1)),
        (SegmentationTarget(1), [[3]], (1,)),
        (SegmentationTarget([1, 0], within="everywhere"), [[4, 2]], (1, 0)),
        (SegmentationTarget(within="positive"), [[4, 5]], (0, 1)),
        (SegmentationTarget(0, within=(0, 1)), [[1]], (0,)),
        (SegmentationTarget(within=MASK), [[1, 0]], (0, 1)),
        (SegmentationTarget(within=MASK[None]), [[1, 0]], (0, 1)),
        (SegmentationTarget(within=MASK[None, None]), [[1, 0]], (0, 1)),
        (SegmentationTarget(within=torch.stack([MASK, 1 - MASK])[None]), [[1, 4]], (0, 1)),
        ([[1]], [[3]], ((1,),)),
    ],
)
def test_classes_of_a_segmentation_are_summed_over_their_voxels(target, scores, chosen):
    found = scores_of(PICTURE, target, 1)
    assert (found.scores.tolist(), found.targets) == (scores, chosen)


def test_of_a_single_output_what_is_positive_is_predicted():
    assert scores_of(PICTURE[:, :1], None, 1).scores.tolist() == [[4]]


def test_voxels_that_count_have_no_gradient_of_their_own():
    logits = PICTURE.clone().requires_grad_()
    scores_of(logits, SegmentationTarget(0), 1).scores.sum().backward()
    assert logits.grad.tolist() == [[[[1, 0, 0]], [[0, 0, 0]]]]


@pytest.mark.parametrize(
    ("within", "words"),
    [
        ("predicted", "^unknown within 'predicted' of a SegmentationTarget: did you mean 'prediction'"),
        ((0, 3), r"^voxel \(0, 3\) does not lie in the network's output of \(1, 3\) voxels; the last one is \(0, 2\)$"),
        ((0, -1), r"^voxel \(0, -1\) does not lie"),
        ((0,), r"^voxel \(0,\) does not lie"),
        (
            torch.zeros(3),
            r"has shape \[3\]; the network's output asks for one of \[1, 3\], \[1, 1, 3\], \[1, 1, 1, 3\], \[1, 2",
        ),
        (2 * MASK, "^the mask of a SegmentationTarget must be 0 and 1, got 0 to 2$"),
    ],
)
def test_voxels_that_do_not_fit_are_told(within, words):
    with pytest.raises(ValueError, match=words):
        scores_of(PICTURE, SegmentationTarget(within=within), 1)


def test_a_fixed_target_counts_where_the_class_was_predicted_whatever_comes_after():
    fixed = fixed_target(PICTURE, None, 1)
    assert scores_of(PICTURE + torch.tensor([0.0, 100.0]).view(1, 2, 1, 1), fixed, 1).scores.tolist() == [[3, 203]]
    one = fixed_target(PICTURE, 1, 1)
    assert scores_of(-PICTURE, one, 1).scores.tolist() == [[-3]]
    assert fixed_target(LOGITS, [1], 2) == [1]
    function = lambda output: output[:, 0]  # noqa: E731
    assert fixed_target(PICTURE, function, 1) is function


def test_select_and_indices():
    values = torch.arange(12.0).view(2, 3, 2)
    assert select(values, (2,)).tolist() == [[[4, 5]], [[10, 11]]]
    assert select(values, ((2, 0), (1, 1))).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
    assert parse_targets([[1], [0]], 2) == ((1,), (0,))
    assert parse_targets(np.int64(1), 2) == (1,)


def test_a_mask_for_each_item_is_no_mask_for_each_class():
    logits = torch.tensor([[[1.0, 2.0, 4.0], [10.0, 20.0, 40.0]], [[3.0, 5.0, 7.0], [30.0, 50.0, 70.0]]])
    masks = torch.tensor([[1, 0, 1], [0, 1, 0]])  # [B, voxels], of two items with two classes
    assert scores_of(logits, SegmentationTarget(within=masks), 2).scores.tolist() == [[5, 50], [5, 50]]
    by_class = torch.stack([masks, 1 - masks])  # [B, M, voxels]
    assert scores_of(logits, SegmentationTarget(within=by_class), 2).scores.tolist() == [[5, 20], [5, 100]]
    assert scores_of(logits, SegmentationTarget(within=masks[0]), 2).scores.tolist() == [[5, 50], [10, 100]]


def test_a_fixed_target_holds_to_the_items_of_the_batch():
    with pytest.raises(ValueError, match="^targets by item need 2 lists of the same length, got lists of 1, 1, 1$"):
        fixed_target(torch.zeros(2, 2, 3), [[0], [1], [0]], 2)
    assert fixed_target(LOGITS, [1], 2) == [1]  # nothing to fix where there are no voxels
