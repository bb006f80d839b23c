"""OrganIoU: how much of a lit attention map lies where the label's evidence may lie.

Draelos and Carin, "Explainable multiple abnormality classification of chest CT volumes", section on OrganIoU. Despite
its name it is a precision, allowed / (allowed + forbidden), and it has no union in it.

Differences from the published code (``fidelity="reference"`` restores the first):
    * a map that lights allowed cells only scores 1; the published code gives 0 as soon as no forbidden cell is lit, so
      that a perfect map is punished and thresholds are drawn to low values;
    * maps of a batch are scored together, and all thresholds of a curve in one pass over the cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import did_you_mean
from ..thresholds import THRESHOLDS

__all__ = [
    "Fidelity",
    "normalise_map",
    "organ_counts",
    "organ_iou",
    "organ_iou_curve",
    "validate_fidelity",
    "validate_levels",
]

Fidelity = Literal["default", "reference"]


def normalise_map(attention: Tensor) -> Tensor:
    """Scale every map to [0, 1]: negative values to 0, minus the minimum, divided by the maximum.

    The published ``clip_and_norm_volume``: per scan and label over all cells, not per slab. A map that is zero or
    constant after clipping (all negative, or the same everywhere) becomes zero. Normalising twice changes nothing.

    Args:
        attention: raw signed maps, ``[B, M, *grid]``; half precision is raised to float32.

    Returns:
        Maps of the same shape in float32 (float64 for float64 input).

    Raises:
        ValueError: if there is no grid, or a value is NaN or infinite.

    Example:
        >>> normalise_map(torch.tensor([[[-3.0, 0.0, 1.0, 4.0]]])).tolist()
        [[[0.0, 0.0, 0.25, 1.0]]]
    """
    _validate_maps(attention)
    dtype = torch.float64 if attention.dtype == torch.float64 else torch.float32
    clipped = attention.detach().to(dtype).clamp_min(0).flatten(2)
    shifted = clipped - clipped.amin(-1, keepdim=True)
    largest = shifted.amax(-1, keepdim=True)
    return (shifted / torch.where(largest > 0, largest, 1)).view(attention.shape)


def organ_counts(attention: Tensor, allowed: Tensor, thresholds: Sequence[float] = THRESHOLDS) -> tuple[Tensor, Tensor]:
    """Count lit allowed and lit forbidden cells of every map at every threshold.

    A cell is lit where its normalised value is strictly greater than the threshold, both in float32 as in the
    published code.

    Args:
        attention: raw signed (or normalised) maps, ``[B, M, *grid]``.
        allowed: bool or 0/1, same shape; 1 where evidence may lie.
        thresholds: ascending values in [0, 1), T of them.

    Returns:
        Two int64 tensors ``[B, M, T]``: lit allowed cells, lit forbidden cells.

    Raises:
        ValueError: for different shapes, values other than 0 and 1, non-finite maps, or unsorted thresholds.
    """
    _validate_pair(attention, allowed)
    levels = validate_levels(thresholds).to(attention.device)
    values = normalise_map(attention).to(torch.float32).flatten(2)
    bins = levels.numel() + 1
    # bin = number of thresholds strictly below the value, so that a cell is lit at threshold j where its bin is > j
    bin_of_cell = torch.bucketize(values, levels) + bins * allowed.flatten(2).to(torch.int64)
    histogram = torch.zeros(*values.shape[:2], 2 * bins, dtype=torch.int64, device=values.device)
    histogram.scatter_add_(-1, bin_of_cell, torch.ones_like(bin_of_cell))
    lit = histogram.unflatten(-1, (2, bins)).flip(-1).cumsum(-1).flip(-1)[..., 1:]
    return lit[..., 1, :], lit[..., 0, :]


def organ_iou_curve(
    attention: Tensor, allowed: Tensor, thresholds: Sequence[float] = THRESHOLDS, fidelity: Fidelity = "default"
) -> Tensor:
    """OrganIoU of every map at every threshold, in one pass over the cells.

    Args:
        attention: raw signed (or normalised) maps, ``[B, M, *grid]``.
        allowed: bool or 0/1, same shape; 1 where evidence may lie.
        thresholds: ascending values in [0, 1), T of them.
        fidelity: as in :func:`organ_iou`.

    Returns:
        ``[B, M, T]`` in [0, 1], float64.

    Raises:
        ValueError: see :func:`organ_counts`; or ``fidelity`` is unknown.

    Example:
        >>> attention = torch.tensor([[[4.0, 2.0, 1.0, 0.0]]])
        >>> organ_iou_curve(attention, torch.tensor([[[1, 0, 0, 0]]]), thresholds=(0.1, 0.3, 0.6)).tolist()
        [[[0.3333333333333333, 0.5, 1.0]]]
    """
    return _score(*organ_counts(attention, allowed, thresholds), fidelity)


def organ_iou(
    attention: Tensor, allowed: Tensor, threshold: float | Sequence[float] | Tensor, fidelity: Fidelity = "default"
) -> Tensor:
    """OrganIoU of every map: lit allowed cells / all lit cells.

    Every map is scored, whether its label is present or not; pool over pairs with a present label only (see
    :class:`organcam.metrics.OrganIoU`, which does).

    Args:
        attention: raw signed (or normalised) maps, ``[B, M, *grid]``.
        allowed: bool or 0/1, same shape; 1 where evidence may lie.
        threshold: one value in [0, 1), or one per label, ``[M]`` (from ``find_thresholds``); a cell is lit where
            the normalised map is strictly greater.
        fidelity: ``"default"`` scores a map without a lit forbidden cell 1, ``"reference"`` 0, as the published code
            does whenever either count is 0. An empty map scores 0 in both.

    Returns:
        ``[B, M]`` in [0, 1], float64.

    Raises:
        ValueError: for different shapes, values of ``allowed`` other than 0 and 1, non-finite maps, a threshold outside
            [0, 1) or NaN (see ``fill_thresholds``), or an unknown ``fidelity``.

    Example:
        >>> attention = torch.tensor([[[9.0, 8.0, 7.0, -5.0]]])
        >>> organ_iou(attention, torch.tensor([[[1, 1, 0, 0]]]), threshold=0.5).item()
        0.6666666666666666
    """
    _validate_pair(attention, allowed)
    level = _validate_threshold(threshold, attention.shape[1]).to(attention.device)
    lit = normalise_map(attention).to(torch.float32).flatten(2) > level.view(-1, 1)
    inside = lit & allowed.flatten(2).to(torch.bool)
    return _score(inside.sum(-1), (lit & ~inside).sum(-1), fidelity)


def _score(allowed: Tensor, forbidden: Tensor, fidelity: Fidelity) -> Tensor:
    validate_fidelity(fidelity)
    dtype = torch.float32 if allowed.device.type == "mps" else torch.float64  # Apple GPUs have no float64
    score = allowed.to(dtype) / (allowed + forbidden).clamp_min(1)
    return score if fidelity == "default" else score.masked_fill(forbidden == 0, 0)


def validate_fidelity(fidelity: str) -> None:
    """Refuse what is neither of the two."""
    if fidelity not in get_args(Fidelity):
        msg = f"fidelity={fidelity!r} is unknown; {did_you_mean(str(fidelity), get_args(Fidelity))}"
        raise ValueError(msg)


def _validate_maps(attention: Tensor) -> None:
    if attention.ndim < 3 or attention.numel() == 0:
        msg = f"attention must be [B, M, *grid] with at least one cell, got {tuple(attention.shape)}"
        raise ValueError(msg)
    if not torch.isfinite(attention).all():
        scan, label = (~torch.isfinite(attention.flatten(2))).any(-1).nonzero()[0].tolist()
        msg = f"attention holds NaN or infinity, first in scan {scan} of the batch, label {label}"
        raise ValueError(msg)


def _validate_pair(attention: Tensor, allowed: Tensor) -> None:
    if attention.shape != allowed.shape:
        msg = (
            f"attention and allowed must have the same shape [B, M, *grid], got {tuple(attention.shape)} "
            f"and {tuple(allowed.shape)}"
        )
        raise ValueError(msg)
    if allowed.dtype != torch.bool and not ((allowed == 0) | (allowed == 1)).all():
        msg = f"allowed must hold 0 and 1 only, got values from {allowed.min().item()} to {allowed.max().item()}"
        raise ValueError(msg)


def _validate_threshold(threshold: float | Sequence[float] | Tensor, labels: int) -> Tensor:
    values = torch.as_tensor(threshold, dtype=torch.float32).detach().reshape(-1)
    if values.numel() not in (1, labels):
        msg = f"threshold must be one value or one per label ({labels}), got {values.numel()}"
        raise ValueError(msg)
    if values.isnan().any():
        missing = values.isnan().nonzero().flatten().tolist()
        msg = f"threshold is NaN for labels {missing}: no validation scan has them; see fill_thresholds"
        raise ValueError(msg)
    if not ((values >= 0) & (values < 1)).all():
        msg = f"threshold must lie in [0, 1), got {values.min().item()} to {values.max().item()}"
        raise ValueError(msg)
    return values


def validate_levels(thresholds: Sequence[float]) -> Tensor:
    """Thresholds as a tensor; refused unless they rise within [0, 1)."""
    levels = torch.as_tensor(thresholds, dtype=torch.float32).reshape(-1)
    if levels.numel() == 0 or not ((levels >= 0) & (levels < 1)).all() or not (levels.diff() > 0).all():
        msg = f"thresholds must be ascending values in [0, 1), got {levels.tolist()}"
        raise ValueError(msg)
    return levels
