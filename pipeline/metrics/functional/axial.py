"""How far along the body's axis a map's evidence lies from the slice that a report names ("series 3, image 40").

Such mentions are truth that every hospital has: nobody drew anything for them. They say nothing about the place within
the slice.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .checks import validate_maps

__all__ = ["axial_error"]


def axial_error(attention: Tensor, centres_mm: Tensor, mentioned_mm: Tensor) -> Tensor:
    """Distance along the axis from the slab with the most positive evidence to the nearest slice that was named.

    Does not change when a map is multiplied by a positive number. A guess at the middle of the scan is the figure to
    beat: a map that is the same in all slabs has its peak in the first one.

    Args:
        attention: raw signed maps, ``[B, M, S, *rest]``, slabs along the first axis of the grid.
        centres_mm: centre of each slab along the axis, ``[S]`` or ``[B, S]``, mm in any frame.
        mentioned_mm: slices that were named for each label in that frame, ``[B, M, K]`` (or ``[B, M]``), NaN for none.

    Returns:
        ``[B, M]`` mm; NaN for a label without a mention, and for a map without positive evidence, which points nowhere
        (count those).

    Raises:
        ValueError: if the shapes do not fit, or maps or centres are not finite.

    Example:
        >>> attention = torch.tensor([[[[1.0, 1.0], [3.0, 0.0], [0.0, -9.0]]]])  # evidence 2, 3 and 0
        >>> axial_error(attention, torch.tensor([0.0, 5.0, 10.0]), torch.tensor([[8.5]])).item()
        3.5
    """
    validate_maps(attention)
    batch, labels, slabs = attention.shape[:3]
    centres = torch.as_tensor(centres_mm, dtype=torch.float64)
    centres = centres.expand(batch, slabs) if centres.shape in {(slabs,), (batch, slabs)} else centres
    named = torch.as_tensor(mentioned_mm, dtype=torch.float64)
    named = named[..., None] if named.ndim == 2 else named
    if centres.shape != (batch, slabs) or named.ndim != 3 or named.shape[:2] != (batch, labels):
        msg = (
            f"maps {tuple(attention.shape)} need centres_mm [{slabs}] or [{batch}, {slabs}] and mentioned_mm "
            f"[{batch}, {labels}, K], got {tuple(centres.shape)} and {tuple(named.shape)}"
        )
        raise ValueError(msg)
    if not torch.isfinite(centres).all():
        msg = "centres_mm holds NaN or infinity"
        raise ValueError(msg)
    evidence = attention.detach().cpu().to(torch.float64).clamp_min(0).flatten(3).sum(-1)
    most, slab = evidence.max(-1)
    at = centres.gather(1, slab)
    distance = (named - at[..., None]).abs()
    nearest = distance.masked_fill(distance.isnan(), torch.inf).amin(-1) if named.shape[-1] else at * torch.inf
    return nearest.masked_fill(~torch.isfinite(nearest) | (most <= 0), float("nan"))
