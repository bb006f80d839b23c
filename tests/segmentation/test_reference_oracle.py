"""The published segmentation and its allowed regions against numbers of the published code itself."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from organcam.segmentation.reference import (
    clean_extrema,
    lung_extrema,
    reference_lungs,
    reference_organs,
    two_largest_per_slice,
)
from organcam.segmentation.regions.shrink import pad_or_crop, reference_regions

RIGHT, LEFT, HEART = 1, 2, 3


@pytest.fixture(scope="module")
def oracle(shared_spec):
    return json.loads((shared_spec / "axialnet_oracle.json").read_text())


def digest(array, dtype=np.uint8):
    return hashlib.sha256(np.ascontiguousarray(array).astype(dtype).tobytes()).hexdigest()


def lung_volume(noise):
    """The volume of the oracle's item 8, by its formula."""
    z, y, x = np.meshgrid(np.arange(24), np.arange(64), np.arange(72), indexing="ij")
    v = np.full(z.shape, -1000, dtype=np.int64)
    body = 33**2 * (y - 32) ** 2 + 28**2 * (x - 36) ** 2 <= 28**2 * 33**2
    v[body] = 40
    for (zc, yc, xc, a, b, c), hu in (((12, 31, 22, 10, 17, 9), -850), ((11, 33, 50, 9, 15, 8), -820)):
        inside = (z - zc) ** 2 * (b * c) ** 2 + (y - yc) ** 2 * (a * c) ** 2 + (x - xc) ** 2 * (a * b) ** 2
        v[inside <= (a * b * c) ** 2] = hu
    v[((y - 30) ** 2 + (x - 36) ** 2 <= 6) & (z <= 9)] = -950
    v[((y - 46) ** 2 + (x - 37) ** 2 <= 16) & (z >= 18)] = -900
    v[10, 20, 34:39], v[10, 21, 34:39] = -300, -301
    if noise:
        t = (73 * z + 151 * y + 283 * x + 5 * z * y + 7 * y * x + 11 * z * x + 37 * noise) % 1009
        v = np.where(body, v + noise * ((t * t + 17 * t) % 601 - 300), v)
    return np.clip(v, -1000, 1000).astype(np.int16)


def mask_volume(case):
    """A lung map of the oracle's item 7, by its formula."""
    z, y, x = np.ogrid[tuple(slice(n) for n in case["shape"])]
    lung = np.zeros(case["shape"], dtype=bool)
    for zc, yc, xc, a, b, c in case["ellipsoids"]:
        inside = (z - zc) ** 2 * (b * c) ** 2 + (y - yc) ** 2 * (a * c) ** 2 + (x - xc) ** 2 * (a * b) ** 2
        lung |= inside <= (a * b * c) ** 2
    if case["holes"]:
        lung &= (z // 5 + y // 7 + x // 6) % 13 != 0
    return lung


@pytest.mark.parametrize("noise", [0, 2, 3])
def test_lungs_of_the_published_rule_are_voxel_identical(oracle, noise):
    case = oracle["8_lung"]["cases"][f"noise{noise}"]
    volume = lung_volume(noise)
    assert digest(volume, "<i2") == case["volume_sha256_int16_le"]
    for run in case["runs"]:
        two = two_largest_per_slice(volume)
        assert digest(two) == run["two_largest_sha256"]
        lungs = reference_lungs(volume, min_voxels=run["vol_thresh"])
        assert digest(lungs) == run["final_sha256"]
        assert [str(v) for v in lung_extrema(lungs)] == [str(float(v)) for v in run["extrema"][:6]]


def test_small_rules_ties_diagonals_border_and_size_limit(oracle):
    for case in oracle["8_lung"]["tiny"]:
        air = np.asarray(case["air"])
        volume = np.where(air if air.ndim == 3 else air[None], -900, 0).astype(np.int16)
        assert np.array_equal(two_largest_per_slice(volume), np.asarray(case["two_largest"]) > 0), case["name"]
        got = reference_lungs(volume, min_voxels=case["vol_thresh"])
        assert np.array_equal(got, np.asarray(case["final"]) > 0), case["name"]


@pytest.mark.parametrize("name", ["A", "B_right_missing", "C_left_missing", "D_no_lung", "E_larger"])
def test_organ_split_and_shrunk_regions_are_identical(oracle, name):
    case = oracle["7_masks"]["volumes"][name]
    lungs = mask_volume(case)
    assert digest(lungs) == case["lung_sha256_uint8"]
    box, right, left = clean_extrema(lung_extrema(lungs), lungs.shape, mean_right=56, mean_left=390)
    assert [*box, right, left] == [*case["extrema_after_fix"][:6], case["fixed_right"], case["fixed_left"]]
    organs = reference_organs(lungs, mean_right=56, mean_left=390)
    published = np.array([0, 1, 3, 2], dtype=np.uint8)  # their codes: 1 right lung, 2 heart, 3 left lung
    assert digest(published[organs.labels]) == case["organ_sha256_uint8"]
    assert organs.bad == case["bad"]
    if not organs.bad:
        full = pad_or_crop(organs.labels, (405, 420, 420))
        assert digest(published[full]) == case["padded_cropped_sha256_uint8"]
        for key, organ_masks in case["small"].items():
            mode, _, dilated = key.partition("_")
            small = reference_regions(full, mode, dilate=bool(dilated))
            for index, organ in enumerate(("right_lung", "left_lung", "heart")):
                expected = organ_masks[organ]
                assert int(small[index].sum()) == expected["ones"], (key, organ)
                if "hex" in expected:
                    assert np.packbits(small[index]).tobytes().hex() == expected["hex"], (key, organ)
                else:
                    assert digest(small[index]) == expected["sha256_uint8"], (key, organ)
    for key, truth in case["attn_gr_truth"].items():
        mode, _, dilated = key.partition("_")
        right, left, heart = reference_regions(organs.labels, mode, dilate=bool(dilated))
        none = np.zeros_like(right)
        assert digest(np.stack([heart, none, left, right, right | left, none])) == truth["sha256_uint8"]
