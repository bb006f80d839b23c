"""Weights that others trained: torchvision's and MedicalNet's files, torch hub's cache, and checkpoints of our own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError

__all__ = ["IMAGENET", "load_backbone_weights", "load_network_weights", "weights_file"]

IMAGENET = "imagenet"
"""Instead of a path: torchvision's ImageNet file of the backbone's name in torch hub's cache."""

CHECKSUM = "#sha256="
NESTED = ("weights", "state_dict", "model_state_dict", "model")
CLASSIFIERS = ("fc.", "classifier.", "class_layers.", "last_linear.", "_fc.")
PUBLISHED_NAME = re.compile(r"(?:resnet|densenet)\d+-([0-9a-f]{8})\.pth")
DENSE_LAYER = re.compile(r"(\.denselayer\d+)\.(norm|relu|conv)\.?(\d)\.")


def load_backbone_weights(backbone: nn.Module, source: str | Path, sha256: str | None = None) -> None:
    """Load a backbone's weights from a local file; nothing is downloaded and nothing is unpickled.

    Understood are state dicts of torchvision (its classifier is left out, ``num_batches_tracked`` may be absent, the
    DenseNets' names are translated), of MedicalNet (``{"state_dict": {"module.conv1.weight": ...}}``) and the models
    that ``organcam train`` writes, whose backbone is taken. Where the file's first convolution has three input channels
    and the backbone another number, it is adapted as the PYLON paper's code does: summed for one channel, the first two
    times 1.5 for two, and left as it is in the backbone for more than three.

    Args:
        backbone: changed in place. On the meta device, where there is nothing to fill, no file is opened.
        source: a file written by ``torch.save`` that holds tensors only (read with ``weights_only=True``), or
            "imagenet" for the backbone's file in torch hub's cache. ``FILE#sha256=DIGITS`` gives its checksum too.
        sha256: what the file's checksum must be or begin with. Torchvision's files have it in their names, where it is
            always compared.

    Raises:
        ConfigError: if the file is missing, unreadable, another one than its checksum says, or does not fit.
    """
    if any(parameter.is_meta for parameter in backbone.parameters()):
        return
    path = _cached(backbone) if str(source) == IMAGENET else weights_file(source)
    state = _tensors(path, _contents(path, sha256 or _checksum(source)))
    own = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    state = {name: value for name, value in (own or state).items() if not name.startswith(CLASSIFIERS)}
    state = {DENSE_LAYER.sub(r"\1.layers.\2\3.", name): value for name, value in state.items()}
    wanted = backbone.state_dict()
    _adapt_first_convolution(state, wanted)
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in wanted]
    unfit = [name for name in state if name in wanted and state[name].shape != wanted[name].shape]
    if missing or unknown or unfit:
        parts = {"missing": missing, "unknown": unknown, "of another shape": unfit}
        said = "; ".join(f"{len(names)} {kind} (first {names[0]!r})" for kind, names in parts.items() if names)
        msg = f"backbone weights {str(path)!r} do not fit {type(backbone).__name__}: {said}"
        raise ConfigError(msg)
    backbone.load_state_dict(state, strict=False)


def weights_file(source: str | Path) -> Path:
    """The path in what names a file of weights, without the checksum that may follow.

    Example:
        >>> weights_file("resnet.pth#sha256=f37072fd").name
        'resnet.pth'
    """
    return Path(str(source).partition(CHECKSUM)[0])


def load_network_weights(
    network: nn.Module,
    source: str | Path,
    sha256: str | None = None,
    labels: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """Start a network from another one's checkpoint: what fits in name and shape is taken, the rest stays fresh.

    The transfer of the PYLON paper, where the head of another label set is dropped.

    Args:
        network: changed in place.
        source: as for ``load_backbone_weights``, of a whole network.
        sha256: likewise.
        labels: of the network's outputs. Outputs of a model of `organcam train` that has others are left out, also
            where they are as many.

    Returns:
        Names of the network's tensors that stay fresh, in its order.

    Raises:
        ConfigError: if the file is missing, unreadable, another one than its checksum says, or nothing of it fits.
    """
    path = weights_file(source)
    contents = _contents(path, sha256 or _checksum(source))
    state = _tensors(path, contents)
    theirs = contents.get("labels") if isinstance(contents, Mapping) else None
    if labels is not None and theirs is not None and list(theirs) != list(labels):
        state = {name: value for name, value in state.items() if not _is_per_label(name, value, len(theirs))}
    wanted = network.state_dict()
    fit = {name: value for name, value in state.items() if name in wanted and value.shape == wanted[name].shape}
    if not any(name.endswith("weight") for name in fit):
        msg = f"weights {str(path)!r} do not fit {type(network).__name__}: no layer has the same name and shape"
        raise ConfigError(msg)
    network.load_state_dict(fit, strict=False)
    return tuple(name for name in wanted if name not in fit)


def _checksum(source: str | Path) -> str | None:
    return str(source).partition(CHECKSUM)[2] or None


def _is_per_label(name: str, value: Tensor, labels: int) -> bool:
    """Whether a tensor may hold a row a label; one of the backbone never does."""
    return not name.startswith("backbone.") and value.ndim > 0 and value.shape[0] == labels


def _contents(path: Path, sha256: str | None) -> Any:
    if not path.is_file():
        msg = f"weights {str(path)!r} not found; give the path of a local file (nothing is downloaded)"
        raise ConfigError(msg)
    published = PUBLISHED_NAME.fullmatch(path.name)
    for expected in (sha256, published and published[1]):
        if expected and not _digest(path).startswith(expected.lower()):
            msg = f"weights {str(path)!r} are damaged or another file: their SHA-256 is not {expected}..."
            raise ConfigError(msg)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged archives and refused pickles raise many types
        msg = f"weights {str(path)!r} cannot be read as a file of tensors: {_first_line(error)}"
        raise ConfigError(msg) from error


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    """The tensors of a file by name, without the wrappings that training code adds."""
    if isinstance(state, Mapping):
        state = next((state[key] for key in NESTED if isinstance(state.get(key), Mapping)), state)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        msg = f"weights {str(path)!r} must hold a state dict (name -> tensor)"
        raise ConfigError(msg)
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _cached(backbone: nn.Module) -> Path:
    name = getattr(backbone, "name", None)
    if not isinstance(name, str):
        msg = f"{type(backbone).__name__} has no ImageNet weights; give the path of a local file"
        raise ConfigError(msg)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    found = sorted(path for path in folder.glob(f"{name}-*.pth") if PUBLISHED_NAME.fullmatch(path.name))
    if len(found) == 1:
        return found[0]
    if found:
        msg = f"several ImageNet files of {name} in {folder}: {', '.join(path.name for path in found)}; give one's path"
    else:
        msg = (
            f"no ImageNet weights of {name} in {folder}, and nothing is downloaded: put torchvision's file "
            f"{name}-<8 digits>.pth there (torchvision fetches it on a machine with a network), or give a file's path"
        )
    raise ConfigError(msg)


def _adapt_first_convolution(state: dict[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    first = next((name for name, value in wanted.items() if value.ndim >= 4), None)
    if first is None or first not in state:
        return
    given, channels = state[first], wanted[first].shape[1]
    if given.ndim != wanted[first].ndim or given.shape[1] != 3 or channels == 3:
        return
    if channels == 1:
        state[first] = given.sum(1, keepdim=True)
    elif channels == 2:
        state[first] = given[:, :2] * 1.5
    elif given.shape[0] == wanted[first].shape[0]:
        state[first] = wanted[first]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
