"""Turns, crops, mirrored images and changes of grey of 2D images, against what each does by itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from organcam.data.grey import WHITE
from organcam.transforms import RandRadiograph, RandRadiographd

IMAGE = torch.from_numpy(np.random.default_rng(0).integers(0, WHITE, (1, 1, 24, 24)).astype(np.int16))


def still(**drawn) -> RandRadiograph:
    """The transform with a draw that changes nothing but what is given."""
    change = RandRadiograph()
    for name, value in drawn.items():
        setattr(change, name, value)
    return change


def test_a_draw_that_changes_nothing_gives_the_image_back():
    out = still()(IMAGE, randomize=False)
    assert out.dtype == torch.int16
    torch.testing.assert_close(out, IMAGE, atol=1, rtol=0)


def test_a_mirror_and_a_quarter_turn_are_those_of_torch():
    torch.testing.assert_close(still(mirrored=True)(IMAGE, randomize=False), IMAGE.flip(-1), atol=1, rtol=0)
    turned = still(turn=math.pi / 2)(IMAGE, randomize=False)
    options = [torch.rot90(IMAGE, turns, (-2, -1)) for turns in (1, 3)]
    assert any(torch.allclose(turned.float(), option.float(), atol=2) for option in options)


def test_a_crop_is_brought_back_to_size():
    ramp = torch.linspace(0, WHITE, 40)[None, None, None].expand(1, 1, 40, 40).to(torch.int16)
    out = still(crop=(0.0, 0.5, 1.0, 0.5))(ramp, randomize=False).float()
    assert out.shape == ramp.shape
    expected = 0.5 * WHITE * (1 + (torch.arange(40) + 0.5) / 40)
    torch.testing.assert_close(out[0, 0], expected.expand(40, -1), atol=0.02 * WHITE, rtol=0)


def test_a_turn_by_45_degrees_leaves_black_corners_and_a_full_centre():
    white = torch.full((1, 1, 41, 41), WHITE, dtype=torch.int16)
    out = still(turn=math.pi / 4)(white, randomize=False)
    assert out[0, 0, 20, 20] == WHITE
    assert out[0, 0, 0, 0] == 0


def test_brightness_and_contrast_stay_within_black_and_white():
    out = still(brightness=0.25, contrast=0.5)(IMAGE, randomize=False).float()
    torch.testing.assert_close(out, IMAGE.float() * 0.5 + 0.25 * WHITE, atol=2, rtol=0)
    assert still(brightness=0.5, contrast=1.5)(IMAGE, randomize=False).max() == WHITE


def test_an_oblong_image_keeps_its_shape_and_colours_move_together():
    image = torch.stack([torch.arange(30 * 20).reshape(30, 20)] * 3)[None].to(torch.int16)
    augment = RandRadiographd().set_random_state(seed=3)
    for _ in range(5):
        out = augment({"image": image})["image"]
        assert out.shape == image.shape
        assert (out[0, 0] == out[0, 2]).all()


def test_equal_seeds_give_equal_images_and_draws_stay_in_the_published_ranges():
    one, other = (RandRadiographd().set_random_state(seed=1) for _ in range(2))
    for _ in range(3):
        assert torch.equal(one({"image": IMAGE})["image"], other({"image": IMAGE})["image"])
    change, turned = RandRadiograph().set_random_state(seed=0), 0
    for _ in range(300):
        change.randomize()
        top, left, height, width = change.crop
        assert 0.66 <= height * width <= 1
        assert top + height <= 1 + 1e-9
        assert left + width <= 1 + 1e-9
        assert abs(change.turn) <= math.pi / 2
        assert 0.5 <= change.contrast <= 1.5
        turned += change.turn != 0
    assert 110 < turned < 190


def test_a_probability_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="prob must lie in"):
        RandRadiograph(1.5)
