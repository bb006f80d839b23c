"""Deletion, insertion and masked-out area: by hand on a sum, and on a network whose map is exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from organcam.attention import attention_maps
from organcam.metrics import deletion_curve, insertion_curve, masked_out_area


def total(batch):
    return batch.flatten(1).sum(1)


IMAGE = torch.tensor([[4.0, 1.0], [3.0, 2.0]])


def test_highest_places_go_first_and_come_first():
    deleted = deletion_curve(total, IMAGE, IMAGE, budget=5)
    assert deleted.shares.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert deleted.scores.tolist() == [10.0, 6.0, 3.0, 1.0, 0.0]
    assert deleted.area == pytest.approx(0.25 * (5 + 6 + 3 + 1))
    assert insertion_curve(total, IMAGE, IMAGE, budget=5).scores.tolist() == [0.0, 4.0, 7.0, 9.0, 10.0]


def test_only_the_order_of_the_map_counts():
    torch.manual_seed(0)
    image, attention = torch.randn(3, 4, 4), torch.randn(4, 4)
    first = deletion_curve(total, image, attention, budget=9)
    assert torch.equal(first.scores, deletion_curve(total, image, 7 * attention - 3, budget=9).scores)
    assert torch.equal(first.scores, deletion_curve(total, image, attention, budget=9, batch_size=2).scores)


def test_channels_share_the_map_and_fill_may_be_an_image():
    image = torch.stack([IMAGE, 10 * IMAGE])
    curve = deletion_curve(total, image, IMAGE, fill=torch.ones(2, 2, 2), budget=5)
    assert curve.scores.tolist() == [110.0, 68.0, 37.0, 17.0, 8.0]


def test_no_more_passes_than_the_budget():
    seen = []

    def counted(batch):
        seen.append(len(batch))
        return total(batch)

    deletion_curve(counted, IMAGE, IMAGE, budget=7, batch_size=3)
    assert seen == [3, 3, 1]
    seen.clear()
    assert math.isnan(masked_out_area(counted, IMAGE, IMAGE, 0.5, step=0.25, budget=3, batch_size=2))
    assert seen == [2, 1]
    seen.clear()
    assert masked_out_area(counted, IMAGE, IMAGE, 7.0, step=0.25, batch_size=2) == 0.25
    assert seen == [2]


def test_masked_out_area_ends_where_the_label_is_not_predicted_any_more():
    assert masked_out_area(total, IMAGE, IMAGE, 3.0, step=0.25) == 0.75  # a score of 3 still is
    assert masked_out_area(total, IMAGE, IMAGE, 0.0, step=0.25) == 1.0  # never turns
    assert math.isnan(masked_out_area(total, IMAGE, IMAGE, 11.0))  # not predicted at the start
    assert masked_out_area(total, torch.ones(10), torch.ones(10), 0.5, step=0.3) == 1.0  # the last step is what is left


def test_half_a_percent_are_201_passes():
    image = torch.arange(400.0)
    seen = []

    def counted(batch):
        seen.append(len(batch))
        return batch[:, 0]

    assert masked_out_area(counted, image + 1, image, -1.0, batch_size=67) == 1.0
    assert sum(seen) == 201


def test_the_exact_map_of_a_linear_network_deletes_fastest():
    """With x * w as map no other order can fall below it at any step; a random order does worse."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 1)).double().eval()
    image = torch.randn(1, 6, 6, dtype=torch.float64)
    exact = attention_maps(network, image[None], method="gradient_x_input").values[0, 0]
    score = lambda batch: network(batch)[:, 0]  # noqa: E731
    best = deletion_curve(score, image, exact, budget=37)
    for _ in range(5):
        other = deletion_curve(score, image, torch.randn(6, 6), budget=37)
        assert (best.scores <= other.scores + 1e-9).all()
        assert best.area < other.area
    assert insertion_curve(score, image, exact, budget=37).area > insertion_curve(score, image, -exact, budget=37).area


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"attention": torch.ones(3)}, "the image's shape, or that without its channels"),
        ({"attention": torch.tensor([[1.0, math.nan], [0.0, 0.0]])}, "NaN or infinity"),
        ({"fill": torch.ones(3)}, "a number or of the image's shape"),
        ({"budget": 1}, "at least 2 forward passes"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"score": lambda batch: batch}, "one number for each of 8 inputs"),
    ],
)
def test_bad_input_says_what_is_wrong(changed, words):
    arguments = {"score": total, "image": IMAGE, "attention": IMAGE, **changed}
    with pytest.raises(ValueError, match=words):
        deletion_curve(**arguments)


@pytest.mark.parametrize("step", [0.0, -0.1, 1.5])
def test_steps_are_shares(step):
    with pytest.raises(ValueError, match="step is a share"):
        masked_out_area(total, IMAGE, IMAGE, 1.0, step=step)
