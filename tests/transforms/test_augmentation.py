"""Flips and rotations of the image and its allowed regions: the published ones, and the two always together."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose

from organcam.transforms import FlipRotate, FlipRotated, RandFlipRotate, RandFlipRotated, SlabStack

EVERY_VIEW = [(flip, turns) for flip in (None, 0, 1, 2) for turns in range(4)]


def test_flip_of_the_long_axis_reverses_slabs_and_their_slices():
    slabs = torch.arange(6).view(2, 3, 1, 1)
    assert FlipRotate(flip=0, layout="slabs")(slabs).flatten().tolist() == [5, 4, 3, 2, 1, 0]
    assert FlipRotate(flip=0, layout="channels")(slabs).flatten().tolist() == [2, 1, 0, 5, 4, 3]


@pytest.mark.parametrize(("flip", "turns"), EVERY_VIEW)
def test_slabs_of_the_flipped_volume_are_the_flipped_slabs(flip, turns):
    volume = torch.rand(1, 9, 4, 4)
    before = SlabStack()(FlipRotate(flip, turns, "channels")(volume))
    after = FlipRotate(flip, turns, "slabs")(SlabStack()(volume))
    assert torch.equal(before, after)


@pytest.mark.parametrize(("flip", "turns"), EVERY_VIEW)
def test_a_bright_block_and_its_region_stay_together(flip, turns):
    """Cells that tile the image: the region of the block is the block's region, in every view."""
    volume, region = np.zeros((1, 12, 8, 8)), np.zeros((1, 4, 2, 2), bool)
    volume[0, 3:6, 4:8, 0:4] = 1  # slab 1, lower left cell
    region[0, 1, 1, 0] = True
    image = FlipRotate(flip, turns, "slabs")(SlabStack()(volume))
    per_cell = image.reshape(4, 3, 2, 4, 2, 4).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(per_cell == 1, FlipRotate(flip, turns, "channels")(region)[0])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([None, 0, 1, 2]), st.integers(0, 3), st.sampled_from(["slabs", "channels"]))
def test_views_keep_every_value_and_flips_and_full_turns_undo_themselves(flip, turns, layout):
    array = np.arange(3 * 3 * 4 * 4).reshape(3, 3, 4, 4)
    view = FlipRotate(flip, turns, layout)
    assert sorted(view(array).ravel()) == sorted(array.ravel())
    back = FlipRotate(flip, 0, layout)(FlipRotate(None, (4 - turns) % 4, layout)(view(array)))
    np.testing.assert_array_equal(back, array)


def test_result_is_a_plain_contiguous_copy():
    source = MetaTensor(torch.zeros(1, 2, 2, 2))
    for flip in (None, 1):
        out = FlipRotate(flip)(source)
        assert type(out) is torch.Tensor
        assert out.is_contiguous()
        out += 1
    assert source.sum() == 0


def test_dictionary_form_has_a_layout_per_key():
    item = {"image": torch.arange(6.0).view(2, 3, 1, 1), "allowed": np.array([1, 0], bool).reshape(1, 2, 1, 1)}
    out = FlipRotated(("image", "allowed"), flip=0, layout=("slabs", "channels"))(item)
    assert out["image"].flatten().tolist() == [5, 4, 3, 2, 1, 0]
    assert out["allowed"].ravel().tolist() == [False, True]
    assert out["allowed"].dtype == bool


def test_one_draw_serves_all_keys_and_a_seed_repeats_it():
    item = {"image": torch.rand(1, 4, 4, 4), "twin": None}
    item["twin"] = item["image"].clone()
    transform = RandFlipRotated(("image", "twin"), "channels", prob_flip=0.9, prob_rotate=0.9).set_random_state(3)
    views = [transform(item) for _ in range(20)]
    assert all(torch.equal(view["image"], view["twin"]) for view in views)
    assert len({tuple(view["image"].flatten().tolist()) for view in views}) > 5
    again = RandFlipRotated(("image", "twin"), "channels", prob_flip=0.9, prob_rotate=0.9).set_random_state(3)
    assert all(torch.equal(again(item)["image"], view["image"]) for view in views)


def test_compose_seeds_it():
    item = {"image": torch.arange(64).view(1, 4, 4, 4)}
    chains = [Compose([RandFlipRotated("image", "channels", prob_flip=1)]).set_random_state(11) for _ in range(2)]
    assert torch.equal(*(chain(item)["image"] for chain in chains))


def test_draws_are_as_often_as_published():
    transform = RandFlipRotate()
    transform.set_random_state(0)
    draws = []
    for _ in range(4000):
        transform.randomize()
        draws.append((transform.drawn_flip, transform.drawn_turns))
    flips, turns = [f for f, _ in draws], [t for _, t in draws]
    for value, share in ((None, 1 / 2), (0, 1 / 6), (1, 1 / 6), (2, 1 / 6)):
        assert flips.count(value) / 4000 == pytest.approx(share, abs=0.03)
    for value, share in ((0, 1 / 2), (1, 1 / 6), (2, 1 / 6), (3, 1 / 6)):
        assert turns.count(value) / 4000 == pytest.approx(share, abs=0.03)


def test_choices_can_be_narrowed():
    transform = RandFlipRotate(prob_flip=1, prob_rotate=1, flip_axes=(1,), turns=(2,))
    for _ in range(20):
        transform.randomize()
        assert (transform.drawn_flip, transform.drawn_turns) == (1, 2)
    never = RandFlipRotate(prob_flip=0, prob_rotate=0, flip_axes=(), turns=())
    image = torch.rand(1, 2, 3, 4)
    assert torch.equal(never(image), image)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: FlipRotate(flip=3), "axes 0, 1, 2 or None, got 3"),
        (lambda: FlipRotate(turns=4), "0, 1, 2 or 3 quarter turns, got 4"),
        (lambda: FlipRotate(layout="slab"), "did you mean 'slabs'"),
        (lambda: RandFlipRotated("image", layout="chanels"), "did you mean 'channels'"),
        (lambda: RandFlipRotate(prob_flip=1.5), r"prob_flip must lie in \[0, 1\]"),
        (lambda: RandFlipRotate(turns=()), "nothing to choose from"),
        (lambda: FlipRotate(turns=1)(np.zeros((1, 2, 3, 4))), "square plane"),
        (lambda: FlipRotate()(np.zeros((2, 3, 4))), "four axes"),
    ],
)
def test_bad_argument_says_what_is_wrong(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def parse(auglabel: list[float]) -> tuple[int | None, int]:
    flips, turns = auglabel[:3], auglabel[3:]
    return (flips.index(1) if 1 in flips else None), (turns.index(1) + 1 if 1 in turns else 0)


def test_published_views_of_a_volume(shared_spec):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["9_volume"]["augmentation"]
    volume = np.arange(48).reshape(1, 3, 4, 4)
    assert len(entry["outputs"]) == 16
    for case in entry["outputs"]:
        assert FlipRotate(*parse(case["auglabel"]))(volume).ravel().tolist() == case["values"], case["auglabel"]


def test_published_views_of_allowed_regions(shared_spec):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["4_losses"]

    def cells(text: str) -> np.ndarray:
        return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[: 5 * 4 * 36].reshape(5, 4, 6, 6)

    allowed = cells(entry["G_input_hex"])
    assert len(entry["cases"]) == 16
    for case in entry["cases"]:
        view = FlipRotate(*parse(case["auglabel"]))(allowed)
        np.testing.assert_array_equal(view, cells(case["G_output_hex"]), err_msg=str(case["auglabel"]))
