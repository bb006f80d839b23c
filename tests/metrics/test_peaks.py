"""Peaks one after another and recall of lesions: by hand, and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from organcam.metrics import LesionRecall, lesion_recall, peaks_of


def test_neighbours_of_a_peak_are_passed_over():
    attention = torch.tensor([[[[9.0, 8.0, 0.0, 7.0], [8.0, 8.0, 0.0, 1.0]]]])
    assert peaks_of(attention, 2).tolist() == [[[0, 3]]]
    assert peaks_of(attention, 2, distance=0).tolist() == [[[0, 1]]]
    assert peaks_of(attention, 2, distance=(0, 3)).tolist() == [[[0, 4]]]


def test_negative_places_are_no_peaks():
    assert peaks_of(torch.tensor([[[0.0, -1.0, 2.0]]]), 3, 0).tolist() == [[[2, -1, -1]]]


def test_recall_by_hand():
    """Three lesions; the peaks in order lie on lesion 2, on nothing, on lesion 2 again, on lesion 7."""
    attention = torch.tensor([[[9.0, 0.0, 8.0, 0.0, 7.0, 0.0, 6.0, 0.0, 0.0]]])
    lesions = torch.tensor([[[2, 2, 0, 0, 2, 0, 7, 0, 5]]])
    found = lesion_recall(attention, lesions, counts=(1, 2, 3, 4, 9))
    assert found[0, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_without_lesion_there_is_no_recall_and_an_empty_map_finds_nothing():
    assert lesion_recall(torch.rand(1, 1, 4), torch.zeros(1, 1, 4)).isnan().all()
    assert lesion_recall(-torch.rand(1, 1, 4), torch.ones(1, 1, 4)).tolist() == [[[0.0] * 4]]


@settings(max_examples=40)
@given(
    hnp.arrays(np.float32, (4, 5), elements=st.floats(-1, 1, width=16)),
    hnp.arrays(np.int64, (4, 5), elements=st.integers(0, 3)),
    st.integers(0, 2),
)
def test_equal_to_a_loop(attention, lesions, distance):
    left, hit, expected = attention.copy(), set(), []
    total = len(set(lesions[lesions > 0].tolist()))
    for _ in range(4):
        place = np.unravel_index(np.argmax(left), left.shape)
        if left[place] > 0 and lesions[place]:
            hit.add(int(lesions[place]))
        for cell in np.ndindex(left.shape):
            if max(abs(cell[0] - place[0]), abs(cell[1] - place[1])) <= distance:
                left[cell] = -np.inf
        expected.append(len(hit) / total if total else np.nan)
    found = lesion_recall(
        torch.tensor(attention)[None, None], torch.tensor(lesions)[None, None], (1, 2, 3, 4), distance
    )
    np.testing.assert_allclose(found[0, 0].numpy(), expected)


def test_class_is_the_mean_over_pairs():
    metric = LesionRecall(k=1)
    metric(torch.tensor([[[9.0, 0.0, 0.0], [9.0, 0.0, 0.0]]]), torch.tensor([[[1, 0, 2], [0, 0, 1]]]))
    assert metric.aggregate().item() == 0.25


@pytest.mark.parametrize(
    ("lesions", "counts", "words"),
    [
        (torch.ones(1, 1, 3), (1,), "same shape"),
        (torch.full((1, 1, 2), 0.5), (1,), "whole numbers"),
        (torch.full((1, 1, 2), -1), (1,), "whole numbers"),
        (torch.ones(1, 1, 2), (), "ascending"),
        (torch.ones(1, 1, 2), (3, 1), "ascending"),
        (torch.ones(1, 1, 2), (0, 1), "ascending"),
    ],
)
def test_bad_input_says_what_is_wrong(lesions, counts, words):
    with pytest.raises(ValueError, match=words):
        lesion_recall(torch.ones(1, 1, 2), lesions, counts)


@pytest.mark.parametrize(("count", "distance"), [(0, 1), (1, -1), (1, (1, 1))])
def test_bad_counts_and_distances_are_refused(count, distance):
    with pytest.raises(ValueError, match="a count of 1 or more and distances of 0 or more for 1 axes"):
        peaks_of(torch.ones(1, 1, 2), count, distance)
