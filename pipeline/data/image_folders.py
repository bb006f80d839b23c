"""2D images of a folder as it lies on disk."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ConfigError
from .found import Finds, FoundScan, Passed
from .images import IMAGE_SUFFIXES, is_image_file, without_image_ending

__all__ = ["images_of_folder"]

CHESTXRAY14 = re.compile(r"(?P<patient>\d{8})_\d{3}")


def images_of_folder(folder: Path) -> Finds:
    """All 2D images of a folder and of those below it (ChestX-ray14 keeps twelve of them), hidden files aside.

    Returns:
        Images by path. An id is the file's name without its ending, which is what tables of labels and boxes name; the
        patient is part of the name in ChestX-ray14, so that a patient's images stay in one split, and not known of
        others.

    Raises:
        ConfigError: if there is none.
    """
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    images = [file for file in files if is_image_file(file)]
    if not images:
        msg = f"data.images: {folder} holds no 2D image ({', '.join(IMAGE_SUFFIXES)}), {len(files)} other files"
        raise ConfigError(msg)
    others = [
        Passed(file, f"files that are no images ({file.suffix.lower() or 'no ending'})")
        for file in files
        if not is_image_file(file)
    ]
    return Finds(tuple(map(_scan, images)), tuple(others))


def _scan(file: Path) -> FoundScan:
    name = without_image_ending(file.name)
    match = CHESTXRAY14.fullmatch(name)
    return FoundScan(name, file, match["patient"] if match else name)
