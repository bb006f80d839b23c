"""Controls of the mask loss on grids made by hand."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from organcam.losses import atlas_regions, other_patients, shuffled_regions, swapped_places


@given(scans=st.lists(st.integers(1, 4), min_size=2, max_size=9), seed=st.integers(0, 50))
def test_every_scan_gets_one_of_another_patient_and_each_lends_once(scans, seed):
    patients = {f"{patient}-{scan}": f"p{patient}" for patient, count in enumerate(scans) for scan in range(count)}
    if 2 * max(scans) > sum(scans):
        with pytest.raises(ValueError, match=f"one has {max(scans)} of {sum(scans)}"):
            other_patients(patients, seed)
        return
    lenders = other_patients(patients, seed)
    assert sorted(lenders) == sorted(lenders.values()) == sorted(patients)
    assert not [scan for scan, lender in lenders.items() if patients[scan] == patients[lender]]
    assert lenders == other_patients(dict(reversed(patients.items())), seed)


def test_another_seed_lends_in_another_way():
    patients = {str(scan): str(scan) for scan in range(20)}
    assert other_patients(patients, 0) != other_patients(patients, 1)


def test_nobody_lends_to_a_single_scan():
    with pytest.raises(ValueError, match="one has 1 of 1"):
        other_patients({"a": "a"}, 0)


def test_the_atlas_has_the_most_common_cells_as_many_as_a_scan_has():
    """Four scans of a 1 x 2 x 3 grid. Region 0: 2, 3, 3 and 4 cells (mean 3), in 4, 3, 3, 1, 1 and 0 scans."""
    first = [[1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 0, 1, 1, 0, 0], [1, 1, 1, 0, 1, 0]]
    second = [[0, 0, 0, 0, 0, 1]] * 3 + [[0, 0, 0, 0, 1, 0]]
    scans = torch.tensor([first, second, [[0] * 6] * 4]).bool().transpose(0, 1).reshape(4, 3, 1, 2, 3)
    found = atlas_regions(iter(scans))
    assert found.int().reshape(3, 6).tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0] * 6]
    assert found.shape == (3, 1, 2, 3)
    assert found.dtype == torch.bool


def test_masks_that_never_overlap_do_not_make_an_empty_atlas():
    """At a half nothing would be left of four scans with a cell each, three of them apart."""
    scans = torch.eye(4, dtype=torch.bool)[[0, 0, 1, 2], None]
    assert atlas_regions(scans).int().tolist() == [[1, 0, 0, 0]]


def test_scans_of_other_grids_make_no_atlas():
    with pytest.raises(ValueError, match=r"one shape, got \(1, 2\) and \(1, 3\)"):
        atlas_regions([torch.ones(1, 2).bool(), torch.ones(1, 3).bool()])
    with pytest.raises(ValueError, match="at least one scan"):
        atlas_regions([])


@given(seed=st.integers(0, 20), cells=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=8, max_size=8))
def test_shuffling_keeps_how_many_cells_lie_in_which_regions_together(seed, cells):
    bitmaps = torch.tensor(cells).T.reshape(2, 2, 2, 2)
    after = shuffled_regions(bitmaps, "scan", seed)
    assert Counter(map(tuple, after.flatten(1).T.tolist())) == Counter(cells)
    assert torch.equal(after, shuffled_regions(bitmaps, "scan", seed))


def test_each_scan_is_shuffled_in_its_own_way_at_all_places_alike():
    bitmaps = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    bitmaps[..., 0, :] = True
    times = sum(shuffled_regions(bitmaps, f"scan{number}", seed=0).int() for number in range(800))
    assert times.sum() == 3200
    assert 140 < times.min() <= times.max() < 260  # 200 each, standard deviation 12


@pytest.mark.parametrize(
    ("places", "other"),
    [
        ([1, 1, 0], [0, 0, 1]),
        ([0, 0, 1], [1, 1, 0]),
        ([1, 0, 1], [0, 1, 0]),
        ([1, 0, 0, 1, 0, 0, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        ([1, 1, 1, 0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 0, 0, 0, 0, 0, 0, 1]),
        ([0] * 9, [0] * 9),
    ],
)
def test_another_organ_is_one_that_the_label_may_not_lie_in(places, other):
    found = swapped_places(torch.tensor([places], dtype=torch.uint8))
    assert found.tolist() == [other]
    assert found.dtype == torch.uint8
