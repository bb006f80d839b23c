"""Pointing and shares of evidence on the feature grid, by hand and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from organcam.metrics import energy_pointing, evidence_by_region, pointing_accuracy


def test_peak_in_a_cell_that_the_lesion_touches_is_a_hit():
    attention = torch.tensor([[[[1.0, 5.0], [2.0, 0.0]], [[5.0, 1.0], [2.0, 0.0]]]])
    lesion = torch.tensor([[[[0.0, 0.01], [0.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]]])
    assert pointing_accuracy(attention, lesion).tolist() == [[1.0, 0.0]]


def test_without_lesion_there_is_nothing_to_point_at():
    assert pointing_accuracy(torch.rand(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)).isnan().all()


def test_labels_with_and_without_a_lesion_stand_side_by_side():
    attention = torch.tensor([[[3.0, 1.0], [3.0, 1.0], [1.0, 3.0]]])
    lesions = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]])
    found = pointing_accuracy(attention, lesions)
    assert found[0, [0, 2]].tolist() == [1.0, 0.0]
    assert found[0, 1].isnan()


def test_map_without_positive_value_points_nowhere():
    assert pointing_accuracy(-torch.rand(1, 1, 3, 3) - 0.1, torch.ones(1, 1, 3, 3)).item() == 0.0


def test_first_of_equal_peaks_counts():
    attention = torch.tensor([[[0.0, 2.0, 2.0]]])
    assert pointing_accuracy(attention, torch.tensor([[[0.0, 1.0, 0.0]]])).item() == 1.0
    assert pointing_accuracy(attention, torch.tensor([[[0.0, 0.0, 1.0]]])).item() == 0.0


def test_tolerance_is_counted_in_cells_per_axis():
    attention, lesion = torch.zeros(1, 1, 4, 5, 5), torch.zeros(1, 1, 4, 5, 5)
    attention[0, 0, 1, 2, 2] = 1
    lesion[0, 0, 3, 2, 3] = 0.5
    for tolerance, hit in ((0, 0.0), (1, 0.0), ((2, 0, 1), 1.0), ((2, 1, 0), 0.0), (2, 1.0)):
        assert pointing_accuracy(attention, lesion, tolerance).item() == hit, tolerance


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 4, 4), elements=st.floats(-1, 1, width=16)),
    hnp.arrays(np.bool_, (3, 4, 4)),
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
)
def test_equal_to_a_loop_over_lesion_cells(attention, lesion, tolerance):
    found = pointing_accuracy(torch.tensor(attention)[None, None], torch.tensor(lesion)[None, None], tolerance).item()
    cells = np.argwhere(lesion)
    if len(cells) == 0:
        assert np.isnan(found)
    else:
        peak = np.unravel_index(np.argmax(attention), attention.shape)
        near = (np.abs(cells - peak) <= tolerance).all(axis=1).any()
        assert found == float(near and attention[peak] > 0)


def test_share_of_evidence_ignores_negative_values_and_counts_partial_cells():
    attention = torch.tensor([[[3.0, -9.0, 1.0]]])
    assert energy_pointing(attention, torch.tensor([[[1, 1, 0]]])).item() == 0.75
    assert energy_pointing(attention, torch.tensor([[[0.5, 0.0, 1.0]]])).item() == pytest.approx(2.5 / 4)
    assert energy_pointing(-attention.abs(), torch.ones(1, 1, 3)).isnan().item()


def test_evidence_is_shared_out_among_organs():
    attention = torch.tensor([[[4.0, 3.0, 1.0, -8.0], [-1.0, -1.0, -1.0, -1.0]]])
    organs = torch.tensor([[[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.5, 1.0]]])
    shares = evidence_by_region(attention, organs)
    assert shares[0, 0].tolist() == [0.5, 3.5 / 8]
    assert shares[0, 1].isnan().all()


def test_organs_agree_with_the_pairwise_form():
    torch.manual_seed(0)
    attention, organs = torch.randn(2, 4, 3, 5, 5), torch.rand(2, 3, 3, 5, 5)
    shares = evidence_by_region(attention, organs)
    for organ in range(3):
        region = organs[:, organ : organ + 1].expand_as(attention)
        torch.testing.assert_close(shares[..., organ], energy_pointing(attention, region))


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
@pytest.mark.parametrize("region", [torch.bool, torch.uint8, torch.float32])
def test_shares_have_at_least_single_precision(given, computed, region):
    """2,048 and 1 of 2,049: in half precision the sum would be 2,048 and the shares 1 and 0.0005."""
    attention = torch.tensor([[[2048.0, 1.0]]], dtype=given)
    inside = torch.tensor([[[1, 0]]]).to(region)
    for share in (energy_pointing(attention, inside)[0, 0], evidence_by_region(attention, inside)[0, 0, 0]):
        assert share.dtype == computed
        assert share.item() == pytest.approx(2048 / 2049, rel=1e-7 if computed == torch.float32 else 1e-15)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 3, 4, 5)])
def test_regions_of_another_batch_or_grid_are_refused(shape):
    with pytest.raises(ValueError, match=r"must share batch and grid, got \(1, 2, 4, 4\) and \(") as caught:
        evidence_by_region(torch.ones(1, 2, 4, 4), torch.ones(shape))
    assert str(caught.value).startswith("attention [B, M, *grid] and regions [B, R, *grid]")
    assert str(caught.value).endswith(str(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("measure", [pointing_accuracy, energy_pointing, evidence_by_region])
def test_maps_that_are_not_finite_are_refused(measure, value):
    attention = torch.tensor([[[1.0, value]]])
    with pytest.raises(ValueError, match="^attention holds NaN or infinity$"):
        measure(attention, torch.ones(1, 1, 2))


@pytest.mark.parametrize(
    ("mask", "tolerance", "words"),
    [
        (torch.ones(1, 1, 3), 0, "same shape"),
        (torch.full((1, 1, 2), 1.5), 0, "shares from 0 to 1"),
        (torch.ones(1, 1, 2), (1, 1), "each of the 1 grid axes"),
        (torch.ones(1, 1, 2), -1, ">= 0"),
    ],
)
def test_bad_input_says_what_is_wrong(mask, tolerance, words):
    with pytest.raises(ValueError, match=words):
        pointing_accuracy(torch.ones(1, 1, 2), mask, tolerance)
