"""The whole segmentation: phantoms with truth, orientations, spoiled scans, bad input, real scans."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage as ndi

from organcam.data.phantom import PhantomSettings, plan_dataset, render_scan
from organcam.errors import DataError
from organcam.segmentation import montage, save_montage, segment_organs
from organcam.segmentation.anatomy.body import body_mask
from organcam.segmentation.anatomy.rough import rough_labels


def dice(a, b):
    return 2.0 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


@pytest.fixture(scope="module")
def result(phantom):
    return segment_organs(phantom.hu, affine=phantom.affine)


def test_phantom_organs_are_found_and_nothing_is_flagged(phantom, result):
    assert result.labels.shape == phantom.hu.shape
    assert result.labels.dtype == np.uint8
    assert result.quality.ok, result.quality.flags
    assert dice(result.labels == 1, phantom.organs == 1) > 0.95
    assert dice(result.labels == 2, phantom.organs == 2) > 0.95
    heart, truth = result.labels == 3, phantom.organs == 3
    assert (heart & truth).sum() > 0.75 * truth.sum()
    assert (heart & truth).sum() > 0.6 * heart.sum()


def test_a_large_heart_between_clear_lungs_is_heart_and_not_dense_lung():
    prevalence = {finding: float(finding == "cardiomegaly") for finding in PhantomSettings().prevalence}
    settings = PhantomSettings(
        seed=2, shape=(60, 160, 160), scans={"test": 1}, interventions=0, confounders=(), prevalence=prevalence
    )
    scan = render_scan(settings, plan_dataset(settings)[0])
    labels = segment_organs(scan.hu, affine=scan.affine).labels
    truth = scan.organs == 3
    assert ((labels == 1) | (labels == 2))[truth].mean() < 0.04
    assert (labels == 3)[truth].mean() > 0.85
    assert dice(labels == 1, scan.organs == 1) > 0.98


def test_a_high_left_dome_in_a_healthy_chest_is_no_dense_lung():
    settings = PhantomSettings(seed=900, shape=(60, 160, 160), scans={"test": 3}, interventions=0, confounders=())
    scan = render_scan(settings, replace(plan_dataset(settings)[2], findings=()))
    labels = segment_organs(scan.hu, affine=scan.affine).labels
    for lung in (1, 2):
        assert dice(labels == lung, scan.organs == lung) > 0.99
        assert ((labels == lung) & (scan.organs == 0)).sum() < 0.008 * (scan.organs == lung).sum()


@pytest.mark.parametrize("degrees", [-20, 20])
def test_a_patient_lying_turned_is_segmented_upright(degrees):
    settings = PhantomSettings(seed=5, shape=(60, 160, 160), scans={"test": 1}, interventions=0, confounders=())
    scan = render_scan(settings, replace(plan_dataset(settings)[0], findings=()))
    volume = ndi.rotate(scan.hu, degrees, axes=(1, 2), reshape=False, order=1, cval=-1000)
    truth = ndi.rotate(scan.organs, degrees, axes=(1, 2), reshape=False, order=0)
    result = segment_organs(volume, affine=scan.affine, parts=True)
    assert result.quality.names == ("turned",)
    assert result.quality.measures["turned_degrees"] == pytest.approx(20, abs=2)
    straight = segment_organs(scan.hu, affine=scan.affine).labels
    for organ in (1, 2, 3):
        expected = dice(straight == organ, scan.organs == organ)
        assert dice(result.labels == organ, truth == organ) > expected - 0.02
    assert ((result.parts > 0) & (truth > 0)).sum() > 0.9 * (result.parts > 0).sum()


def test_a_turned_scan_without_lungs_gets_its_boxes_where_the_body_lies(phantom, phantom_mm):
    airless = np.where(np.isin(phantom.organs, (1, 2)), 40, phantom.hu)
    lying = ndi.rotate(airless, 25, axes=(1, 2), reshape=False, order=1, cval=-1000)
    result = segment_organs(lying, spacing=phantom_mm)
    assert result.rough
    assert np.array_equal(result.labels, rough_labels(body_mask(lying.astype(np.float32), phantom_mm)))


def test_a_trunk_on_its_side_is_flagged(phantom, phantom_mm):
    quality = segment_organs(np.swapaxes(phantom.hu, 1, 2), spacing=phantom_mm).quality
    assert "on_its_side" in quality.names
    assert not quality.ok


def test_aerated_lung_lies_inside_the_pleural_lung_of_its_side(result):
    for label in (1, 2):
        assert (result.aerated == label).any()
        assert not ((result.aerated == label) & (result.labels != label)).any()


def test_landmarks_lie_in_the_scan_and_in_order(phantom, phantom_mm, result):
    marks = result.landmarks
    assert 0 < marks["top_mm"] < marks["carina_mm"] < marks["bottom_mm"] < phantom.hu.shape[0] * phantom_mm[0]


@pytest.mark.parametrize("axes", [("R", "A", "S"), ("L", "P", "S"), ("S", "R", "A"), ("P", "I", "R")])
def test_any_orientation_gives_the_same_voxels(phantom, result, axes):
    change = nib.orientations.ornt_transform(nib.io_orientation(phantom.affine), nib.orientations.axcodes2ornt(axes))
    volume = nib.orientations.apply_orientation(phantom.hu, change)
    affine = phantom.affine @ nib.orientations.inv_ornt_aff(change, phantom.hu.shape)
    turned = segment_organs(volume, affine=affine).labels
    assert np.array_equal(turned, nib.orientations.apply_orientation(result.labels, change))


def test_spacing_of_the_network_frame_is_as_good_as_an_affine(phantom, phantom_mm, result):
    assert np.array_equal(segment_organs(phantom.hu, spacing=phantom_mm).labels, result.labels)


def test_input_is_not_changed_and_dtype_does_not_matter(phantom, result):
    volume = phantom.hu.astype(np.float32)
    volume.flags.writeable = False
    assert np.array_equal(segment_organs(volume, affine=phantom.affine).labels, result.labels)


def test_padding_counts_as_air(phantom, result):
    volume = np.where(phantom.hu <= -990, -3024, phantom.hu)
    labels = segment_organs(volume, affine=phantom.affine).labels
    assert dice(labels == 1, result.labels == 1) > 0.98


def crop(volume, axis, low, high):
    part = [slice(None)] * 3
    part[axis] = slice(low, high)
    return volume[tuple(part)]


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("truncated_top", lambda v, o: crop(v, 0, 8, None)),
        ("truncated_bottom", lambda v, o: crop(v, 0, None, 13)),
        ("truncated_side", lambda v, o: crop(v, 2, np.flatnonzero((o == 1).any((0, 1)))[0] + 8, None)),
        ("head_foot_flip", lambda v, o: v[::-1]),
        ("front_back_flip", lambda v, o: v[:, ::-1]),
        ("left_lung_missing", lambda v, o: np.where(o == 2, 25, v)),
        ("right_lung_missing", lambda v, o: np.where(o == 1, 25, v)),
        ("not_a_chest", lambda v, o: np.where((o == 1) | (o == 2), 25, v)),
        ("short", lambda v, o: crop(v, 0, 9, 13)),
    ],
)
def test_spoiled_scan_is_flagged_with_measurement_and_sentence(phantom, phantom_mm, name, spoil):
    volume = spoil(phantom.hu, phantom.organs)
    result = segment_organs(volume, spacing=phantom_mm)
    assert name in result.quality.names
    assert not result.quality.ok
    flag = result.quality.flags[result.quality.names.index(name)]
    assert np.isfinite(flag.measurement)
    assert flag.sentence.endswith((".", "?"))
    assert result.labels.any()
    assert not (result.labels > 0).all()


def test_white_out_side_gets_the_mirror_image_of_the_other(phantom, phantom_mm):
    volume = np.where(phantom.organs == 2, 25, phantom.hu)
    labels = segment_organs(volume, spacing=phantom_mm).labels
    assert dice(labels == 2, phantom.organs == 2) > 0.6
    assert dice(labels == 1, phantom.organs == 1) > 0.93


def dependent(organ, share):
    """The posterior share of an organ in every slice."""
    out = np.zeros_like(organ)
    for k in np.flatnonzero(organ.any(axis=(1, 2))):
        ranks = np.cumsum(organ[k].sum(axis=1))
        out[k] = organ[k] & (np.arange(organ.shape[1]) >= np.searchsorted(ranks, (1 - share) * ranks[-1]))[:, None]
    return out


# On the left the fluid behind the aorta is taken for mediastinum.
@pytest.mark.parametrize(("side", "share"), [(1, 0.75), (2, 0.65)])
def test_dependent_effusion_stays_in_the_pleural_lung_and_out_of_the_aerated(phantom, phantom_mm, side, share):
    fluid = dependent(phantom.organs == side, 0.3)
    result = segment_organs(np.where(fluid, 12, phantom.hu), spacing=phantom_mm)
    assert (result.labels == side)[fluid].mean() > share
    assert (result.aerated == side)[fluid].mean() < 0.35
    assert any("effusion" in flag.sentence for flag in result.quality.flags)


@pytest.mark.parametrize(
    ("volume", "words", "error"),
    [
        (np.zeros((4, 40, 40, 2)), "3D volume", ValueError),
        (np.zeros((0, 40, 40)), "empty", ValueError),
        (np.zeros((10, 40, 40), dtype=complex), "dtype", ValueError),
        (np.full((10, 40, 40), -1000), "constant", DataError),
        (np.full((10, 40, 40), np.nan), "not finite", DataError),
        (np.tile(np.linspace(0, 3000, 40), (10, 40, 1)), "rescale intercept", DataError),
        (np.tile(np.linspace(0, 1, 40), (10, 40, 1)), "not Hounsfield", DataError),
        (np.tile(np.linspace(-1024, -700, 40), (10, 40, 1)), "no body", DataError),
        (np.tile(np.linspace(-300, 700, 40), (10, 40, 1)), "HU of air", DataError),
    ],
)
def test_what_is_no_ct_is_refused_in_words(volume, words, error):
    with pytest.raises(error, match=words):
        segment_organs(volume, spacing=(2, 2, 2))


@pytest.mark.parametrize(
    ("geometry", "words"),
    [
        ({}, "exactly one"),
        ({"spacing": (1, 1, 1), "affine": np.eye(4)}, "exactly one"),
        ({"spacing": (0.001, 1, 1)}, "outside 0.1 to 20"),
        ({"spacing": (1, 1, 500)}, "outside 0.1 to 20"),
        ({"spacing": (1, 1)}, "three values"),
        ({"affine": np.eye(3)}, "4x4"),
        ({"affine": np.diag([1, 0, 1, 1])}, "no usable axes"),
    ],
)
def test_impossible_geometry_is_refused(phantom, geometry, words):
    with pytest.raises(ValueError, match=words):
        segment_organs(phantom.hu, **geometry)


@pytest.mark.parametrize(("degrees", "names"), [(0.0, ()), (20.0, ("sheared",))])
def test_tilted_gantry_is_noted_and_the_scan_still_used(phantom, degrees, names):
    tilt = np.eye(4)
    tilt[1, 2] = np.tan(np.radians(degrees))  # each slice further back than the one before
    quality = segment_organs(phantom.hu, affine=tilt @ phantom.affine).quality
    assert quality.names == names
    assert quality.ok
    assert quality.measures["shear_degrees"] == pytest.approx(degrees, abs=1e-3)


def test_unknown_method_names_the_legal_ones(phantom):
    with pytest.raises(ValueError, match="did you mean 'reference'"):
        segment_organs(phantom.hu, affine=phantom.affine, method="referense")


@pytest.mark.parametrize("slices", [1, 2, 3, 5])
def test_a_few_slices_are_flagged_not_trusted(phantom, phantom_mm, slices):
    result = segment_organs(phantom.hu[10 : 10 + slices], spacing=phantom_mm)
    assert not result.quality.ok
    assert result.labels.any()


def test_reference_method_is_the_published_rule_with_its_quirks(phantom):
    result = segment_organs(phantom.hu, affine=phantom.affine, method="reference")
    assert result.landmarks["extrema"][0] == float("inf")  # 1,000,000 voxels are more than the phantom has
    assert result.quality.names == ("reference_bad",)  # its limits are columns of a 420 pixel image
    assert not result.labels.any()


def test_montage_shows_the_organs_in_their_colours(phantom, result, tmp_path):
    picture = montage(phantom.hu, result.labels, affine=phantom.affine)
    for colour in ((235, 70, 60), (60, 200, 80), (250, 210, 50)):
        assert (picture == colour).all(axis=2).any()
    save_montage(tmp_path / "organs.png", picture, "phantom")
    assert (tmp_path / "organs.png").stat().st_size > 10_000


def test_real_lungs_agree_with_their_masks(shared_data):
    image = sitk.ReadImage(str(shared_data / "cip64/ct-64.nrrd"))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(shared_data / "cip64/lm-64.nrrd"))) & 255
    volume = sitk.GetArrayFromImage(image)[::-1]  # slices run upwards in the file
    result = segment_organs(volume, spacing=image.GetSpacing()[::-1])
    assert not result.quality.flags
    assert dice(result.labels[::-1] == 1, np.isin(truth, (12, 13, 14))) > 0.984
    assert dice(result.labels[::-1] == 2, np.isin(truth, (9, 10, 11))) > 0.984


def test_real_scan_with_swapped_axes_is_flagged(shared_data):
    image = sitk.ReadImage(str(shared_data / "cip64/ct-64.nrrd"))
    volume, spacing = sitk.GetArrayFromImage(image)[::-1], image.GetSpacing()[::-1]
    assert "head_foot_flip" in segment_organs(volume[::-1], spacing=spacing).quality.names
    assert "left_right_flip" in segment_organs(volume[:, :, ::-1], spacing=spacing).quality.names
    assert "front_back_flip" in segment_organs(volume[:, ::-1], spacing=spacing).quality.names


@pytest.mark.parametrize(("scan", "share"), [("A0001", 0.80), ("A0002", 0.90)])
def test_real_tumours_lie_in_lung_or_mediastinum(shared_data, scan, share):
    image = nib.load(shared_data / f"lung_pet_ct_dx/{scan}.nii.gz")
    volume = np.asanyarray(image.dataobj)
    inside = np.zeros(volume.shape, dtype=bool)
    for box in json.loads((shared_data / f"lung_pet_ct_dx/{scan}_tumour_boxes.json").read_text())["boxes"]:
        (i0, i1), (j0, j1) = box["i"], box["j"]
        inside[i0 : i1 + 1, j0 : j1 + 1, box["k"]] = True
    result = segment_organs(volume, affine=image.affine)
    assert result.quality.ok, result.quality.flags
    assert (result.labels > 0)[inside].mean() > share
    assert (result.labels > 0)[inside].mean() > (result.aerated > 0)[inside].mean() + 0.2
