"""The networks of a workflow and their feature grids."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, isclass, signature
from typing import Any, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from ..config import InputConfig, Workflow
from ..contract import NetworkContract, UndeclaredNetwork, takes_allowed
from ..errors import ConfigError, did_you_mean
from ..geometry import FeatureGrid
from ..networks import NETWORKS, contract_of

__all__ = ["build_model", "grids_of_models", "network_options", "reads_regions"]

OWN = ("num_labels", "input_shape")
"""Arguments of every network that follow from the labels and from the input section."""


def build_model(options: Mapping[str, Any], settings: InputConfig, num_labels: int) -> nn.Module:
    """A network with fresh weights.

    Args:
        options: the workflow's network section: a registered ``name`` (``axialnet``) and what its constructor takes.
        settings: what the network sees.
        num_labels: number of outputs.

    Raises:
        ConfigError: if the name or an option is unknown or illegal.
    """
    arguments = {"name": "axialnet", **options}
    name = str(arguments.pop("name"))
    _check_options(name, arguments)
    try:
        return NETWORKS.build(name, num_labels=num_labels, input_shape=settings.shape, **arguments)
    except ConfigError:
        raise
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:  # torch raises RuntimeError for want of memory
        msg = f"network: {error}"
        raise ConfigError(msg) from None


def network_options(name: str) -> dict[str, Parameter]:
    """What a workflow's network section can hold for one network, beside its name.

    Raises:
        ConfigError: if no network has that name.
    """
    return {option: given for option, given in signature(NETWORKS.get(name)).parameters.items() if option not in OWN}


def _check_options(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse options that the network does not have, and values of another type than it says it takes."""
    builder: Any = NETWORKS.get(name)
    legal, hints = network_options(name), get_type_hints(builder.__init__ if isclass(builder) else builder)
    problems = []
    for option, value in arguments.items():
        if option not in legal:
            problems.append(f"network: no such option '{option}', {did_you_mean(option, legal)}")
        elif option in hints:
            kind = TypeAdapter(hints[option], config=ConfigDict(allow_inf_nan=False, arbitrary_types_allowed=True))
            try:
                kind.validate_python(value)
            except ValidationError as error:
                said = " or ".join(dict.fromkeys(problem["msg"] for problem in error.errors()))
                problems.append(f"network.{option}: {said[0].lower()}{said[1:]} (found {str(value)[:40]!r})")
    if problems:
        raise ConfigError("\n".join(problems))


def grids_of_models(workflow: Workflow) -> dict[str, FeatureGrid]:
    """Model name -> its feature grid on the workflow's input."""
    return {model: _grid(workflow, model) for model in workflow.models}


def reads_regions(workflow: Workflow, model: str) -> bool:
    """Whether a model's network looks at a scan's organs too, when it is trained and when it is used."""
    return takes_allowed(_on_meta(workflow, model)[0])


def _grid(workflow: Workflow, model: str) -> FeatureGrid:
    return _on_meta(workflow, model)[1].feature_grid(workflow.input.shape)


def _on_meta(workflow: Workflow, model: str) -> tuple[nn.Module, NetworkContract]:
    """A network on the meta device: nothing is allocated, and no weights are opened."""
    options = {key: value for key, value in workflow.network_of(model).items() if key != "weights"}
    with torch.device("meta"):
        network = build_model(options, workflow.input, 1)
    told = contract_of(network)
    if isinstance(told, UndeclaredNetwork) or "attention" not in signature(network.forward).parameters:
        msg = (
            f"network: {options.get('name', 'axialnet')} does not give its own attention and where its cells lie, as "
            "training in a workflow needs; it can be trained elsewhere and explained with organcam.attention"
        )
        raise ConfigError(msg)
    if tuple(told.input_shape) != tuple(workflow.input.shape):
        built, given = (" x ".join(map(str, shape)) for shape in (told.input_shape, workflow.input.shape))
        msg = f"input.shape: {options.get('name', 'axialnet')} is built for {built} voxels, the workflow gives {given}"
        raise ConfigError(msg)
    return network, told
