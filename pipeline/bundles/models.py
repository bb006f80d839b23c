"""A network with its labels and preprocessing, out of a run directory or of somebody's MONAI bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from ..contract import contract_of
from ..errors import ConfigError, OrganCamError
from ..stages.explain import load_model
from ..workflow_file import load_workflow
from .export import choose_model, preprocessing_of
from .overlay import built, choose_config, first_layer, parser_of, read_config

__all__ = ["UsableModel", "open_model"]


@dataclass(frozen=True)
class UsableModel:
    """All that is needed to explain a scan's file.

    Attributes:
        network: in evaluation mode; its layers cannot be looked at if it is TorchScript.
        labels: names of its outputs; empty where nobody named them.
        prepare: path of a scan to the network's input ``[C, ...]``, and the same as a volume that knows its place.
        layer: to explain; None for the network's own.
    """

    network: nn.Module
    labels: tuple[str, ...]
    prepare: Callable[[Path], tuple[Tensor, Any]]
    layer: str | None


def open_model(path: str | Path, weights: str | Path | None = None, layer: str | None = None) -> UsableModel:
    """Open a model.

    A bundle's configuration is code that runs when it is opened: for bundles that one trusts. Weights are read as data,
    and TorchScript by ``torch.jit.load``.

    Args:
        path: a run directory, its ``models/NAME``, or a bundle.
        weights: of a bundle: a state dictionary or a TorchScript file; None for its models/model.pt or model.ts.
        layer: to explain; None for the network's own, of a bundle the first candidate of ``organcam overlay``.

    Raises:
        ConfigError: if the path is neither.
        OrganCamError: if network or weights cannot be read, or do not belong together.
    """
    root = Path(path)
    if (root / "configs").is_dir():
        return _of_bundle(root, None if weights is None else Path(weights), layer)
    if (root / "model.pt").is_file() and root.parent.name == "models":
        return _of_run(root.parent.parent, root.name, layer)
    if (root / "models").is_dir():
        return _of_run(root, choose_model(root, None), layer)
    msg = f"{root} is neither a run directory with trained models nor a MONAI bundle (configs/, models/)"
    raise ConfigError(msg)


def _of_run(root: Path, name: str, layer: str | None) -> UsableModel:
    loaded = load_model(root / "models" / name / "model.pt", "cpu")
    if loaded.places is not None:
        msg = f"the model {name!r} takes each scan's organs too: explain its scans in the run (organcam explain --out)"
        raise ConfigError(msg)
    steps = preprocessing_of(loaded, load_workflow(str(root / "workflow.yaml")))
    transform = ConfigParser({"steps": {"_target_": "Compose", "transforms": steps}}).get_parsed_content("steps")
    own = contract_of(loaded.network).attention_layer
    chosen = None if layer in (None, own) else layer
    return UsableModel(loaded.network, loaded.labels, lambda scan: _prepared(transform, scan), chosen)


def _of_bundle(root: Path, weights: Path | None, layer: str | None) -> UsableModel:
    path, content = choose_config(root, None)
    parser = parser_of(root, content)
    network = built(parser, root, path, "network_def" if "network_def" in content else "network")
    transform = built(parser, root, path, "preprocessing" if "preprocessing" in content else "validate#preprocessing")
    found = weights or next(
        (one for name in ("model.pt", "model.ts") if (one := root / "models" / name).is_file()), None
    )
    if found is None:
        msg = f"{root}: neither models/model.pt nor models/model.ts is there; give --weights"
        raise ConfigError(msg)
    chosen = layer or first_layer(network, root)
    network = _with_weights(network, found)
    network.eval()
    labels = _labels_of(root)
    return UsableModel(network, labels, lambda scan: _prepared(transform, scan), chosen)


def _with_weights(network: nn.Module, path: Path) -> nn.Module:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as unreadable:
        try:
            return torch.jit.load(str(path), map_location="cpu")
        except (RuntimeError, ValueError):
            msg = f"{path}: neither a state dictionary nor TorchScript ({type(unreadable).__name__})"
            raise OrganCamError(msg) from None
    for key in ("model", "state_dict", "network", "weights"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        msg = f"{path}: these are not weights of {type(network).__name__} ({str(error).splitlines()[0]})"
        raise OrganCamError(msg) from None
    return network


def _labels_of(root: Path) -> tuple[str, ...]:
    try:
        outputs = read_config(root / "configs" / "metadata.json")["network_data_format"]["outputs"]
        named = (outputs.get("pred") or next(iter(outputs.values())))["channel_def"]
        return tuple(str(named[str(place)]) for place in range(len(named)))
    except (ConfigError, KeyError, TypeError, AttributeError, StopIteration):
        return ()


def _prepared(transform: Callable[[Any], Any], scan: Path) -> tuple[Tensor, Any]:
    item = transform({"image": str(scan)})
    if not isinstance(item, dict) or not isinstance(item.get("image"), Tensor):
        msg = f"{scan}: the preprocessing gives no single image"
        raise OrganCamError(msg)
    return item["image"], item.get("volume", item["image"])
