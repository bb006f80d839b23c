"""Rendered scans: the same every time, tissues as on real CT, truth where the image shows it."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from organcam.catalogue import abnormalities, locations
from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.data.phantom import render as render_module
from organcam.data.phantom.habitus import draw_habitus, lobe_of
from organcam.data.phantom.placement import Placement, field_of_view
from organcam.data.phantom.plan import ScanSpec, generator
from organcam.data.phantom.settings import DEFAULT_PREVALENCE

FINE = PhantomSettings(shape=(48, 112, 112), arms_down=0.0)
LUNG_FINDINGS = (
    "nodule",
    "mass",
    "consolidation",
    "groundglass",
    "pleural_effusion",
    "emphysema",
    "atelectasis",
    "cyst",
)


def scan_with(*findings, confounders=(), base="phantom-a", settings=FINE):
    return render_scan(settings, ScanSpec(base, "patient", "test", base, tuple(findings), tuple(confounders)))


def voxels_of(scan, abnormality, location=None):
    named = [r for r in scan.rows if abnormality in (r.abnormality, r.confounder)]
    values = {r.value for r in named if location in (None, r.location)}
    return np.isin(scan.lesions, sorted(values))


@pytest.fixture(scope="module")
def healthy():
    return scan_with()


def test_same_spec_gives_same_bytes(healthy):
    again = scan_with()
    np.testing.assert_array_equal(again.hu, healthy.hu)
    np.testing.assert_array_equal(again.organs, healthy.organs)
    assert again.report == healthy.report


def test_other_seed_gives_other_person(healthy):
    other = render_scan(replace(FINE, seed=1), healthy.spec)
    assert (other.organs != healthy.organs).mean() > 0.01


def test_slab_size_does_not_matter(monkeypatch):
    whole = scan_with("emphysema", "nodule", "aortic_calcification", "pacemaker", "cardiomegaly")
    monkeypatch.setattr(render_module, "SLAB_VOXELS", 112 * 112 * 5)
    slabs = scan_with("emphysema", "nodule", "aortic_calcification", "pacemaker", "cardiomegaly")
    np.testing.assert_array_equal(slabs.lesions, whole.lesions)
    np.testing.assert_array_equal(slabs.organs, whole.organs)
    # Slab origins are sums of millimetres, so edges may round differently by a fraction of one HU.
    assert np.abs(slabs.hu.astype(int) - whole.hu).max() <= 1


@pytest.mark.parametrize(
    ("tissue", "low", "high"),
    [("lung", -925, -800), ("fat", -118, -85), ("muscle_and_blood", 30, 62), ("air", -1024, -985)],
)
def test_tissues_have_the_hu_of_real_ct(healthy, tissue, low, high):
    hu = healthy.hu
    around = {"lung": (-980, -760), "fat": (-140, -60), "muscle_and_blood": (5, 90), "air": (-1024, -970)}[tissue]
    inner = ndimage.binary_erosion((hu > around[0]) & (hu < around[1]), iterations=1)
    assert inner.sum() > 500
    assert low < np.median(hu[inner]) < high


def test_tissue_hu_agrees_with_a_real_scan(healthy, shared_data):
    real = np.asarray(nib.load(shared_data / "lung_pet_ct_dx" / "A0001.nii.gz").dataobj[::2, ::2]).astype(np.int16)
    for low, high, tolerance in ((-980, -760, 60), (-140, -60, 15), (5, 90, 15)):
        medians = []
        for hu in (healthy.hu, real):
            medians.append(np.median(hu[ndimage.binary_erosion((hu > low) & (hu < high))]))
        assert abs(medians[0] - medians[1]) < tolerance, (low, high, medians)


def test_lungs_are_two_closed_cavities_of_adult_volume(healthy):
    voxel_ml = np.prod(FINE.voxel_mm) / 1000
    for value in (1, 2):
        lung = healthy.organs == value
        assert 1200 < lung.sum() * voxel_ml < 3800
        assert (ndimage.label(lung)[1]) == 1
    room_air = ndimage.label(healthy.hu < -500)[0]
    lungs = np.isin(healthy.organs, (1, 2)) & (healthy.hu < -700)
    assert room_air[0, 0, 0] not in np.unique(room_air[lungs]), "air of the room must not reach the lungs"


def test_organs_lie_on_their_own_side(healthy):
    centres = {v: ndimage.center_of_mass(healthy.organs == v) for v in (1, 2, 3)}
    assert centres[1][2] < centres[3][2] < centres[2][2]  # axis 2 runs from the patient's right to the left


def test_heart_is_at_most_half_as_wide_as_the_chest_unless_enlarged(healthy):
    big = scan_with("cardiomegaly")
    levels = slice(int(48 * 0.5), int(48 * 0.62))

    def ratio(scan):
        widest = lambda mask: max(np.ptp(np.flatnonzero(m.any(0))) for m in mask[levels] if m.any())  # noqa: E731
        return widest(scan.organs == 3) / widest(scan.organs > 0)

    assert ratio(healthy) < 0.55 < ratio(big)
    assert ratio(big) > ratio(healthy) * 1.1


def test_affine_is_ras_millimetres_with_superior_first(healthy):
    spacing = FINE.voxel_mm
    np.testing.assert_allclose(healthy.affine[:3, :3], [[0, 0, -spacing[2]], [0, -spacing[1], 0], [-spacing[0], 0, 0]])


@pytest.mark.parametrize("finding", LUNG_FINDINGS)
@pytest.mark.parametrize("base", ["phantom-a", "phantom-b", "phantom-c"])
def test_lung_lesions_lie_in_the_stated_lung_and_lobe(finding, base):
    scan = scan_with(finding, base=base)
    habitus = draw_habitus(generator(FINE, base, "habitus"), 0.0)
    grid = field_of_view(FINE, habitus, Placement())
    lobe = lobe_of(habitus, grid.axis(0)[:, None, None], grid.axis(1)[None, :, None])
    rows = [r for r in scan.rows if r.kind == "lesion"]
    assert rows
    for row in rows:
        voxels = scan.lesions == row.value
        assert row.voxels == voxels.sum() > 0
        side, _, part = row.location.partition("_")
        assert (scan.organs[voxels] == {"right": 1, "left": 2}[side]).mean() > 0.95
        if part != "lung":
            inside = np.broadcast_to(lobe == ("upper", "mid", "lower").index(part), voxels.shape)
            assert inside[voxels].mean() > 0.7, row


@pytest.mark.parametrize(
    "finding", ["aortic_calcification", "coronary_calcification", "cardiomegaly", "pericardial_effusion"]
)
def test_heart_and_vessel_lesions_lie_in_the_mediastinum(finding):
    for base in ("phantom-a", "phantom-b", "phantom-c"):
        scan = scan_with(finding, base=base)
        assert (scan.organs[scan.lesions > 0] == 3).mean() > 0.8


@pytest.mark.parametrize(
    ("finding", "low", "high"),
    [
        ("nodule", -300, 70), ("mass", 0, 60), ("consolidation", 0, 60), ("groundglass", -750, -450),
        ("pleural_effusion", -10, 25), ("emphysema", -985, -900), ("atelectasis", 0, 70), ("cyst", -1000, -600),
        ("coronary_calcification", 60, 800), ("aortic_calcification", 60, 800), ("pericardial_effusion", -5, 35),
        ("pacemaker", 100, 3071), ("catheter", 60, 1600),
    ],
)  # fmt: skip
def test_lesions_have_their_hu(finding, low, high):
    scan = scan_with(finding)
    assert low < np.median(scan.hu[scan.lesions == 1]) < high


def test_every_finding_makes_cells_of_the_catalogue():
    names, places = {a.name for a in abnormalities()}, {p.name for p in locations()}
    scan = scan_with(*DEFAULT_PREVALENCE)
    for row in scan.rows:
        assert row.abnormality in names
        assert row.location in places
    assert {c.abnormality for c in scan.cells} <= names | {"other_disease"}
    assert {c.location for c in scan.cells} <= places


def test_nodule_above_one_centimetre_has_its_second_label():
    large = scan_with("nodule", settings=replace(FINE, nodule_mm=(18, 19)))
    small = scan_with("nodule", settings=replace(FINE, nodule_mm=(7, 8)))
    assert {r.abnormality for r in large.rows} == {"nodule", "nodulegr1cm"}
    assert {r.abnormality for r in small.rows} == {"nodule"}
    diameter = (
        6 * voxels_of(large, "nodulegr1cm").sum() * np.prod(FINE.voxel_mm) / np.pi / len(set(large.rows)) * 2
    ) ** (1 / 3)
    assert 11 < diameter < 26


@pytest.mark.parametrize("finding", DEFAULT_PREVALENCE)
def test_every_finding_shows_on_the_default_grid(finding):
    default = PhantomSettings()
    for base in ("one", "two", "three"):
        scan = scan_with(finding, base=base, settings=default)
        healthy = scan_with(base=base, settings=default)
        lesion = scan.lesions == 1
        assert lesion.sum() >= 3
        change = np.abs(scan.hu[lesion].astype(int) - healthy.hu[lesion])
        assert change.max() > 60  # several times the noise


@pytest.mark.parametrize("kind", ["body_wall_fat", "metal_token", "tube"])
def test_confounders_lie_outside_the_rib_cage_and_far_from_the_heart(kind):
    scan = scan_with(confounders=(kind,))
    voxels = voxels_of(scan, kind)
    assert voxels.sum() > 5
    assert (scan.organs[voxels] == 0).all()
    heart = ndimage.distance_transform_edt(scan.organs != 3, sampling=FINE.voxel_mm)
    assert heart[voxels].min() > {"body_wall_fat": 55, "metal_token": 15, "tube": 15}[kind]


@given(
    shape=st.tuples(st.integers(8, 20), st.integers(8, 40), st.integers(8, 40)),
    spacing=st.none() | st.tuples(*[st.floats(0.5, 30)] * 3),
    seed=st.integers(0, 2**31),
    findings=st.sets(st.sampled_from(sorted(DEFAULT_PREVALENCE))),
    kinds=st.sets(st.sampled_from(["body_wall_fat", "metal_token", "tube"])),
)
@example((8, 8, 8), (3.0, 1.0, 15.0), 0, {"cardiomegaly", "emphysema", "aortic_calcification"}, set())  # one-sided
@settings(max_examples=25, deadline=None)
def test_any_grid_and_any_findings_render(shape, spacing, seed, findings, kinds):
    chosen = PhantomSettings(seed=seed, shape=shape, spacing_mm=spacing)
    ordered = [f for f in DEFAULT_PREVALENCE if f in findings]
    scan = scan_with(*ordered, confounders=sorted(kinds), settings=chosen)
    assert scan.hu.shape == scan.organs.shape == scan.lesions.shape == shape
    assert scan.hu.min() >= -1024
    assert set(np.unique(scan.organs)) <= {0, 1, 2, 3}
    assert set(np.unique(scan.lesions)) <= {0, *(r.value for r in scan.rows)}
    np.testing.assert_allclose(np.abs(scan.affine[[2, 1, 0], [0, 1, 2]]), chosen.voxel_mm)


def test_finding_outside_the_field_of_view_is_not_reported():
    chosen = PhantomSettings(shape=(8, 64, 64), spacing_mm=(1.0, 6.0, 6.0))  # eight millimetres in mid-chest
    scan = scan_with("atelectasis", "cardiomegaly", settings=chosen)
    gone = {r.abnormality for r in scan.rows} - {r.abnormality for r in scan.rows if r.voxels}
    assert gone == {"atelectasis"}
    assert "atelectasis" not in {c.abnormality for c in scan.cells if c.status == "present"}


def test_intervention_twins_differ_only_where_something_was_put_in():
    chosen = PhantomSettings(shape=(32, 96, 96), scans={}, interventions=3)
    specs = {s.scan_id: s for s in plan_dataset(chosen)}
    twins = [s for s in specs.values() if s.inserted]
    assert len(twins) == 12
    for spec in twins:
        base, twin = render_scan(chosen, specs[spec.counterpart]), render_scan(chosen, spec)
        changed = base.hu != twin.hu
        before = {(r.abnormality, r.location, r.confounder) for r in base.rows}
        added = [r for r in twin.rows if (r.abnormality, r.location, r.confounder) not in before]
        assert {r.kind for r in added} == {spec.inserted}
        put_in = np.isin(twin.lesions, [r.value for r in added])
        assert (changed & put_in).any()
        # Partial volume reaches beyond the mask; nothing else may move.
        assert not (changed & ~ndimage.binary_dilation(put_in, np.ones((3, 3, 3)), 2)).any()
        if spec.inserted == "confounder":
            np.testing.assert_array_equal(base.organs, twin.organs)
            assert base.report == twin.report


def test_focal_findings_never_hide_in_each_other():
    for base in ("one", "two", "three", "four"):
        scan = scan_with(
            "nodule", "mass", "consolidation", "cyst", base=base, settings=PhantomSettings(shape=(24, 64, 64))
        )
        places = {r.value: r.location for r in scan.rows}
        assert len(set(places.values())) == len(places)


def test_adding_a_finding_moves_no_other():
    alone, together = scan_with("mass"), scan_with("nodule", "mass", "pacemaker", "emphysema")
    np.testing.assert_array_equal(voxels_of(alone, "mass"), voxels_of(together, "mass"))
