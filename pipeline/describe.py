"""What a workflow can name: networks, backbones, attention methods, executors, labels, stages and shipped workflows."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, is_dataclass

from pydantic import BaseModel

from .catalogue import region_labels
from .config import STAGES, MaskLossConfig, ModelConfig, Workflow
from .data.phantom import PhantomSettings
from .errors import ConfigError, did_you_mean
from .plugins import ATTENTION_LOSSES, METHODS
from .workflow_file import load_workflow, shipped_workflows

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
    from .networks import BACKBONES, NETWORKS  # noqa: PLC0415 - loads torch
    from .runner import executor_names  # noqa: PLC0415

    kinds = {
        "network": NETWORKS.names(),
        "backbone": BACKBONES.names(),
        "attention method": METHODS.names(),
        "loss on attention": ATTENTION_LOSSES.names(),
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
    return [{"workflow": name, "stages": ", ".join(load_workflow(name).stages())} for name in shipped_workflows()]


def _settings() -> Rows:
    """Every key of a workflow file with its default and meaning, the latter from the docstring of its section."""
    rows: Rows = []
    meanings = _attributes(inspect.getdoc(Workflow) or "")
    for section, entry in Workflow.model_fields.items():
        inner = entry.annotation
        if section in meanings:
            rows.append({"key": section, "default": _shown(entry.default), "meaning": meanings[section]})
        if section == "models":
            rows += _section_rows("models.NAME", ModelConfig)
            rows += _section_rows("models.NAME.mask_loss", MaskLossConfig)
        elif isinstance(inner, type) and issubclass(inner, BaseModel):
            rows += _section_rows(section, inner)
        elif section == "phantom":
            rows += _section_rows(section, PhantomSettings)
        elif section == "network":
            rows += _network_rows()
    return rows


def _network_rows() -> Rows:
    """The name, and for each network what its constructor takes."""
    from .networks import NETWORKS  # noqa: PLC0415 - loads torch
    from .stages.grids import network_options  # noqa: PLC0415

    names = NETWORKS.names()
    meaning = f"a registered network: {', '.join(names)}"
    rows: Rows = [{"key": "network.name", "default": "axialnet", "meaning": meaning}]
    ours = [name for name in names if not name.startswith("monai.")]
    for name in (*ours, "monai.DenseNet121"):  # MONAI's have these in common, and their own arguments
        meanings = _attributes(inspect.getdoc(NETWORKS.get(name)) or "", "Args")
        rows += [
            {
                "key": f"network.{option}",
                "default": "required" if given.default is given.empty else _shown(given.default),
                "meaning": f"{name}: {meanings.get(option, '')}",
            }
            for option, given in network_options(name).items()
        ]
    return rows


def _section_rows(prefix: str, section: type) -> Rows:
    meanings = _attributes(inspect.getdoc(section) or "")
    if is_dataclass(section):
        blank = section()
        defaults = {entry.name: getattr(blank, entry.name) for entry in fields(section)}
    else:
        defaults = {name: entry.default for name, entry in section.model_fields.items()}  # type: ignore[attr-defined]
    return [
        {"key": f"{prefix}.{name}", "default": _shown(default), "meaning": meanings.get(name, "")}
        for name, default in defaults.items()
    ]


def _attributes(docstring: str, heading: str = "Attributes") -> dict[str, str]:
    """Name -> text of a docstring's section."""
    _, _, section = docstring.partition(f"{heading}:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.split("\n"):
        if line and not line.startswith("    "):
            break
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start.group(1)
            found[name] = start.group(2)
        elif name and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _shown(default: object) -> str:
    if isinstance(default, BaseModel):
        return "as the workflow's"
    return "null" if default is None else str(default)


TOPICS = {
    "settings": _settings,
    "plugins": _plugins,
    "labels": _labels,
    "stages": _stages,
    "workflows": _workflows,
}
"""Topic -> its rows."""
