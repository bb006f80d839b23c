"""How people lie in the field of view, and small findings: the truth moves with the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.data.phantom.canvas import Grid
from organcam.data.phantom.habitus import variants_of
from organcam.data.phantom.placement import turned
from organcam.data.phantom.planned import planned_cells
from organcam.errors import ConfigError
from organcam.segmentation import segment_organs

USUAL = {"shape": (40, 96, 96), "scans": {"test": 6}, "interventions": 0, "confounders": (), "prevalence": {}}


def rendered(findings=("mass", "pleural_effusion"), number=0, **options):
    settings = PhantomSettings(seed=5, **{**USUAL, **options})
    return render_scan(settings, replace(plan_dataset(settings)[number], findings=findings))


@pytest.fixture(scope="module")
def usual():
    return rendered()


def middle_mm(scan, mask):
    """Centre of a mask in the voxel frame, mm from the first voxel."""
    spacing = np.abs(np.diag(scan.affine[[2, 1, 0]][:, :3]))
    return np.array(ndimage.center_of_mass(mask)) * spacing


def test_people_off_centre_are_moved_with_their_truth(usual):
    scan = rendered(off_centre_mm=[25, 30, 40])
    moved = [middle_mm(scan, scan.organs == organ) - middle_mm(usual, usual.organs == organ) for organ in (1, 2, 3)]
    np.testing.assert_allclose(moved, np.broadcast_to(moved[0], (3, 3)), atol=1.5)
    assert (np.abs(moved[0]) < [26, 31, 41]).all()
    assert np.abs(moved[0]).max() > 5
    lesion = middle_mm(scan, scan.lesions == 1) - middle_mm(usual, usual.lesions == 1)
    np.testing.assert_allclose(lesion, moved[0], atol=2.5)
    assert scan.report == usual.report
    # the same tissue: HU under the moved lungs are those of lungs
    assert abs(np.median(scan.hu[scan.organs == 1]) - np.median(usual.hu[usual.organs == 1])) < 15
    others = [rendered(number=number, off_centre_mm=[25, 30, 40]).affine[:3, 3] for number in (1, 2)]
    assert np.abs(others[0] - others[1]).max() > 5


def test_a_turn_takes_every_slice_about_the_middle_of_the_chest():
    """A point 20 mm to the left goes 20 mm to the front by a quarter turn; labels stay labels."""
    grid = Grid((1, 21, 31), (5.0, 4.0, 2.0), (0.0, -40.0, -30.0))
    array = np.zeros(grid.shape, np.uint8)
    array[0, 10, 25] = 7  # y = 0, x = 20 mm
    found = turned(array, grid, 90, outside=0, order=0)
    assert found.dtype == np.uint8
    assert found[0, 5, 15] == 7  # y = -20 mm, x = 0
    assert np.flatnonzero(found.any(axis=(0, 2))).tolist() == [5]
    assert set(np.unique(found)) == {0, 7}
    np.testing.assert_array_equal(turned(array, grid, 0, outside=0, order=0), array)
    assert turned(np.ones(grid.shape, np.float32), grid, 45, outside=-9, order=0)[0, 0, 0] == -9


def test_turned_people_keep_organs_lesions_and_report(usual):
    scan = rendered(turned_degrees=30)
    for organ in (1, 2, 3):
        assert (scan.organs == organ).sum() == pytest.approx((usual.organs == organ).sum(), rel=0.02)
    assert (scan.organs == usual.organs).mean() < 0.99
    assert scan.report == usual.report
    angle = []
    for each in (usual, scan):
        right, left = (ndimage.center_of_mass(each.organs == side) for side in (1, 2))
        angle.append(np.degrees(np.arctan2(left[1] - right[1], left[2] - right[2])))
    assert 5 < abs(angle[1] - angle[0]) < 30
    labels = segment_organs(scan.hu, affine=scan.affine).labels
    for side in (1, 2):
        found, true = labels == side, scan.organs == side
        assert 2.0 * (found & true).sum() / (found.sum() + true.sum()) > 0.95


def test_a_cut_field_of_view_is_the_same_scan_with_fewer_slices(usual):
    scan = rendered(cropped_mm=80)
    first = round((usual.affine[2, 3] - scan.affine[2, 3]) / (320 / 40))
    depth = scan.organs.shape[0]
    assert first > 0
    assert depth < 40
    np.testing.assert_array_equal(scan.organs, usual.organs[first : first + depth])
    assert ((scan.lesions > 0) <= (usual.lesions[first : first + depth] > 0)).all()
    sizes = {rendered(number=number, cropped_mm=80).organs.shape[0] for number in range(5)}
    assert len(sizes) > 2


def test_what_is_cut_off_is_not_reported():
    lost = 0
    for number in range(20):
        options = {"shape": (24, 64, 64), "scans": {"test": 20}, "cropped_mm": 120}
        whole, cut = (rendered(("nodule", "mass"), number, **{**options, "cropped_mm": mm}) for mm in (0, 120))
        gone = {(row.abnormality, row.location) for row in cut.rows if not row.voxels}
        told = {(cell.abnormality, cell.location) for cell in cut.cells if cell.status == "present"}
        assert not gone & told
        lost += len(gone & {(cell.abnormality, cell.location) for cell in whole.cells})
    assert lost > 0


@pytest.mark.parametrize(("variant", "side"), [("small_right_lung", 1), ("small_left_lung", 2)])
def test_one_lung_is_small_and_segmented_so(usual, variant, side):
    scan = rendered(variants=[variant])
    assert (scan.organs == side).sum() < 0.75 * (usual.organs == side).sum()
    other = 3 - side
    assert (scan.organs == other).sum() == pytest.approx((usual.organs == other).sum(), rel=0.02)
    labels = segment_organs(scan.hu, affine=scan.affine).labels
    for lung in (1, 2):
        found, true = labels == lung, scan.organs == lung
        assert 2.0 * (found & true).sum() / (found.sum() + true.sum()) > 0.9


def test_a_share_of_the_people_has_a_variant_each_drawn_alone():
    drawn = [variants_of(np.random.default_rng(n), ("contrast", "eventration"), 0.5) for n in range(400)]
    for variant in ("contrast", "eventration"):
        assert 160 < sum(variant in each for each in drawn) < 240
    assert 70 < sum(len(each) == 2 for each in drawn) < 130
    assert variants_of(np.random.default_rng(0), ("contrast",), 1.0) == ("contrast",)
    small = [rendered((), number, variants=["small_left_lung"], variant_share=0.5) for number in range(6)]
    plain = [rendered((), number) for number in range(6)]
    changed = [bool((a.organs != b.organs).any()) for a, b in zip(small, plain, strict=True)]
    assert 0 < sum(changed) < 6


def test_small_findings_are_small_and_reported_so(usual):
    scan = rendered(("mass",), focal_scale=0.5)
    full = rendered(("mass",))
    assert 0.05 < (scan.lesions == 1).sum() / (full.lesions == 1).sum() < 0.25  # an eighth
    assert scan.report != full.report


def test_one_sided_findings_lie_on_one_side():
    settings = PhantomSettings(seed=0, one_sided=True, scans={"test": 60}, interventions=0, confounders=())
    either = replace(settings, one_sided=False)
    names = ("pleural_effusion", "atelectasis", "groundglass")

    def sides(options):
        found = []
        for spec in plan_dataset(options):
            cells = planned_cells(options, replace(spec, findings=names))
            found += [{where.split("_")[0] for what, where in cells if what == name} for name in names]
        return [len(each) for each in found]

    assert set(sides(settings)) == {1}
    assert set(sides(either)) == {1, 2}


@pytest.mark.parametrize(
    "options",
    [
        {"turned_degrees": 60},
        {"cropped_mm": -1},
        {"off_centre_mm": [200, 0, 0]},
        {"focal_scale": 0},
        {"variant_share": 2},
        {"off_centre_mm": [1, 2]},
    ],
)
def test_what_makes_no_scan_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        PhantomSettings(**options)
