"""``organcam rexgrounding``: lesions.csv and label maps of ReXGroundingCT for ``data.lesions``, case by case."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from organcam.nlp import ReportParser

from ..data.discover import find_scans
from ..data.limits import MAX_VOXELS
from ..data.readers import VOLUME_SUFFIXES, volume_suffix, without_ending
from ..data.rexgrounding import label_maps, read_cases
from ..data.writers import write_nifti
from ..errors import ConfigError, DataError
from ..runner import (
    Executor,
    Progress,
    StageResult,
    StageSpec,
    Unit,
    WorkContext,
    fingerprint_files,
    fingerprint_value,
    run_stage,
    write_csv_atomic,
)
from .lesions import COLUMNS

__all__ = ["convert_rexgrounding"]

VERSION = 1


def convert_rexgrounding(
    cases: Path, masks: Path, images: Path, out: Path, executor: Executor, progress: Progress | None = None
) -> StageResult:
    """Write ``out/lesions.csv`` and ``out/masks/``; what is done already is not done again.

    Args:
        cases: the data set's JSON.
        masks: folder of the masks, at any depth.
        images: as ``data.images``: where the CT-RATE volumes lie.
        out: made if needed.
        executor: spreads the cases.
        progress: told after each.

    Returns:
        What became of each case that has a CT; cases without one are left out.

    Raises:
        ConfigError: if the JSON is of another form, or no case has both a mask and a CT.
    """
    scans = {scan.scan_id: scan.image for scan in find_scans(images)}
    files = {without_ending(p.name): p for p in sorted(masks.rglob("*")) if volume_suffix(p) in VOLUME_SUFFIXES}
    units = []
    for name, sentences in read_cases(cases):
        if name in scans and name in files:
            given = {"sentences": fingerprint_value([[number, text] for number, text in sorted(sentences.items())])}
            given["files"] = fingerprint_files([files[name], scans[name]])
            payload = {"sentences": dict(sentences), "mask": str(files[name]), "image": str(scans[name])}
            units.append(Unit(name, given, payload))
    if not units:
        msg = f"{cases}: not one of its cases has a mask in {masks} and a volume in {images}"
        raise ConfigError(msg)
    spec = StageSpec("rexgrounding", VERSION, out / "masks", convert_case)
    result = run_stage(spec, units, executor, progress=progress, logs=out / "logs")
    rows = [row for sidecar in result.done.values() for row in sidecar["details"]["rows"]]
    write_csv_atomic(out / "lesions.csv", pd.DataFrame(rows, columns=list(COLUMNS)))
    return result


def convert_case(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The label maps of one case; its rows of the table are kept in the sidecar, its sentences are not."""
    del parameters
    sentences = {int(number): text for number, text in payload["sentences"].items()}
    image = Path(payload["image"])
    maps, affine, unknown = label_maps(sentences, Path(payload["mask"]), image, _parser(), MAX_VOXELS)
    if not maps:
        msg = f"{payload['mask']}: none of its {len(sentences)} findings is one of the vocabulary's with a mask"
        raise DataError(msg)
    rows = []
    for place, (array, own) in enumerate(maps, start=1):
        name = f"{context.id}_{place}.nii.gz"
        with context.output(name) as path:
            write_nifti(path, array, affine)
        rows += [(context.id, value, abnormality, location, f"masks/{name}") for value, abnormality, location in own]
    return {"rows": rows, "unknown": unknown}


@lru_cache(maxsize=1)
def _parser() -> ReportParser:
    return ReportParser("chest_ct")
