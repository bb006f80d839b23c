"""Allowed regions: which cells a label may use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.data import MetaTensor
from monai.transforms import Flipd, Rotate90d

from organcam.geometry import FeatureGrid
from organcam.segmentation.regions.bitmaps import bitmaps_of_occupancy, organ_regions
from organcam.transforms import (
    AllowedFromOccupancy,
    AllowedFromOccupancyd,
    AllowedFromOrgans,
    AllowedFromOrgansd,
    AllowedFromRegions,
    FlipRotate,
    expand_regions,
)

RIGHT, LEFT, HEART = np.eye(3, dtype=np.uint8)
BOTH, NONE = RIGHT + LEFT, np.zeros(3, np.uint8)


def grid(*organs: list[float]) -> np.ndarray:
    return np.array(organs, dtype=np.float32).reshape(3, 1, 1, -1)


def test_cell_is_allowed_where_the_organ_covers_the_fraction():
    occupancy = grid([0.24, 0.25, 1.0], [0, 0, 0], [0, 0, 0])
    assert AllowedFromOccupancy(0.25)(occupancy, RIGHT[None]).ravel().tolist() == [False, True, True]


def test_organs_of_a_label_count_together():
    occupancy = grid([0.1, 0.15], [0.1, 0.15], [0.8, 0.7])
    assert AllowedFromOccupancy(0.3)(occupancy, np.stack([RIGHT, BOTH, HEART])).reshape(3, 2).tolist() == [
        [False, False],
        [False, True],
        [True, True],
    ]


def test_absent_label_is_allowed_nowhere_even_at_zero():
    assert not AllowedFromOccupancy(0)(np.ones((3, 2, 2, 2), np.float32), NONE[None]).any()


def test_threshold_zero_means_any_contact():
    occupancy = grid([0.0, 0.001], [0, 0], [0, 0])
    assert AllowedFromOccupancy(0)(occupancy, RIGHT[None]).ravel().tolist() == [False, True]


def test_bytes_are_steps_of_255_and_bool_is_all_or_nothing():
    share = grid([0.2, 0.5, 1.0], [0, 0, 0], [0, 0, 0])
    as_bytes = np.rint(share * 255).astype(np.uint8)
    for occupancy in (share, as_bytes, share >= 0.3, torch.tensor(share)):
        assert AllowedFromOccupancy(0.3)(occupancy, RIGHT[None]).ravel().tolist() == [False, True, True]


def test_kind_follows_the_occupancy():
    occupancy = torch.rand(3, 2, 4, 4)
    assert type(AllowedFromOccupancy()(MetaTensor(occupancy), torch.ones(5, 3))) is torch.Tensor
    assert isinstance(AllowedFromOccupancy()(occupancy.numpy(), np.ones((5, 3))), np.ndarray)
    assert AllowedFromOccupancy()(occupancy, np.ones((5, 3))).shape == (5, 2, 4, 4)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (3, 2, 2, 3), elements=st.floats(0, 1, width=16)),
    hnp.arrays(np.uint8, (4, 3), elements=st.integers(0, 1)),
    st.sampled_from([0.125, 0.25, 0.5, 1.0]),
)
def test_equal_to_a_loop_over_labels(occupancy, organs, threshold):
    found = AllowedFromOccupancy(threshold)(occupancy, organs)
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
    assert (AllowedFromOccupancy(low)(occupancy, organs) >= AllowedFromOccupancy(high)(occupancy, organs)).all()


def test_a_label_that_may_hide_at_the_base_is_allowed_there_under_its_own_lung():
    regions = torch.zeros(15, 1, 1, 4, dtype=torch.bool)
    regions[0, ..., 0] = regions[12, ..., 0] = True  # right lung; its lower third is not among these cells
    regions[1, ..., 1] = regions[2, ..., :2] = True  # left lung, both
    regions[13, ..., 2], regions[14, ..., 3] = True, True  # what the bases add
    nothing = [0] * 6
    rows = {
        "both lungs": ([1, 1, 0, *nothing, 1], [0, 1, 2, 3]),
        "both lungs, no base": ([1, 1, 0, *nothing, 0], [0, 1]),
        "right lung": ([1, 0, 0, *nothing, 1], [0, 2]),
        "right upper third": ([1, 0, 0, 1, 0, 0, 0, 0, 0, 1], []),
        "right lower third": ([1, 0, 0, 0, 0, 1, 0, 0, 0, 1], [2]),
        "heart": ([0, 0, 1, *nothing, 1], []),
        "absent": ([0, 0, 0, *nothing, 0], []),
    }
    found = expand_regions(regions, torch.tensor([bits for bits, _ in rows.values()]))
    for name, cells in zip(rows, found, strict=True):
        assert cells.flatten().nonzero().flatten().tolist() == rows[name][1], name
    # Bitmaps without bases know nothing of them; without thirds a stated third is its whole lung.
    bits = torch.tensor([rows["right lower third"][0]])
    assert expand_regions(regions[:7], bits).flatten().tolist() == [True, False, False, False]
    assert expand_regions(regions[[*range(7), 13, 14]], bits).flatten().tolist() == [True, False, True, False]


def test_dictionary_form_adds_the_entry():
    item = {"occupancy": grid([1.0], [0], [0]), "organs": np.stack([RIGHT, HEART])}
    out = AllowedFromOccupancyd("occupancy")(item)
    assert out["allowed"].ravel().tolist() == [True, False]
    assert "allowed" not in item
    assert "allowed" not in AllowedFromOccupancyd("occupancy", allow_missing_keys=True)({"organs": item["organs"]})


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
        AllowedFromOccupancy()(occupancy, organs)


def test_threshold_and_keys_are_checked():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 25"):
        AllowedFromOccupancy(25)
    with pytest.raises(ValueError, match="one scan's organs"):
        AllowedFromOccupancyd(keys=("a", "b"))


# Region bitmaps: sets of organs by code, then the thirds of the lungs.


def bitmaps(thirds: bool = True) -> torch.Tensor:
    """Every bitmap its own cell: bitmap r allows cell r only."""
    count = 13 if thirds else 7
    return torch.eye(count, dtype=torch.bool).view(count, 1, 1, count)


def cell_numbers(allowed: torch.Tensor) -> list[list[int]]:
    return [row.flatten().nonzero().flatten().tolist() for row in allowed]


def test_a_label_takes_the_bitmap_of_its_set_of_organs():
    organs = torch.from_numpy(np.stack([RIGHT, LEFT, BOTH, HEART, RIGHT + HEART, LEFT + HEART, BOTH + HEART, NONE]))
    assert cell_numbers(expand_regions(bitmaps(), organs)) == [[0], [1], [2], [3], [4], [5], [6], []]


def test_a_stated_third_narrows_its_lung_only():
    def bits(organs, *thirds):
        return [*organs.tolist(), *(int(i in thirds) for i in range(6))]

    rows = [
        bits(RIGHT, 0),  # upper third of the right lung
        bits(RIGHT, 0, 2),
        bits(BOTH, 4),  # the whole right lung and the middle third of the left
        bits(BOTH, 1, 5),
        bits(BOTH + HEART, 1, 5),
        bits(LEFT, 0),  # a third of a lung that the label is not in
        bits(NONE, 0, 3),
    ]
    found = expand_regions(bitmaps(), torch.tensor(rows))
    assert cell_numbers(found) == [[7], [7, 9], [0, 11], [8, 12], [3, 8, 12], [1], []]
    without = expand_regions(bitmaps(thirds=False), torch.tensor(rows))
    assert cell_numbers(without) == [[0], [0], [2], [2], [6], [1], []]


def test_a_batch_is_the_same_as_its_items():
    torch.manual_seed(0)
    regions = torch.rand(3, 13, 2, 4, 4) > 0.5
    organs = (torch.rand(3, 5, 9) > 0.5).to(torch.uint8)
    batch = expand_regions(regions, organs)
    assert batch.shape == (3, 5, 2, 4, 4)
    for item in range(3):
        assert torch.equal(batch[item], expand_regions(regions[item], organs[item]))


def test_bitmaps_give_what_the_occupancy_gives():
    rng = np.random.default_rng(3)
    occupancy = rng.random((3, 2, 3, 4)).astype(np.float32) / 3
    organs = np.stack([RIGHT, LEFT, BOTH, HEART, BOTH + HEART, NONE])
    from_bitmaps = AllowedFromRegions()(bitmaps_of_occupancy(occupancy, 0.25), organs)
    assert np.array_equal(from_bitmaps, AllowedFromOccupancy(0.25)(occupancy, organs))


TILING = FeatureGrid((2, 4, 4), (3, 4, 4), (1, 1.5, 1.5), (1, 1, 1), (6, 16, 16))


def scan() -> dict:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.repeat(rng.integers(0, 4, (6, 8, 8)), 2, 1), 2, 2).astype(np.uint8)
    image = torch.from_numpy(rng.random((1, 6, 16, 16)))
    return {"image": image, "organs_map": torch.from_numpy(labels)[None], "organs": np.eye(3)}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("registration", ["network", "reference"])
def test_regions_of_a_flipped_label_map_are_the_flipped_regions(axis, registration):
    mode = "area" if registration == "reference" else "nearest"
    allow = AllowedFromOrgansd("organs_map", grid=TILING, registration=registration, mode=mode)
    before = allow(Flipd(["image", "organs_map"], spatial_axis=axis)(scan()))
    after = Flipd(["image", "allowed"], spatial_axis=axis)(allow(scan()))
    assert before["allowed"].any()
    assert torch.equal(before["allowed"], torch.as_tensor(np.asarray(after["allowed"])))
    assert torch.equal(torch.as_tensor(before["image"]), torch.as_tensor(after["image"]))


def test_regions_of_a_turned_label_map_are_the_turned_regions():
    allow = AllowedFromOrgansd("organs_map", grid=TILING)
    before = allow(Rotate90d(["organs_map"], k=1, spatial_axes=(1, 2))(scan()))
    after = Rotate90d(["allowed"], k=1, spatial_axes=(1, 2))(allow(scan()))
    assert torch.equal(before["allowed"], torch.as_tensor(np.asarray(after["allowed"])))


def test_the_published_augmentation_turns_bitmaps_as_it_turns_allowed_cells():
    regions = organ_regions(np.asarray(scan()["organs_map"][0]), TILING, thirds=True)
    organs = torch.tensor([[1, 1, 0, 1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0, 0, 0]])
    turn = FlipRotate(flip=2, turns=1)
    one = expand_regions(torch.from_numpy(turn(regions)), organs)
    assert torch.equal(one, turn(expand_regions(torch.from_numpy(regions), organs)))


@pytest.mark.parametrize(
    ("regions", "organs", "words"),
    [
        (torch.zeros(5, 1, 1, 1), torch.zeros(2, 3), "R of"),
        (torch.zeros(7, 1, 1, 1), torch.zeros(2, 4), r"\[M, 3\], \[M, 9\] or \[M, 10\]"),
        (torch.zeros(7, 1, 1, 1), torch.full((2, 3), 3), "0 and 1 only"),
    ],
)
def test_bitmaps_and_bits_that_do_not_fit_are_refused(regions, organs, words):
    with pytest.raises(ValueError, match=words):
        expand_regions(regions, organs)


def test_a_label_map_with_other_values_is_refused():
    with pytest.raises(ValueError, match="values 0 to 3"):
        AllowedFromOrgans(TILING)(np.full((6, 16, 16), 9, np.uint8), np.eye(3))
    with pytest.raises(ValueError, match="did you mean 'reference'"):
        AllowedFromOrgans(TILING, registration="refrence")


def test_bitmaps_are_told_from_shares_by_the_class_and_not_by_their_type():
    everywhere = np.ones((3, 1, 1, 2), dtype=bool)
    assert AllowedFromOccupancy()(everywhere, RIGHT[None]).all()
    with pytest.raises(ValueError, match="region bitmaps .* R of"):
        AllowedFromRegions()(everywhere, RIGHT[None])
    seven = np.zeros((7, 1, 1, 2), dtype=np.uint8)
    seven[0, 0, 0, 1] = 1
    assert AllowedFromRegions()(seven, RIGHT[None]).ravel().tolist() == [False, True]
