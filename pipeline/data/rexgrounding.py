"""ReXGroundingCT's masks as known lesions: label maps and rows of a table, as ``data.lesions`` takes them.

On disk: one JSON of all cases, ``{"train": [{"name": "train_1_a_1.nii.gz", "findings": {"0": "..."}}, ...], ...}``, and
a NIfTI file of masks a case, ``[F, H, W, D]``, one for each finding in the order of their numbers, on the voxels of the
CT-RATE volume of that name (Baharoon and others, 2025, arXiv 2507.22030). The affine of a file whose first axis counts
findings says nothing of the patient; that of the CT does. Several findings of a case may share voxels, so that a case
may need several label maps. Abnormality and location are read out of the finding's sentence by the report parser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from organcam.nlp import ReportParser, cells

from ..errors import ConfigError, DataError
from .formats.layout import read_voxels
from .formats.nifti import read_header
from .readers import read_geometry, without_ending

__all__ = ["Case", "label_maps", "read_cases"]

Case = tuple[str, Mapping[int, str]]
"""Scan id, and the sentence of each finding by its number."""

LARGEST_JSON = 1 << 28
MOST_FINDINGS = 1000
Rows = list[tuple[int, str, str]]


def read_cases(path: Path) -> list[Case]:
    """All cases of the JSON, whatever split they are in.

    Raises:
        ConfigError: if it is missing or of another form.
    """
    try:
        if path.stat().st_size > LARGEST_JSON:
            msg = f"{path}: is larger than {LARGEST_JSON >> 20} MiB, which no table of findings is"
            raise ConfigError(msg)
        document = json.loads(path.read_text(encoding="utf-8"))
        cases = [case for part in document.values() for case in part] if isinstance(document, dict) else document
        return [(without_ending(str(case["name"])), _sentences(case["findings"])) for case in cases]
    except OSError as error:
        msg = f"{path}: {(error.strerror or 'cannot be read').lower()}"
        raise ConfigError(msg) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{path}: is not ReXGroundingCT's list of cases with 'name' and 'findings' ({type(error).__name__})"
        raise ConfigError(msg) from None


def label_maps(
    sentences: Mapping[int, str], mask: Path, image: Path, parser: ReportParser, max_voxels: int
) -> tuple[list[tuple[NDArray[np.uint16], Rows]], NDArray[np.float64], list[int]]:
    """The findings of a case as label maps on the voxels of its CT.

    Args:
        sentences: of the findings by number.
        mask: ``[F, H, W, D]``, above 0 where the finding is.
        image: the CT, for its affine.
        parser: reads abnormality and location out of a sentence.
        max_voxels: largest mask that is read.

    Returns:
        Label maps, each with its rows (value, abnormality, location), where a value is the finding's number plus 1; the
        affine; and the numbers of findings with an empty mask, or a sentence that names nothing of the vocabulary.

    Raises:
        DataError: if the mask does not fit the CT or the sentences.
    """
    shape, affine = read_geometry(image)
    layout = read_header(mask).layout
    if len(layout.shape) != len(shape) + 1 or tuple(layout.shape[1:]) != tuple(shape):
        told, wanted = (" x ".join(map(str, one)) for one in (layout.shape, shape))
        msg = f"{mask}: has {told} voxels; a mask for each finding of the {wanted} voxels of {image.name} is needed"
        raise DataError(msg)
    if sentences and max(sentences) >= layout.shape[0]:
        msg = f"{mask}: holds {layout.shape[0]} masks, and its case names finding {max(sentences)} (counted from 0)"
        raise DataError(msg)
    voxels = read_voxels(layout, mask, max_voxels)
    maps: list[tuple[NDArray[np.uint16], Rows]] = []
    unknown = []
    for number, sentence in sorted(sentences.items()):
        found, there = sorted(cells(parser.parse(sentence))), voxels[number] > 0
        if not found or not there.any():
            unknown.append(number)
            continue
        place = next((own for own in maps if not own[0][there].any()), None)
        if place is None:
            place = (np.zeros(shape, np.uint16), [])
            maps.append(place)
        place[0][there] = number + 1
        place[1].extend((number + 1, abnormality, location) for abnormality, location in found)
    return maps, affine, unknown


def _sentences(findings: Mapping[str, Any] | Sequence[Any]) -> dict[int, str]:
    items = findings.items() if isinstance(findings, Mapping) else enumerate(findings)
    numbered = {int(number): str(sentence) for number, sentence in items}
    if any(not 0 <= number < MOST_FINDINGS for number in numbered):
        msg = "a finding's number is out of range"
        raise ValueError(msg)
    return numbered
