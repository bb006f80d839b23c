"""PNG and JPEG, by Pillow: sizes are looked at before a pixel is decoded, checksums where the format has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import DataError

__all__ = ["read_picture", "read_size"]

FORMATS = ("PNG", "JPEG")
"""The only decoders that are tried, whatever a file's name ends in."""

GREY, GREY_16 = ("1", "L"), ("I", "I;16", "I;16B", "I;16L")


def read_size(path: Path) -> tuple[int, int]:
    """Rows and columns, by the header alone.

    Raises:
        DataError: if it declares more pixels than Pillow lets pass.
    """
    with _opened(path) as image:
        return image.height, image.width


def read_picture(path: Path) -> tuple[NDArray, int]:
    """Pixels ``[C, H, W]`` as unsigned integers, and the value of white.

    C is 1 for grey, also where all three channels of a colour image are the same, and 3 for red, green, blue.
    Transparent pixels are laid on black, palettes and CMYK are turned into colours. The rows are as they are stored: an
    EXIF rotation is not applied, since boxes are drawn in stored pixels.

    Raises:
        DataError: for a kind of pixel that no radiograph has.
        OSError, SyntaxError: whatever Pillow raises for a damaged file.
    """
    with _opened(path) as image:
        if image.format == "PNG":
            image.verify()  # every chunk's checksum; a verified image cannot be read any more
    with _opened(path) as image:
        if image.mode in GREY_16:
            return np.asarray(image).astype(np.uint16)[None], 2**16 - 1
        if image.mode == "F":
            msg = f"{path}: holds fractions; save it as a PNG of 8 or 16 bits"
            raise DataError(msg)
        if image.mode in GREY:
            return np.asarray(image.convert("L"))[None], 255
        channels = np.moveaxis(np.asarray(_coloured(image)), -1, 0)
        grey = bool((channels[0] == channels[1]).all() and (channels[0] == channels[2]).all())
        return channels[:1] if grey else channels, 255


def _coloured(image: Image.Image) -> Image.Image:
    if image.mode in {"LA", "PA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")
    return image.convert("RGB")


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError:
        msg = f"{path}: declares more pixels than any radiograph has"
        raise DataError(msg) from None
    except Image.UnidentifiedImageError:
        msg = f"{path}: is no PNG and no JPEG, or its first bytes are damaged"
        raise DataError(msg) from None
