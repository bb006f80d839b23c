"""The examples of docs/how-to/monai.md do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monai.md"


@pytest.fixture(scope="module")
def told():
    """Names of the page's first three Python examples, run one after the other."""
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)[:3]:
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_maps_of_any_network(told):
    maps = told["maps"]
    assert maps.values.shape == (2, 2, 2, 2, 3)
    assert maps.grid.centres(2).tolist() == [14, 46, 78]


def test_classes_of_a_segmentation_network(told):
    assert told["predicted"].values.shape == (1, 3, 8, 8, 8)
    assert told["voxel"].targets == (2,)
    assert {name: tuple(maps.values.shape) for name, maps in told["by_name"].items()} == {
        "model.1.submodule.1.submodule": (1, 1, 32, 32, 32),
        "model.0": (1, 1, 32, 32, 32),
    }


def test_a_network_of_ones_own(told):
    own = told["own"]
    assert own.closed_form
    assert own.values.shape == (2, 2, 10, 8, 8)
    assert own.grid.stride == (3, 8, 8)
