"""What is put into a scan: size, place, density and noise by measuring, and everything else left alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from organcam.audit import KINDS, InsertLesion, InsertLesiond, insert, parse_wish
from organcam.audit.shapes import box_around, coverage_of, ellipsoid
from organcam.audit.texture import Noise, measure_noise
from organcam.data.volume import Volume
from organcam.errors import ConfigError, DataError

HERE = [name for name, kind in KINDS.items() if kind.group != "acquisition"]


def made(healthy, text, **options):
    return insert(*healthy, parse_wish(text), **options)


@pytest.mark.parametrize("name", KINDS)
def test_the_scan_is_untouched_everywhere_else(healthy, name):
    scan, _ = healthy
    found = made(healthy, name)
    changed = found.volume.array != scan.array
    assert found.volume.array.dtype == np.int16
    assert np.array_equal(found.volume.affine, scan.affine)
    assert changed.any()
    assert not (changed & (found.covered == 0)).any()
    assert 0 <= found.covered.min() <= found.covered.max() <= 1
    again = made(healthy, name)
    assert np.array_equal(again.volume.array, found.volume.array)


@pytest.mark.parametrize("size", [12, 20, 28])
def test_a_nodule_has_its_volume_and_largest_diameter(healthy, size):
    found = made(healthy, f"nodule:{size}mm", seed=3)
    voxel = float(np.prod(found.volume.spacing))
    ball = np.pi / 6 * size**3
    assert 0.85**2 * ball * 0.95 <= found.covered.sum() * voxel <= ball * 1.05  # two axes of 0.85 to 1
    held = np.argwhere(found.covered > 0)
    extent = (np.ptp(held, axis=0) + 1) * found.volume.spacing
    assert size <= extent.max() <= size + 3 * max(found.volume.spacing)
    inside = found.volume.array[found.covered == 1]
    assert abs(inside.mean() - KINDS["nodule"].hu) < 4 * 15 / np.sqrt(max(len(inside), 1)) + 2


@pytest.mark.parametrize("place", ["right_upper", "left_lower"])
def test_a_nodule_lies_in_the_wanted_third_of_the_lung(healthy, place):
    _, organs = healthy
    found = made(healthy, "nodule:12mm", place=place)
    assert found.place == place
    values = organs.array[found.covered > 0.5]
    assert (values == (1 if place.startswith("right") else 2)).all()
    lung = np.flatnonzero((organs.array > 0).any(axis=(1, 2)))
    level = (np.argwhere(found.covered > 0.5)[:, 0].mean() - lung[0]) / len(lung)
    assert level < 0.5 if "upper" in place else level > 0.4


def test_border_voxels_hold_both_tissues_in_their_shares():
    """Without noise: a voxel covered by c holds c x 35 + (1 - c) x -800, rounded."""
    hu = np.full((20, 40, 40), -800, np.int16)
    organs = np.ones(hu.shape, np.uint8)
    affine = np.diag([-2.0, -2.0, -2.0, 1.0])[[2, 1, 0, 3]]
    found = insert(Volume(hu, affine), Volume(organs, affine), parse_wish("nodule:20mm"))
    expected = np.rint(found.covered * 35.0 + (1 - found.covered) * -800.0)
    assert np.abs(found.volume.array - expected).max() <= 1
    assert ((found.covered > 0) & (found.covered < 1)).sum() > 50


def test_coverage_is_the_volume_of_the_shape():
    box = box_around((10.2, 12.7, 9.1), (12.0, 12.0, 12.0), (5.0, 0.9, 0.9), (40, 60, 60))
    share = coverage_of(ellipsoid((8.0, 7.0, 6.0)), box, (10.2, 12.7, 9.1), (5.0, 0.9, 0.9))
    assert share.sum() * 5.0 * 0.9 * 0.9 == pytest.approx(4 / 3 * np.pi * 8 * 7 * 6, rel=0.01)


@pytest.mark.parametrize(("level", "neighbour"), [(10.0, 0.0), (25.0, 0.3), (40.0, 0.5)])
def test_noise_is_measured_and_made_again(level, neighbour):
    rng = np.random.default_rng(0)
    made_ = Noise(level, neighbour).sample((12, 80, 80), rng)
    assert made_.std() == pytest.approx(level, rel=0.05)
    assert np.corrcoef(made_[:, :, 1:].ravel(), made_[:, :, :-1].ravel())[0, 1] == pytest.approx(neighbour, abs=0.03)
    found = measure_noise(40 + made_, np.ones(made_.shape, bool))
    assert found.level == pytest.approx(level, rel=0.15)
    assert found.neighbour == pytest.approx(neighbour, abs=0.12)


def test_a_lesion_carries_the_noise_of_the_scan(healthy):
    scan, organs = healthy
    noise = measure_noise(scan.array, organs.array == 3)
    assert 12 < noise.level < 26  # rendered with 15 in the middle of the chest, 25 between the shoulders
    inside = made(healthy, "mass:60mm").volume.array[made(healthy, "mass:60mm").covered == 1]
    assert inside.std() == pytest.approx(noise.level, rel=0.15)


def test_an_effusion_is_as_deep_as_wanted_and_lies_at_the_back(healthy):
    scan, organs = healthy
    found = made(healthy, "effusion:30mm", place="right")
    values = organs.array[found.covered > 0]
    assert set(values) == {0, 1}  # nothing but the right lung, and the voxels at its pleura
    assert (values == 1).mean() > 0.8
    held = np.flatnonzero((found.covered > 0).any(axis=(0, 2)))
    lung = np.flatnonzero((organs.array == 1).any(axis=(0, 2)))
    assert 0 <= held[-1] - lung[-1] <= 1
    assert len(held) * scan.spacing[1] == pytest.approx(30, abs=2 * scan.spacing[1])


@pytest.mark.parametrize("name", ["token", "tube", "fat", "marker"])
def test_confounders_lie_outside_the_organs(healthy, name):
    _, organs = healthy
    assert not (organs.array[made(healthy, name).covered > 0] > 0).any()


def test_changes_of_acquisition_do_what_they_say(healthy):
    scan, organs = healthy
    heart = organs.array == 3
    before = measure_noise(scan.array, heart).level
    after = {name: made(healthy, name).volume.array for name in ("noise", "blur", "thick", "brighter", "darker")}
    assert measure_noise(after["noise"], heart).level == pytest.approx(np.hypot(before, 20), rel=0.15)
    assert measure_noise(after["blur"], heart).level < before
    inside = (scan.array > -900) & (scan.array < 2900)
    assert np.array_equal(after["brighter"][inside], scan.array[inside] + 25)
    assert np.array_equal(after["darker"][inside], scan.array[inside] - 25)
    assert (
        np.abs(np.diff(after["thick"].astype(float), axis=0)).mean()
        < np.abs(np.diff(scan.array.astype(float), axis=0)).mean()
    )


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SPR"])
def test_any_orientation_is_put_into_alike(healthy, axes):
    scan, organs = healthy
    straight = insert(scan, organs, parse_wish("nodule:20mm"), seed=1)
    turned = insert(scan.reoriented(axes), organs.reoriented(axes), parse_wish("nodule:20mm"), seed=1)
    assert np.array_equal(turned.volume.reoriented().array, straight.volume.array)
    assert turned.centre_mm == pytest.approx(straight.centre_mm, abs=1e-3)
    assert turned.covered.shape == turned.volume.array.shape


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nodul", "unknown kind 'nodul': did you mean 'nodule'"),
        ("nodule:x", "a nodule has 3 to 30 mm, such as nodule:10mm"),
        ("nodule:99mm", "a nodule has 3 to 30 mm"),
        ("noise:3", "noise has no size"),
    ],
)
def test_wishes_that_cannot_be_are_named(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_wish(text)


def test_what_has_no_room_is_said(healthy):
    scan, organs = healthy
    nothing = Volume(np.zeros_like(organs.array), organs.affine)
    for name, words in (
        ("nodule", "no aerated lung"),
        ("calcification", "no heart"),
        ("effusion", "no (right|left) lung"),
    ):
        with pytest.raises(DataError, match=words):
            insert(scan, nothing, parse_wish(name))
    with pytest.raises(DataError, match="do not lie on the same voxels"):
        insert(scan, Volume(organs.array[1:], organs.affine), parse_wish("nodule"))
    with pytest.raises(DataError, match="unknown place 'right_uper'.*right_upper"):
        insert(scan, organs, parse_wish("nodule"), place="right_uper")


def test_transforms_are_random_and_repeatable(healthy):
    scan, organs = healthy
    image = MetaTensor(torch.from_numpy(scan.array)[None], affine=torch.from_numpy(scan.affine))
    put = InsertLesion("nodule:15mm")
    put.set_random_state(1)
    first, second = (put(image, organs.array[None]) for _ in range(2))
    assert isinstance(first, MetaTensor)
    assert not torch.equal(first, second)
    put.set_random_state(1)
    assert torch.equal(put(image, organs.array[None]), first)
    item = InsertLesiond("image", "nodule:15mm", organs_key="masks")
    item.set_random_state(1)
    found = item({"image": image, "masks": organs.array[None]})
    assert torch.equal(found["image"], first)
    assert torch.equal(found["image_inserted"][0] > 0, found["image_inserted"][0] != 0)
    with pytest.raises(ValueError, match="needs the affine"):
        put(scan.array[None], organs.array[None])
