"""What `organcam describe settings` tells of a workflow file."""

import inspect

from organcam.config import Workflow
from organcam.describe import describe_topic
from organcam.networks import AxialNet


def test_every_key_of_a_workflow_is_described_networks_included():
    rows = describe_topic("settings")
    keys = {row["key"] for row in rows}
    for section in Workflow.model_fields:
        assert any(key == section or key.startswith(f"{section}.") for key in keys), section
    taken = set(inspect.signature(AxialNet).parameters) - {"num_labels", "input_shape"}
    assert {f"network.{option}" for option in taken} <= keys
    assert "network.num_labels" not in keys


def test_defaults_and_meanings_are_those_of_the_code():
    rows = {row["key"]: row for row in describe_topic("settings")}
    assert rows["network.name"]["default"] == "axialnet"
    assert rows["network.head"]["default"] == "registered"
    assert "padded" in rows["network.head"]["meaning"]
    assert [key for key, row in rows.items() if not row["meaning"].strip()] == []
