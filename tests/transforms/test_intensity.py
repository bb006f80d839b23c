"""HU window: values of the published loader, kinds of arrays, and what must not change."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from organcam.transforms import HUWindow, HUWindowd, HUWindowDict


def test_window_by_hand():
    out = HUWindow(lower=0, upper=100, mean=0.5)(np.array([-50, 0, 25, 100, 700], dtype=np.int16))
    assert out.dtype == np.float32
    assert out.tolist() == [-0.5, -0.5, -0.25, 0.5, 0.5]


def test_input_is_left_as_it_was():
    for hu in (np.array([5.0], np.float32), torch.tensor([5.0])):
        HUWindow()(hu)
        assert hu.tolist() == [5.0]


def test_tensor_and_array_give_the_same_bits():
    hu = np.arange(-1100, 1000, 7, dtype=np.int16).reshape(1, 3, 10, 10)
    assert torch.equal(HUWindow()(torch.tensor(hu)), torch.tensor(HUWindow()(hu)))


def test_metadata_are_kept():
    out = HUWindow()(MetaTensor(torch.zeros(1, 2, 2, 2), affine=torch.diag(torch.tensor([2.0, 2, 2, 1]))))
    assert isinstance(out, MetaTensor)
    assert out.affine[0, 0] == 2


def test_dictionary_form_touches_its_keys_only():
    item = {"image": np.array([800]), "age": 63}
    out = HUWindowd("image")(item)
    assert out["image"].item() == pytest.approx(0.551)
    assert out["age"] == 63
    assert item["image"].item() == 800
    assert HUWindowDict is HUWindowd
    assert "image" not in HUWindowd("image", allow_missing_keys=True)({})
    with pytest.raises(KeyError, match="image"):
        HUWindowd("image")({})


def test_reversed_window_is_refused():
    with pytest.raises(ValueError, match="lower=300 and upper=-100"):
        HUWindow(300, -100)


def test_published_values(shared_spec):
    table = json.loads((shared_spec / "axialnet_oracle.json").read_text(encoding="utf-8"))["9_volume"]["value_table"]
    hu = np.array(table["hu"], dtype=np.int16)
    for upper in (800, 200):
        np.testing.assert_allclose(HUWindow(upper=upper)(hu), table[f"-1000..{upper}"], atol=1e-8)
