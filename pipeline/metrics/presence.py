"""One rule for losses and metrics: when a label is present."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from torch import Tensor

__all__ = ["is_present"]

Labels = TypeVar("Labels", Tensor, np.ndarray)


def is_present(labels: Labels) -> Labels:
    """Whether each label is present: above 0.5, so that smoothed and averaged labels count as their nearer class.

    Args:
        labels: of any shape and number type, numpy or torch.

    Returns:
        bool, same shape and kind.

    Raises:
        ValueError: if a label is NaN; an unknown label has to be left out or decided before.

    Example:
        >>> is_present(np.array([0, 0.3, 0.5, 0.7, 1])).tolist()
        [False, False, False, True, True]
    """
    unknown = labels != labels  # noqa: PLR0124 - NaN, of either kind
    if bool(unknown.any()):
        msg = (
            f"labels hold NaN ({int(unknown.sum())} of {math.prod(labels.shape)}); decide or leave out what is unknown"
        )
        raise ValueError(msg)
    return labels > 0.5
