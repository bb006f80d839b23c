"""Padding, cropping and slabs, by hand, against index arithmetic, and the published loader on whole volumes."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose, ResizeWithPadOrCrop

from organcam.transforms import HUWindow, PadOrCropAir, PadOrCropAird, SlabStack, SlabStackd


def pad_or_crop_line(line: list[int], size: int, fill: int) -> list[int]:
    """The published rule on one axis, in plain lists."""
    if len(line) < size:
        before = (size - len(line)) // 2
        return [fill] * before + line + [fill] * (size - len(line) - before)
    start = (len(line) - size) // 2
    return line[start : start + size]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_every_axis_follows_the_published_rule(depth, width, new_depth, new_width):
    volume = torch.arange(depth * width).view(1, depth, width, 1)
    rows = [pad_or_crop_line(row, new_width, -1) for row in volume[0, :, :, 0].tolist()]
    columns = [pad_or_crop_line([row[i] for row in rows], new_depth, -1) for i in range(new_width)]
    expected = np.array(columns).T
    out = PadOrCropAir((new_depth, new_width, 1), fill=-1)(volume)
    np.testing.assert_array_equal(out[0, :, :, 0], expected)


def test_monai_starts_later_where_an_odd_size_is_cut_from_an_even_axis():
    line = torch.arange(412).view(1, 412, 1, 1)
    assert PadOrCropAir((405, 1, 1))(line)[0, 0].item() == 3
    assert ResizeWithPadOrCrop((405, 1, 1))(line)[0, 0].item() == 4


def test_type_is_kept_and_padding_is_air():
    out = PadOrCropAir((4, 4, 4))(torch.zeros(1, 2, 2, 2, dtype=torch.int16))
    assert out.dtype == torch.int16
    assert (out == -1000).sum() == 64 - 8


def test_affine_follows_and_inverse_restores_the_shape():
    volume = MetaTensor(torch.rand(1, 7, 4, 6), affine=torch.eye(4))
    transform = PadOrCropAird("image", shape=(4, 8, 6))
    out = transform({"image": volume})
    assert out["image"].affine[:3, 3].tolist() == [1.0, -2.0, 0.0]
    back = transform.inverse(out)["image"]
    assert back.shape == volume.shape
    assert torch.equal(back[:, 1:5], volume[:, 1:5])
    assert back.affine.tolist() == torch.eye(4).tolist()


def test_slabs_hold_neighbouring_slices_in_order():
    volume = torch.arange(12).view(1, 6, 1, 2)
    slabs = SlabStack()(volume)
    assert slabs.tolist() == [[[[0, 1]], [[2, 3]], [[4, 5]]], [[[6, 7]], [[8, 9]], [[10, 11]]]]


def test_surplus_slices_are_dropped_and_metadata_too():
    slabs = SlabStackd("image")({"image": MetaTensor(torch.zeros(1, 8, 2, 2))})["image"]
    assert type(slabs) is torch.Tensor
    assert slabs.shape == (2, 3, 2, 2)


@pytest.mark.parametrize("shape", [(6, 2, 2), (2, 6, 2, 2), (1, 2, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[1, D, H, W\], got"):
        SlabStack()(np.zeros(shape))


def test_slab_of_no_slices_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        SlabStack(0)


def closed_form_volume(shape: tuple[int, int, int], k: int) -> np.ndarray:
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    value = (4099 * z + 257 * y + 17 * x + 3 * z * y + 5 * y * x + 1009 * k) % 2203 - 1100
    return value.astype(np.int16)


@pytest.mark.parametrize("name", ["small", "mixed", "large", "exact"])
def test_whole_preprocessing_gives_the_published_bytes(shared_spec, name):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["9_volume"]["volumes"][name]
    volume = closed_form_volume(tuple(entry["shape"]), entry["k"])
    assert hashlib.sha256(volume.tobytes()).hexdigest() == entry["input_sha256_int16_le"]
    for run in entry["runs"] if name == "small" else entry["runs"][:1]:
        lower, upper = run["bounds"]
        steps = [PadOrCropAir((run["max_slices"], 420, 420), fill=-1000), HUWindow(lower, upper)]
        out = Compose([*steps, SlabStack(run["channels"])])(torch.from_numpy(volume)[None])
        if run["channels"] == 1:
            out = out[:, 0]
        assert list(out.shape) == run["shape"]
        assert hashlib.sha256(out.numpy().tobytes()).hexdigest() == run["sha256_float32_le"]


def test_published_remainders(shared_spec):
    entry = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["9_volume"]
    for slices, shape in entry["three_channels_remainders"].items():
        assert list(SlabStack()(np.zeros((1, int(slices), 2, 2))).shape) == shape


def test_real_scan_keeps_its_middle_through_the_chain(shared_data):
    nibabel = pytest.importorskip("nibabel")
    path = next(iter(sorted(shared_data.rglob("*.nii.gz"))), None)
    if path is None:
        pytest.skip("no NIfTI volume in the shared data")
    volume = np.asarray(nibabel.load(path).dataobj).astype(np.int16)
    volume = volume[tuple(slice(0, 60) for _ in range(3))]
    out = SlabStack()(HUWindow()(PadOrCropAir((63, 64, 58))(torch.from_numpy(volume)[None])))
    assert out.shape == (21, 3, 64, 58)
    inner = out.reshape(63, 64, 58)[1:61, 2:62, :]
    expected = HUWindow()(volume[:, :, 1:59])
    np.testing.assert_array_equal(inner.numpy(), expected)
