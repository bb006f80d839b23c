"""Splits of 2D data sets told by lists of names, one a line: ChestX-ray14's and PASCAL VOC's."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError, did_you_mean
from .images import without_image_ending

__all__ = ["listed_images"]

SPLIT_OF_LIST = {
    **dict.fromkeys(("train", "train_val_list"), "train"),
    **dict.fromkeys(("val", "valid"), "valid"),
    **dict.fromkeys(("test", "test_list"), "test"),
}
"""Name of a list without its ending -> split."""

EVERY = 11
"""Of ChestX-ray14's training list each eleventh patient is for validation: about as many as the 8,040 of 86,524 images
that PYLON's authors drew."""


def listed_images(path: Path) -> list[tuple[str, str]]:
    """Image and split of every line of a list.

    Args:
        path: ``train_val_list.txt`` or ``test_list.txt`` of ChestX-ray14, or ``train.txt`` and ``val.txt`` of PASCAL
            VOC's ``ImageSets/Main`` or ``ImageSets/Segmentation``.

    Raises:
        ConfigError: if it cannot be read, its name tells no split, or it has no line.
    """
    split = SPLIT_OF_LIST.get(path.stem.lower())
    if split is None:
        msg = f"data.splits: {path}: the name of a list tells its split; {did_you_mean(path.stem, SPLIT_OF_LIST)}"
        raise ConfigError(msg)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"data.splits: {path}: cannot be read as text ({type(error).__name__})"
        raise ConfigError(msg) from None
    names = [without_image_ending(line.split()[0]) for line in lines if line.strip()]
    if not names:
        msg = f"data.splits: {path} names no image"
        raise ConfigError(msg)
    if path.stem.lower() != "train_val_list":
        return [(name, split) for name in names]
    return [(name, "valid" if _is_set_aside(name) else split) for name in names]


def _is_set_aside(name: str) -> bool:
    patient = name.partition("_")[0]
    return patient.isdigit() and int(patient) % EVERY == 0
