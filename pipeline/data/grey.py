"""The scale that 2D images are stored on, for those who need no image library to know it."""

from __future__ import annotations

from typing import Literal

__all__ = ["CHANNELS", "WHITE", "Grey"]

WHITE = 255 * 128
"""Stored value of white, black being 0: values of 8 bits stay exact, those of 16 bits keep 15."""

CHANNELS = (1, 3)
"""Numbers of channels that an image may be stored with: grey, or red, green and blue."""

Grey = Literal["depth", "percentile"] | tuple[float, float]
"""What becomes black and white, see `organcam.data.images.grey_limits`."""
