"""Where a report says a finding lies along the axis: "series 3, image 40" as millimetres, by the series' headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray

from ..data.readers import is_dicom_folder
from ..errors import DataError

__all__ = ["Slices", "mentioned_mm", "slices_of_series"]

Slices = Mapping[tuple[str, str], float]
"""(series number, image number), both as text, to the position of the slice along the patient's axis, mm (superior)."""

SERIES, IMAGE, POSITION = "0020|0011", "0020|0013", "0020|0032"


def slices_of_series(folders: Path | Iterable[Path]) -> dict[tuple[str, str], float]:
    """Positions of all slices of some series, from their headers alone; slices without a number are passed over.

    Args:
        folders: one series each.

    Raises:
        DataError: if a folder holds no DICOM files.
    """
    found: dict[tuple[str, str], float] = {}
    for folder in [folders] if isinstance(folders, Path) else folders:
        if not is_dicom_folder(folder):
            msg = f"{folder}: no DICOM series, whose headers number its images"
            raise DataError(msg)
        for path in sorted(folder.iterdir()):
            header = _header(path)
            image, place = header.get(IMAGE, ""), header.get(POSITION, "").split("\\")
            if image and len(place) == 3:
                found[header.get(SERIES, ""), str(int(image))] = float(place[2])
    return found


def mentioned_mm(
    findings: pd.DataFrame, slices: Slices, cells: Mapping[str, Sequence[str]], labels: Sequence[str]
) -> NDArray[np.float64]:
    """Positions of the slices that one report names for each label, for ``axial_error``.

    A mention without a series belongs to the only series that has such an image; where several have, it is left out.

    Args:
        findings: rows of one report of ``findings.csv``: ``abnormality, status, series, image``.
        slices: of ``slices_of_series``.
        cells: label -> abnormalities that make it present.
        labels: the M labels.

    Returns:
        ``[M, K]`` mm, NaN where there are fewer; K may be 0.
    """
    named: list[list[float]] = []
    for label in labels:
        rows = findings[findings["abnormality"].isin(list(cells[label])) & (findings["status"] == "present")]
        own: list[float] = []
        for series, image in dict.fromkeys(zip(rows["series"], rows["image"], strict=True)):
            own += _position(str(series).strip(), str(image).strip(), slices)
        named.append(own)
    width = max((len(own) for own in named), default=0)
    found = np.full((len(labels), width), np.nan)
    for row, own in enumerate(named):
        found[row, : len(own)] = own
    return found


def _position(series: str, image: str, slices: Slices) -> list[float]:
    if not image.isdigit():
        return []
    number = str(int(image))
    if series:
        return [slices[series, number]] if (series, number) in slices else []
    known = [position for (_, each), position in slices.items() if each == number]
    return known if len(known) == 1 else []


def _header(path: Path) -> dict[str, str]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return {}
    return {key: reader.GetMetaData(key).strip() for key in (SERIES, IMAGE, POSITION) if reader.HasMetaDataKey(key)}
