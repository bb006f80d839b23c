"""Whether what a network gives fits the labels and the regions, told in words before a loss stumbles over shapes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import ConfigError
from ..modules import unwrap

__all__ = ["require_fit"]


def require_fit(network: nn.Module, prediction: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    """Compare numbers of labels and grids of cells.

    Args:
        network: that made the prediction.
        prediction: ``logits`` ``[B, M]`` and, if asked for, ``attention`` ``[B, M, *grid]``.
        target: ``label`` ``[B, M]`` and, where the batch has regions, ``allowed`` ``[B, M, *grid]``. Labels of another
            form are for a loss of the caller's own, and are not looked at.

    Raises:
        ConfigError: naming the network and both numbers.
    """
    name = type(unwrap(network)).__name__
    logits, labels = prediction["logits"], target.get("label")
    if labels is not None and labels.ndim == 2 and logits.shape != labels.shape:
        given = f"{logits.shape[1]} outputs" if logits.ndim == 2 else f"logits of shape {list(logits.shape)}"
        msg = f"network: {name} gives {given} for the {labels.shape[1]} labels of this training: take num_labels for it"
        raise ConfigError(msg)
    if "attention" not in prediction or "allowed" not in target:
        return
    found, wanted = (tuple(cells.shape[2:]) for cells in (prediction["attention"], target["allowed"]))
    if prediction["attention"].ndim < 3 or found != wanted:
        msg = (
            f"network: {name} gives attention of {_cells(found)} cells, but the regions were laid on {_cells(wanted)}: "
            "its feature_grid and its maps must agree"
        )
        raise ConfigError(msg)


def _cells(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid)) or "no"
