"""Distance from the slab with the most evidence to the slice that a report names."""

from __future__ import annotations

import math

import pytest
import torch

from organcam.metrics import axial_error

ATTENTION = torch.tensor([[[[2.0, 2.0], [3.0, 0.0], [0.0, -9.0]], [[0.0, 0.0], [-1.0, 0.0], [0.0, 0.0]]]])


def test_by_hand():
    """Slabs hold evidence of 4, 3 and 0; the first one lies at 100 mm, the named slices 7 and 13 mm below."""
    named = torch.tensor([[[93.0, 87.0], [93.0, math.nan]]])
    found = axial_error(ATTENTION, torch.tensor([100.0, 90.0, 80.0]), named)
    assert found[0, 0].item() == 7.0
    assert found[0, 1].isnan()  # no positive evidence: it points nowhere


def test_labels_without_a_mention_have_no_error():
    named = torch.full((1, 2), math.nan)
    assert axial_error(ATTENTION, torch.zeros(3), named).isnan().all()
    assert axial_error(ATTENTION, torch.zeros(3), torch.zeros(1, 2, 0)).isnan().all()


def test_every_scan_has_its_own_slices_and_scale_does_not_matter():
    attention = ATTENTION[:, :1].expand(2, 1, 3, 2)
    centres, named = torch.tensor([[0.0, 5.0, 10.0], [50.0, 55.0, 60.0]]), torch.tensor([[1.0], [58.0]])
    assert axial_error(attention, centres, named).tolist() == [[1.0], [8.0]]
    assert axial_error(7 * attention, centres, named).tolist() == [[1.0], [8.0]]


@pytest.mark.parametrize(
    ("centres", "named", "words"),
    [
        (torch.zeros(2), torch.zeros(1, 2), r"need centres_mm \[3\] or \[1, 3\]"),
        (torch.zeros(3), torch.zeros(1, 3), r"mentioned_mm \[1, 2, K\]"),
        (torch.tensor([0.0, 1.0, math.inf]), torch.zeros(1, 2), "centres_mm holds NaN or infinity"),
    ],
)
def test_bad_input_says_what_is_wrong(centres, named, words):
    with pytest.raises(ValueError, match=words):
        axial_error(ATTENTION, centres, named)
