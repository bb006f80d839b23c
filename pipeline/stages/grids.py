"""The networks of a workflow and their feature grids."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from torch import nn

from ..config import InputConfig, Workflow
from ..errors import ConfigError, did_you_mean
from ..geometry import FeatureGrid
from ..networks import NETWORKS

__all__ = ["build_model", "grids_of_models"]


def build_model(options: Mapping[str, Any], shown: InputConfig, num_labels: int) -> nn.Module:
    """A network with fresh weights.

    Args:
        options: the workflow's network section: a registered ``name`` (``axialnet``) and what its constructor takes.
        shown: what the network sees.
        num_labels: number of outputs.

    Raises:
        ConfigError: if the name or an option is unknown or illegal.
    """
    arguments = {"name": "axialnet", **options}
    builder = NETWORKS.get(str(arguments.pop("name")))
    legal = set(signature(builder).parameters) - {"num_labels", "input_size"}
    for option in arguments:
        if option not in legal:
            msg = f"network: no such option '{option}', {did_you_mean(option, legal)}"
            raise ConfigError(msg)
    try:
        return builder(num_labels=num_labels, input_size=shown.shape[1:], **arguments)
    except (ValueError, TypeError) as error:
        msg = f"network: {error}"
        raise ConfigError(msg) from None


def grids_of_models(workflow: Workflow) -> dict[str, FeatureGrid]:
    """Model name -> its feature grid on the workflow's input."""
    return {
        model: build_model(workflow.network_of(model), workflow.input, 1).feature_grid(workflow.input.shape)  # type: ignore[operator]
        for model in workflow.models
    }
