"""People who differ from the usual adult: each variant changes what it says, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.errors import ConfigError
from organcam.segmentation import segment_organs

USUAL = {"shape": (40, 96, 96), "scans": {"test": 1}, "interventions": 0, "confounders": (), "prevalence": {}}


def rendered(*variants, findings=()):
    """One scan, healthy unless findings are named."""
    settings = PhantomSettings(seed=5, variants=variants, **USUAL)
    return render_scan(settings, replace(plan_dataset(settings)[0], findings=findings))


@pytest.fixture(scope="module")
def usual():
    return rendered()


def lung_ml(scan, side):
    return float((scan.organs == side).sum())


@pytest.mark.parametrize(("variant", "side"), [("raised_right_dome", 1), ("raised_left_dome", 2), ("eventration", 1)])
def test_a_higher_dome_takes_room_from_its_own_lung_only(usual, variant, side):
    scan = rendered(variant)
    assert lung_ml(scan, side) < 0.985 * lung_ml(usual, side)
    assert lung_ml(scan, 3 - side) == pytest.approx(lung_ml(usual, 3 - side), rel=0.02)


def test_a_lateral_aorta_takes_room_from_the_left_lung(usual):
    scan = rendered("lateral_aorta")
    assert lung_ml(scan, 2) < lung_ml(usual, 2)
    assert lung_ml(scan, 1) == lung_ml(usual, 1)


def test_a_sloping_wall_takes_the_back_of_the_bases_and_nothing_above_them(usual):
    scan = rendered("sloping_wall")
    lost = np.isin(usual.organs, (1, 2)) & ~np.isin(scan.organs, (1, 2))
    slices = np.flatnonzero(np.isin(usual.organs, (1, 2)).any(axis=(1, 2)))
    assert not lost[: slices[len(slices) // 3]].any()
    assert lost.sum() > 0.03 * np.isin(usual.organs, (1, 2)).sum()
    rows = [np.nonzero(np.isin(each.organs[slices[-8]], (1, 2)))[0].max() for each in (usual, scan)]
    assert rows[1] < rows[0]


def test_a_hiatal_hernia_is_stomach_with_gas_in_the_mediastinum(usual):
    scan = rendered("hiatal_hernia")
    changed = scan.hu != usual.hu
    heart = scan.organs == 3
    assert (heart & ~(usual.organs == 3)).sum() > 50  # it takes its room from the lungs and from the fat around
    assert (scan.hu[heart] < -700).sum() > (usual.hu[usual.organs == 3] < -700).sum() + 20
    assert not changed[: np.argwhere(heart)[:, 0].min()].any()
    assert scan.report == usual.report


@pytest.mark.parametrize("side", [1, 2])
def test_subpulmonic_fluid_is_the_same_finding_in_another_place(side):
    behind, under = (rendered(*variant, findings=("pleural_effusion",)) for variant in ((), ("subpulmonic_fluid",)))
    assert behind.cells == under.cells
    np.testing.assert_array_equal(behind.organs, under.organs)  # fluid lies in the pleural cavity
    depth = under.organs.shape[0]
    fluid, lung = under.lesions > 0, under.organs == side
    if not (fluid & lung).any():
        return
    footprint = (fluid & lung).any(axis=0)
    lowest = depth - 1 - lung[::-1].argmax(axis=0)
    rows, columns = np.nonzero(footprint)
    assert (fluid[lowest[rows, columns], rows, columns]).mean() > 0.9  # it lies on the diaphragm, all over it
    assert footprint.sum() > 0.5 * lung.any(axis=0).sum()


def test_contrast_moves_no_organ_and_makes_blood_dense(usual):
    scan = rendered("contrast")
    np.testing.assert_array_equal(scan.organs, usual.organs)
    heart = scan.organs == 3
    assert np.percentile(scan.hu[heart], 95) > np.percentile(usual.hu[heart], 95) + 100


@pytest.mark.parametrize("variant", ["raised_right_dome", "raised_left_dome", "contrast", "sloping_wall"])
def test_segmentation_follows_the_variant(variant):
    scan = rendered(variant)
    labels = segment_organs(scan.hu, affine=scan.affine).labels
    for side in (1, 2):
        found, true = labels == side, scan.organs == side
        assert 2.0 * (found & true).sum() / (found.sum() + true.sum()) > 0.975


def test_a_dome_far_above_the_other_is_noted(usual):
    raised = rendered("raised_left_dome")
    assert "left_dome_high" in segment_organs(raised.hu, affine=raised.affine).quality.names
    assert not {"left_dome_high", "right_dome_high"} & set(segment_organs(usual.hu, affine=usual.affine).quality.names)


def test_an_unknown_variant_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match="did you mean 'contrast'"):
        PhantomSettings(variants=("contrasts",))
