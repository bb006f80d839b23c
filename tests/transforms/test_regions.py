"""Allowed regions: which cells a label may use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor

from organcam.transforms import AllowedRegions, AllowedRegionsd

RIGHT, LEFT, HEART = np.eye(3, dtype=np.uint8)
BOTH, NONE = RIGHT + LEFT, np.zeros(3, np.uint8)


def grid(*organs: list[float]) -> np.ndarray:
    return np.array(organs, dtype=np.float32).reshape(3, 1, 1, -1)


def test_cell_is_allowed_where_the_organ_covers_the_fraction():
    occupancy = grid([0.24, 0.25, 1.0], [0, 0, 0], [0, 0, 0])
    assert AllowedRegions(0.25)(occupancy, RIGHT[None]).ravel().tolist() == [False, True, True]


def test_organs_of_a_label_count_together():
    occupancy = grid([0.1, 0.15], [0.1, 0.15], [0.8, 0.7])
    assert AllowedRegions(0.3)(occupancy, np.stack([RIGHT, BOTH, HEART])).reshape(3, 2).tolist() == [
        [False, False],
        [False, True],
        [True, True],
    ]


def test_absent_label_is_allowed_nowhere_even_at_zero():
    assert not AllowedRegions(0)(np.ones((3, 2, 2, 2), np.float32), NONE[None]).any()


def test_threshold_zero_means_any_contact():
    occupancy = grid([0.0, 0.001], [0, 0], [0, 0])
    assert AllowedRegions(0)(occupancy, RIGHT[None]).ravel().tolist() == [False, True]


def test_bytes_are_steps_of_255_and_bool_is_all_or_nothing():
    share = grid([0.2, 0.5, 1.0], [0, 0, 0], [0, 0, 0])
    as_bytes = np.rint(share * 255).astype(np.uint8)
    for occupancy in (share, as_bytes, share >= 0.3, torch.tensor(share)):
        assert AllowedRegions(0.3)(occupancy, RIGHT[None]).ravel().tolist() == [False, True, True]


def test_kind_follows_the_occupancy():
    occupancy = torch.rand(3, 2, 4, 4)
    assert type(AllowedRegions()(MetaTensor(occupancy), torch.ones(5, 3))) is torch.Tensor
    assert isinstance(AllowedRegions()(occupancy.numpy(), np.ones((5, 3))), np.ndarray)
    assert AllowedRegions()(occupancy, np.ones((5, 3))).shape == (5, 2, 4, 4)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 2, 2, 3), elements=st.floats(0, 1, width=16)),
    hnp.arrays(np.uint8, (4, 3), elements=st.integers(0, 1)),
    st.sampled_from([0.125, 0.25, 0.5, 1.0]),
)
def test_equal_to_a_loop_over_labels(occupancy, organs, threshold):
    found = AllowedRegions(threshold)(occupancy, organs)
    for label, bits in enumerate(organs):
        share = sum((occupancy[o].astype(np.float64) for o in range(3) if bits[o]), np.zeros(occupancy.shape[1:]))
        sure = np.abs(share - threshold) > 1e-5
        np.testing.assert_array_equal(found[label][sure], share[sure] >= threshold)


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 1, 2, 3), elements=st.floats(0, 1, width=16)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_higher_threshold_allows_no_more(occupancy, one, other):
    low, high = sorted((one, other))
    organs = np.stack([RIGHT, LEFT, HEART, BOTH])
    assert (AllowedRegions(low)(occupancy, organs) >= AllowedRegions(high)(occupancy, organs)).all()


def test_dictionary_form_adds_the_entry():
    item = {"occupancy": grid([1.0], [0], [0]), "organs": np.stack([RIGHT, HEART])}
    out = AllowedRegionsd()(item)
    assert out["allowed"].ravel().tolist() == [True, False]
    assert "allowed" not in item
    assert "allowed" not in AllowedRegionsd(allow_missing_keys=True)({"organs": item["organs"]})


@pytest.mark.parametrize(
    ("occupancy", "organs", "words"),
    [
        (np.zeros((2, 1, 1, 1), np.float32), np.zeros((4, 3)), "the same organs"),
        (np.full((3, 1, 1, 1), 50.0, np.float32), np.zeros((4, 3)), "shares from 0 to 1"),
        (np.zeros((3, 1, 1, 1), np.int16), np.zeros((4, 3)), "int16"),
        (np.zeros((3, 1, 1, 1), np.float32), np.full((4, 3), 2), "bits must hold 0 and 1"),
    ],
)
def test_bad_input_says_what_is_wrong(occupancy, organs, words):
    with pytest.raises(ValueError, match=words):
        AllowedRegions()(occupancy, organs)


def test_threshold_and_keys_are_checked():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 25"):
        AllowedRegions(25)
    with pytest.raises(ValueError, match="one occupancy"):
        AllowedRegionsd(keys=("a", "b"))
