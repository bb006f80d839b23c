from importlib.metadata import EntryPoint

import pytest

from organcam import registry
from organcam.errors import ConfigError
from organcam.networks import BACKBONES, NETWORKS, AxialNet
from organcam.registry import Registry


@pytest.fixture
def installed(monkeypatch):
    """An installed package that offers a builder."""
    point = EntryPoint("counter", "collections:Counter", "organcam.example")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    return Registry("example", "organcam.example")


def test_own_names():
    assert {"axialnet", "pylon", "unet"} <= set(NETWORKS.names())
    assert {"resnet18", "small"} <= set(BACKBONES.names())
    assert isinstance(NETWORKS.build("axialnet", num_labels=1, backbone="small", input_shape=(3, 16, 16)), AxialNet)


def test_entry_points_add_names(installed):
    installed.register("own")(dict)
    assert installed.names() == ("counter", "own")
    assert installed.build("counter", a=2) == {"a": 2}


def test_own_name_wins_over_an_installed_one(installed):
    installed.register("counter")(list)
    assert installed.names() == ("counter",)
    assert installed.build("counter") == []


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'resnet19': did you mean 'resnet18'\? Legal: .*resnet18, .*small"):
        BACKBONES.get("resnet19")


def test_name_cannot_be_taken_twice(installed):
    installed.register("own")(dict)
    with pytest.raises(ValueError, match="'own' is registered already"):
        installed.register("own")


def test_a_place_is_imported_when_it_is_first_asked_for():
    shapes = Registry("shape", group="organcam.no_such_group", lazy={"cube": "math:sqrt", "gone": "no_such_module:x"})
    assert shapes.names() == ("cube", "gone")
    assert shapes.get("cube")(9.0) == 3.0
    with pytest.raises(ValueError, match="registered already"):
        shapes.register("cube")
    with pytest.raises(ModuleNotFoundError):
        shapes.get("gone")


def test_installed_packages_are_not_looked_through_for_a_name_of_our_own(monkeypatch):
    shapes = Registry("shape", group="organcam.no_such_group", lazy={"cube": "math:sqrt"})
    asked = []
    monkeypatch.setattr(registry, "entry_points", lambda group: asked.append(group) or [])
    assert "cube" in shapes
    assert not asked
    assert "ball" not in shapes
    assert asked == ["organcam.no_such_group"]
