"""What a network is given: one tensor, several, by name; which is the image; and what is told where it does not fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from torch import Tensor, nn

from organcam.attention.inputs import Batch, from_voxels, parse_inputs, refuse_nonfinite, to_voxels, wrong_axes

IMAGE = torch.arange(24.0).reshape(2, 3, 4)
OTHER = -IMAGE
TABLE = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
SCALE = torch.tensor(5.0)


def test_one_tensor_alone():
    batch = parse_inputs(IMAGE)
    assert (batch.place, batch.alone, batch.named, batch.affines) == (0, True, {}, None)
    assert torch.equal(batch.image, IMAGE)
    assert batch.source() is IMAGE
    assert torch.equal(batch.run(lambda x: 2 * x), 2 * IMAGE)


@pytest.mark.parametrize("given", [(IMAGE, OTHER), [IMAGE, OTHER]])
def test_several_go_in_their_order_and_the_first_tensor_is_the_image(given):
    batch = parse_inputs(given)
    assert (batch.place, batch.alone) == (0, False)
    assert torch.equal(batch.run(lambda x, y: x + 2 * y), -IMAGE)
    later = parse_inputs(("mode", IMAGE))
    assert (later.place, later.alone) == (1, False)
    assert later.run(lambda word, x: (word, x.shape)) == ("mode", IMAGE.shape)


def test_by_name_the_first_tensor_is_the_image():
    batch = parse_inputs({"mode": "fast", "x": IMAGE, "y": OTHER})
    assert (batch.place, batch.alone) == ("x", False)
    assert batch.image.tolist() == IMAGE.tolist()
    assert torch.equal(batch.run(lambda y, x, mode: x - y), 2 * IMAGE)
    assert parse_inputs({"x": IMAGE}).alone


@pytest.mark.parametrize("form", ["row", "name"])
def test_another_image_takes_the_place_of_the_first_and_what_belongs_to_items_is_repeated(form):
    given = (IMAGE, TABLE, SCALE, "word") if form == "row" else {"x": IMAGE, "t": TABLE, "s": SCALE, "w": "word"}
    batch = parse_inputs(given)
    same = batch.with_image(7 + IMAGE)
    twice = batch.with_image(torch.cat([IMAGE, 9 + IMAGE]))
    for changed, image, table in (
        (same, 7 + IMAGE, TABLE),
        (twice, torch.cat([IMAGE, 9 + IMAGE]), torch.cat([TABLE, TABLE])),
    ):
        found = changed.run((lambda *a: a) if form == "row" else (lambda x, t, s, w: (x, t, s, w)))
        assert torch.equal(found[0], image)
        assert torch.equal(found[1], table)
        assert torch.equal(found[2], SCALE)
        assert found[2].ndim == 0
        assert found[3] == "word"
    assert torch.equal(batch.image, IMAGE)


def test_what_all_items_share_is_not_repeated():
    shared = torch.ones(5, 2)
    batch = parse_inputs((IMAGE, shared)).with_image(torch.cat([IMAGE, IMAGE]))
    assert batch.given[1].shape == (5, 2)


def test_the_first_item_of_everything_that_has_items():
    batch = parse_inputs((IMAGE, TABLE, SCALE, torch.ones(5, 2), None)).first_item()
    assert [one if one is None else tuple(one.shape) for one in batch.given] == [(1, 3, 4), (1, 2), (), (5, 2), None]
    assert torch.equal(batch.given[1], TABLE[:1])
    assert parse_inputs({"x": IMAGE, "t": TABLE}).first_item().named["t"].tolist() == [[1, 2]]


def test_without_graph_and_usable_after_inference_mode():
    weight = torch.ones(2, 3, 4, requires_grad=True)
    batch = parse_inputs((IMAGE * weight, weight)).detached()
    assert not any(one.requires_grad for one in batch.given)
    assert batch.given[1].data_ptr() == weight.data_ptr()  # nothing is copied
    with torch.inference_mode():
        image = IMAGE + 0
    found = parse_inputs(image).detached().image
    assert not found.is_inference()
    assert torch.equal(found, IMAGE)


@pytest.mark.parametrize("affine", ["one", "each"])
def test_metadata_stay_with_the_batch_and_off_the_tensors(affine):
    single = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0]))
    given = single if affine == "one" else torch.stack([single, 2 * single])
    image = MetaTensor(IMAGE[..., None, None].clone())
    image.affine = given
    batch = parse_inputs((image, MetaTensor(OTHER)))
    assert type(batch.image) is Tensor
    assert type(batch.given[1]) is Tensor
    assert batch.affines.dtype == torch.float64
    assert torch.equal(batch.affines[0], single.double())
    assert torch.equal(batch.affines[1], (1 if affine == "one" else 2) * single.double())
    assert batch.source() is image


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        (np.zeros((2, 3, 4)), TypeError, "in a tuple, or by name in a dictionary, got ndarray$"),
        ((), TypeError, "^inputs must be a tensor .* got tuple$"),
        ({"x": 3}, TypeError, "^inputs must be a tensor .* got dict$"),
        (
            torch.zeros(4, 4),
            ValueError,
            r"^inputs must be a batch \[B, ...\] of images or volumes, got shape \[4, 4\]$",
        ),
        (torch.zeros(0, 3, 4), ValueError, r"^inputs must be a batch .*, got shape \[0, 3, 4\], which is empty$"),
        ((IMAGE, torch.tensor([1.0, torch.nan])), ValueError, "^inputs hold NaN or infinity, first in item 1 of"),
        ({"x": IMAGE, "y": OTHER / 0}, ValueError, "^inputs hold NaN or infinity, first in item 0 of the batch$"),
    ],
)
def test_what_is_no_batch_is_told(inputs, error, words):
    with pytest.raises(error, match=words):
        parse_inputs(inputs)


def test_numbers_and_whole_numbers_are_no_matter_of_nan():
    batch = parse_inputs((IMAGE.long(), torch.tensor(torch.nan), torch.tensor([[1, 2], [3, 4]])))
    assert batch.image.dtype == torch.int64


@pytest.mark.parametrize(
    ("values", "item"),
    [
        (torch.tensor([1.0, 2.0, torch.inf]), 2),
        (torch.tensor([[1.0, 2.0], [3.0, torch.nan], [torch.nan, 1.0]]), 1),
        (torch.tensor([[[1.0]], [[-torch.inf]]]), 1),
    ],
)
def test_the_first_item_that_is_not_finite_is_named(values, item):
    with pytest.raises(ValueError, match=f"^maps hold NaN or infinity, first in item {item} of the batch$"):
        refuse_nonfinite(values, "maps hold")
    refuse_nonfinite(values.nan_to_num(posinf=0.0, neginf=0.0), "maps hold")


def test_slabs_are_a_volume_of_one_channel_and_back():
    slabs = torch.arange(2 * 3 * 2 * 4 * 5).reshape(2, 3, 2, 4, 5)
    volume = to_voxels(slabs, "slabs")
    assert volume.shape == (2, 1, 6, 4, 5)
    assert torch.equal(volume[1, 0, 3], slabs[1, 1, 1])  # the fourth slice is the second of the second slab
    assert torch.equal(from_voxels(volume, slabs), slabs)
    assert from_voxels(volume[:1].expand(7, -1, -1, -1, -1), slabs).shape == (7, 3, 2, 4, 5)
    assert to_voxels(slabs, "volume") is slabs
    assert to_voxels(slabs[:, 0], "slabs").shape == (2, 2, 4, 5)


def told(channels: int, dims: int, shape: tuple[int, ...], message: str | None = None) -> str | None:
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](channels, 1, 1)
    error = RuntimeError(message or f"expected input{list(shape)} to have {channels} channels")
    return wrong_axes(nn.Sequential(nn.ReLU(), conv, nn.Conv2d(9, 9, 1)), torch.zeros(shape), error)


@pytest.mark.parametrize(
    ("channels", "dims", "shape", "advice"),
    [
        (3, 2, (2, 8, 9, 3), "takes [B, 3, H, W], got [2, 8, 9, 3]; the channels are last: give inputs.movedim(-1, 1)"),
        (3, 2, (3, 8, 9), "takes [B, 3, H, W], got [3, 8, 9]; the batch axis is missing: give inputs[None]"),
        (1, 3, (2, 8, 9, 7), "[B, 1, D, H, W], got [2, 8, 9, 7]; the channel axis is missing: give inputs[:, None]"),
        (1, 3, (1, 8, 9, 7), "takes [B, 1, D, H, W], got [1, 8, 9, 7]; the batch axis is missing: give inputs[None]"),
        (4, 3, (2, 8, 4, 9, 7), "got [2, 8, 4, 9, 7]; the channels are on axis 2: give inputs.movedim(2, 1)"),
        (4, 3, (2, 8, 9, 4, 7), "got [2, 8, 9, 4, 7]; the channels are on axis 3: give inputs.movedim(3, 1)"),
        (3, 1, (2, 5, 9), "takes [B, 3, W], got [2, 5, 9]; axis 1 must hold 3 channels"),
    ],
)  # fmt: skip
def test_axes_in_another_order(channels, dims, shape, advice):
    found = told(channels, dims, shape)
    assert found.startswith("Sequential takes ")
    assert found.endswith(advice)


@pytest.mark.parametrize(
    ("channels", "dims", "shape", "message"),
    [
        (3, 2, (2, 3, 8, 3), None),  # as many channels as it takes: something else failed
        (3, 2, (2, 8, 9, 3), "out of memory"),
        (3, 2, (2, 3, 8, 9, 7), None),  # an axis too many may be anything
        (3, 3, (2, 5, 9, 7), None),  # neither batch nor channel axis is missing for certain
    ],
)
def test_what_is_not_the_fault_of_the_axes_is_left_to_itself(channels, dims, shape, message):
    assert told(channels, dims, shape, message) is None


def test_networks_without_convolutions_have_no_axes_to_tell():
    assert wrong_axes(nn.Linear(3, 1), torch.zeros(2, 4), RuntimeError("expected input[2, 4]")) is None


def test_a_batch_names_itself_by_place():
    batch = Batch((OTHER, IMAGE), {}, 1)
    assert batch.image is IMAGE
