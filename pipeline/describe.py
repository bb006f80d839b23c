"""What a workflow can name: networks, backbones, attention methods, executors, labels, stages and shipped workflows."""

from __future__ import annotations

from importlib.resources import files

from .catalogue import region_labels
from .config import STAGES, load_workflow
from .errors import ConfigError, did_you_mean

__all__ = ["TOPICS", "describe_topic"]

Rows = list[dict[str, str]]


def describe_topic(topic: str) -> Rows:
    """One row a thing that can be named.

    Args:
        topic: one of `TOPICS`.

    Raises:
        ConfigError: for another topic.
    """
    if topic not in TOPICS:
        msg = f"unknown topic '{topic}': {did_you_mean(topic, TOPICS)}"
        raise ConfigError(msg)
    return TOPICS[topic]()


def _plugins() -> Rows:
    from .attention import METHODS  # noqa: PLC0415 - loads torch
    from .networks import BACKBONES, NETWORKS  # noqa: PLC0415
    from .runner import executor_names  # noqa: PLC0415

    kinds = {
        "network": NETWORKS.names(),
        "backbone": BACKBONES.names(),
        "attention method": tuple(sorted(METHODS)),
        "executor": executor_names(),
        "segmentation method": ("organcam", "reference"),
    }
    return [{"kind": kind, "name": name} for kind, names in kinds.items() for name in names]


def _labels() -> Rows:
    return [
        {"label": label.name, "organs": label.organs, "extent": label.extent, "origin": label.origin}
        for label in region_labels()
    ]


def _stages() -> Rows:
    return [{"stage": stage} for stage in STAGES]


def _workflows() -> Rows:
    names = sorted(entry.name for entry in files("organcam.workflows").iterdir() if entry.name.endswith(".yaml"))
    return [
        {"workflow": name.removesuffix(".yaml"), "stages": ", ".join(load_workflow(name).stages())} for name in names
    ]


TOPICS = {"plugins": _plugins, "labels": _labels, "stages": _stages, "workflows": _workflows}
"""Topic -> its rows."""
