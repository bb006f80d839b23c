"""Figures of validation, counted by hand."""

import math

import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose
from torch import nn

from organcam.engines import validate
from organcam.losses import ClassAndMaskLoss, MaskLoss

CPU = torch.device("cpu")


class Repeats(nn.Module):
    """The input is the answer: ``[B, M, 1 + cells]`` holds each label's logit and its map."""

    def forward(self, x, attention=False):
        logits, maps = x[..., 0], x[..., 1:]
        return {"logits": logits, "attention": maps} if attention else logits


def batches_of(rows: list[dict], batch_size: int) -> DataLoader:
    return DataLoader(Dataset(rows, Compose([])), batch_size=batch_size)


def row(logits, label, maps=None, allowed=None) -> dict:
    maps = [[0.0] * 4] * len(logits) if maps is None else maps
    image = torch.cat([torch.tensor(logits)[:, None], torch.tensor(maps)], dim=1)
    return {
        "image": image,
        "label": torch.tensor(label),
        "allowed": torch.zeros(len(logits), 4) if allowed is None else torch.tensor(allowed),
    }


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_loss_is_the_mean_over_scans_whatever_the_batch(batch_size):
    """Cross-entropy of the logits 0, 0, 2 of absent labels: ln 2 twice, and ln(1 + e^2)."""
    rows = [row([0.0], [0.0]), row([0.0], [0.0]), row([2.0], [0.0])]
    found = validate(Repeats(), batches_of(rows, batch_size), CPU, loss=ClassAndMaskLoss())
    assert found["loss"] == pytest.approx((2 * math.log(2) + math.log(1 + math.e**2)) / 3)
    assert math.isnan(found["auroc_median"])  # one class only
    assert "organ_iou" not in found


def test_auroc_is_the_median_over_labels_with_both_classes():
    """Label 0 is ranked right (1), label 1 wrong (0), label 2 in two of three pairs; label 3 is never present."""
    rows = [
        row([1.0, 0.0, 0.5, 0.0], [1.0, 1.0, 0.0, 0.0]),
        row([0.0, 1.0, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0]),
        row([0.0, 1.0, 0.4, 0.0], [0.0, 0.0, 1.0, 0.0]),
        row([0.0, 1.0, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]),
    ]
    assert validate(Repeats(), batches_of(rows, 3), CPU) == {"auroc_median": pytest.approx(2 / 3)}


def test_organ_iou_is_of_present_pairs_at_each_label_s_best_threshold():
    """Label 0 is present in three scans, and cell 0 is allowed.

    Below 1/4, up to 1/2, and above, these shares of the lit cells are allowed: 1/3, 1/2, 1 in the first and the third
    scan, 1/3, 1/2, 0 in the second. The best mean is 2/3, above 1/2. Label 1 is present once, and lit where it must not
    be: 0. Together (3 * 2/3 + 0) / 4. A label of 0.3 is not present, nor does the map of an absent label count.
    """
    first, second, nowhere = [4.0, 2.0, 1.0, 0.0], [2.0, 4.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]
    allowed = [[1.0, 0.0, 0.0, 0.0]] * 2
    rows = [
        row([0.0, 0.0], [1.0, 1.0], [first, nowhere], allowed),
        row([0.0, 0.0], [1.0, 0.0], [second, first], allowed),
        row([0.0, 0.0], [1.0, 0.0], [first, first], allowed),
        row([0.0, 0.0], [0.3, 0.0], [nowhere, first], allowed),
    ]
    for batch_size in (1, 3, 4):
        found = validate(Repeats(), batches_of(rows, batch_size), CPU, organ_iou=True)
        assert found["organ_iou"] == pytest.approx(0.5)


def test_organ_iou_of_no_present_label_is_undefined():
    assert math.isnan(validate(Repeats(), batches_of([row([0.0], [0.0])], 1), CPU, organ_iou=True)["organ_iou"])


def test_mask_loss_is_part_of_the_validation_loss():
    """ln 2 of the logit 0, plus 3 times the mean |attention| over the three forbidden cells, half-weighted."""
    rows = [row([0.0], [1.0], [[5.0, 1.0, -2.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]])]
    found = validate(Repeats(), batches_of(rows, 1), CPU, loss=ClassAndMaskLoss(MaskLoss(), weight=3.0))
    assert found["loss"] == pytest.approx(math.log(2) + 3 * (1.0 / 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_gives_no_numbers_has_no_figures(value):
    rows = [row([0.0], [1.0]), row([value], [0.0])]
    found = validate(Repeats(), batches_of(rows, 1), CPU, loss=ClassAndMaskLoss(), organ_iou=True)
    assert set(found) == {"loss", "auroc_median", "organ_iou"}
    assert all(math.isnan(figure) for figure in found.values())


def test_unknown_labels_are_refused():
    rows = [row([0.0], [1.0]), row([0.0], [float("nan")])]
    with pytest.raises(ValueError, match=r"labels hold NaN \(1 of 2\)"):
        validate(Repeats(), batches_of(rows, 1), CPU)


@pytest.mark.parametrize("training", [True, False])
def test_the_network_is_used_in_evaluation_mode_and_left_in_its_own(training):
    modes = []

    class Told(Repeats):
        def forward(self, x, attention=False):
            modes.append((self.training, torch.is_grad_enabled()))
            return super().forward(x, attention)

    network = Told().train(training)
    validate(network, batches_of([row([0.0], [1.0])], 1), CPU, loss=ClassAndMaskLoss())
    assert modes == [(False, False)]
    assert network.training == training
