"""The three lines that make an existing MONAI bundle write attention maps, with that bundle's own names in them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from monai.bundle import ConfigParser
from torch import Tensor, nn

from ..attention.targets import logits_of
from ..contract import contract_of
from ..errors import ConfigError, OrganCamError, did_you_mean
from ..injection.layers import MapLayer, automatic_layers, map_layers
from ..modules import find_module

__all__ = ["BundleOverlay", "built", "choose_config", "first_layer", "overlay_of", "parser_of", "read_config"]

PREFERRED = ("inference", "evaluate", "train")
SMALLEST = 64
SHOWN = 6
REFERENCE = re.compile(r"@((?:\w+(?:::|#))*\w+)")


@dataclass(frozen=True)
class BundleOverlay:
    """Lines for one configuration of a bundle.

    Attributes:
        config: its file.
        text: the three lines of YAML.
        layers: layers that give maps, the one to try first at the front.
        network: class of the network.
    """

    config: Path
    text: str
    layers: tuple[MapLayer, ...]
    network: str


def overlay_of(bundle: str | Path, config: str | None = None, layer: str | None = None) -> BundleOverlay:
    """Read a bundle and write the lines for it.

    The network is built as the bundle's configuration says, which runs whatever code it names: for bundles that one
    trusts. Its weights are not read and it does not compute; only shapes are sent through it.

    Args:
        bundle: its folder.
        config: name of one of its configurations, such as "inference"; None for the first of inference, evaluate and
            train that has an evaluator.
        layer: the layer to explain; None for the first candidate.

    Raises:
        ConfigError: if the folder is no bundle, has no such configuration, or the network no such layer.
        OrganCamError: if the network cannot be built.
    """
    root = Path(bundle)
    path, content = choose_config(root, config)
    prefix, evaluator = _evaluator_of(content)
    network_id = _reference(evaluator.get("network")) or "network"
    network = _build(root, path, content, network_id)
    layers, segmentation, volume = _look(network, root)
    chosen = layer or layers[0].name
    try:
        find_module(network, chosen)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    words = {
        "_target_": "organcam.handlers.AttentionSaver",
        "network": f"@{network_id}",
        "layer": chosen,
        "output_dir": "@output_dir" if "output_dir" in content else "attention",
    }
    how: dict[str, Any] = {"targets": [1] if segmentation else "predicted"}
    if volume:
        how |= {"file_format": "nifti", "space": "source"}
    text = f"{_place(prefix, evaluator)}:\n- {{{_inline(words)},\n   {_inline(how)}}}\n"
    return BundleOverlay(path, text, tuple(layers), type(network).__name__)


def _inline(words: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {json.dumps(value) if str(value)[:1] in '@[' else value}" for key, value in words.items())


def choose_config(root: Path, name: str | None) -> tuple[Path, dict[str, Any]]:
    """A configuration of a bundle by name, or the first with an evaluator, and what it holds."""
    folder = root / "configs"
    files = [path for path in sorted(folder.glob("*")) if path.suffix in {".json", ".yaml", ".yml"}]
    files = [path for path in files if path.stem != "metadata"]
    if not files:
        msg = f"{root} is no MONAI bundle: it has no configurations in configs/"
        raise ConfigError(msg)
    if name is not None:
        found = [path for path in files if name in (path.stem, path.name)]
        if not found:
            msg = f"{root} has no configuration {name!r}: {did_you_mean(name, [path.stem for path in files])}"
            raise ConfigError(msg)
        return found[0], read_config(found[0])
    ranked = sorted(files, key=lambda path: PREFERRED.index(path.stem) if path.stem in PREFERRED else len(PREFERRED))
    for path in ranked:
        content = read_config(path)
        if _has_evaluator(content):
            return path, content
    msg = (
        f"{root}: none of {', '.join(path.name for path in files)} has an evaluator, to which attention could be added"
    )
    raise ConfigError(msg)


def read_config(path: Path) -> dict[str, Any]:
    """A configuration as plain data; nothing is evaluated."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{path}: not a readable configuration ({type(error).__name__})"
        raise ConfigError(msg) from None
    if not isinstance(content, dict):
        msg = f"{path}: a configuration holds names and values"
        raise ConfigError(msg)
    return content


def _has_evaluator(content: Mapping[str, Any]) -> bool:
    return isinstance(content.get("evaluator"), dict) or isinstance(
        (content.get("validate") or {}).get("evaluator"), dict
    )


def _evaluator_of(content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Id of the evaluator and what it says; that of validation in a training."""
    if isinstance(content.get("evaluator"), dict):
        return "evaluator", content["evaluator"]
    inner = content.get("validate")
    if isinstance(inner, dict) and isinstance(inner.get("evaluator"), dict):
        return "validate#evaluator", inner["evaluator"]
    msg = "this configuration has no evaluator (evaluator, or validate#evaluator), to which attention could be added"
    raise ConfigError(msg)


def _reference(value: Any) -> str | None:
    """The id in ``"@id"`` or within an expression."""
    found = REFERENCE.search(value) if isinstance(value, str) else None
    return found[1].replace("::", "#") if found else None


def _place(evaluator: str, content: Mapping[str, Any]) -> str:
    """Where the handler goes: the list that the evaluator takes its handlers from.

    In a training those are validation's own: its training handlers are cut by position on all but the first process.
    """
    handlers = content.get("val_handlers")
    if handlers is None:
        return f"{evaluator}#val_handlers"
    if isinstance(handlers, list):
        return f"+{evaluator}#val_handlers"
    return f"+{_reference(handlers) or 'handlers'}"


def parser_of(root: Path, content: Mapping[str, Any]) -> ConfigParser:
    """A configuration that is about to be built, on the processor and wherever the bundle lies."""
    parser = ConfigParser(deepcopy(dict(content)))
    metadata = root / "configs" / "metadata.json"
    if metadata.is_file():
        parser["_meta_"] = read_config(metadata)
    if "bundle_root" in content:
        parser["bundle_root"] = str(root.absolute())
    if "device" in content:
        parser["device"] = "$torch.device('cpu')"
    return parser


def built(parser: ConfigParser, root: Path, path: Path, name: str) -> Any:
    """One part of a bundle, built; its own scripts are found as MONAI's run finds them.

    Raises:
        OrganCamError: if it cannot be.
    """
    sys.path.insert(0, str(root.absolute()))
    try:
        return parser.get_parsed_content(name)
    except Exception as error:
        reason = " ".join(str(error.__cause__ or error).split())
        msg = f"{path}: its {name.partition('_')[0]} cannot be built ({reason})"
        raise OrganCamError(msg) from error
    finally:
        sys.path.remove(str(root.absolute()))


def _build(root: Path, path: Path, content: dict[str, Any], network_id: str) -> nn.Module:
    parser, wanted = parser_of(root, content), "network_def" if "network_def" in content else network_id
    network = built(parser, root, path, wanted)
    if not isinstance(network, nn.Module):
        msg = f"{path}: {wanted} is no network but {type(network).__name__}"
        raise ConfigError(msg)
    return network


def first_layer(network: nn.Module, root: Path) -> str | None:
    """The layer to explain where nobody says which: the network's own (None), or the first candidate."""
    if contract_of(network).attention_layer:
        return None
    return _look(network, root)[0][0].name


def _look(network: nn.Module, root: Path) -> tuple[list[MapLayer], bool, bool]:
    """Layers that give maps, whether it is a segmentation, and whether it takes volumes."""
    shape = _input_shape(root)
    output: list[Any] = []
    try:
        layers = _layers_of(deepcopy(network).to("meta"), torch.empty(1, *shape, device="meta"), output)
    except Exception:
        try:
            layers = _layers_of(network.cpu(), torch.zeros(1, *shape), output)
        except Exception as error:
            reason = " ".join(str(error).split())
            msg = f"{root}: its network does not take the inputs {list(shape)} of metadata.json ({reason})"
            raise OrganCamError(msg) from error
    segmentation = logits_of(output[-1]).ndim > 2
    known = {one.name: one for one in layers}
    ranked: dict[tuple[int, ...], MapLayer] = {}
    for name in automatic_layers(layers, segmentation):
        ranked.setdefault(known[name].grid, known[name])  # of each resolution the best one
    if not ranked:
        msg = f"{type(network).__name__} has no layer with more than one cell along every axis of inputs {list(shape)}"
        raise OrganCamError(msg)
    return list(ranked.values())[:SHOWN], segmentation, len(shape) == 4


def _layers_of(network: nn.Module, x: Tensor, output: list[Any]) -> list[MapLayer]:
    return map_layers(network, lambda: output.append(network(x)), x.shape)


def _input_shape(root: Path) -> tuple[int, ...]:
    """``(C, *voxels)`` of one input, by metadata.json."""
    path = root / "configs" / "metadata.json"
    try:
        described = read_config(path)["network_data_format"]["inputs"]
        first = described.get("image") or next(iter(described.values()))
        return (int(first["num_channels"]), *(_size(one) for one in first["spatial_shape"]))
    except (KeyError, TypeError, StopIteration, ValueError, AttributeError) as error:
        msg = f"{path}: network_data_format.inputs does not say num_channels and spatial_shape ({error})"
        raise ConfigError(msg) from None


def _size(value: Any) -> int:
    """A legal size for a number, or for a rule such as "16*n", "2**p*n" or "*"."""
    if isinstance(value, int):
        return value
    digits = re.match(r"\s*(\d+)", str(value))
    step = int(digits[1]) if digits else SMALLEST
    return step * -(-SMALLEST // step)
