"""Organs of every scan: ``organs/<id>_organs.nii.gz`` on the scan's own grid, and ``organs/quality.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from organcam.segmentation import montage, save_montage, segment_organs

from ..data.readers import read_volume
from ..data.writers import write_nifti
from ..errors import DataError
from ..runner import WorkContext, write_csv_atomic
from .run import Run, StageSummary, summarise

__all__ = ["run_segment"]

VERSION = 1


def run_segment(run: Run) -> StageSummary:
    """Segment every scan of the manifest."""
    settings = run.workflow.segment
    parameters = {"method": settings.method, "png": settings.png}
    result = run.spread(
        "segment", VERSION, run.folder("organs"), segment_scan, parameters, run.scan_units(), settings.timeout
    )
    sidecars = run.sidecars([record.scan_id for record in run.records()], "organs")
    rows = [_quality_row(name, sidecar) for name, sidecar in sidecars.items()]
    write_csv_atomic(run.root / "organs" / "quality.csv", pd.DataFrame(rows))
    flagged = sum(not row["ok"] for row in rows)
    return summarise("segment", result, notes=[f"{flagged} scans flagged, see organs/quality.csv"] if flagged else [])


def segment_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Segment one scan and write its label map."""
    volume = read_volume(Path(payload["image"]))
    try:
        organs = segment_organs(volume.array, affine=volume.affine, method=parameters["method"])
    except ValueError as error:  # what no chest CT can be: constant, absurd voxels, not in HU
        msg = f"{payload['image']}: {error}"
        raise DataError(msg) from None
    with context.output(f"{context.id}_organs.nii.gz") as path:
        write_nifti(path, organs.labels, volume.affine)
    if parameters["png"]:
        with context.output(f"{context.id}_organs.png") as path:
            save_montage(path, montage(volume.array, organs.labels, affine=volume.affine), context.id)
    return {"quality": organs.quality.to_dict(), "rough": organs.rough}


def _quality_row(scan_id: str, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    quality = sidecar["details"]["quality"]
    flags = quality["flags"]
    return {
        "scan_id": scan_id,
        "ok": quality["ok"],
        "flags": " ".join(flag["name"] for flag in flags),
        **quality["measures"],
        "seconds": sidecar["seconds"],
        "explanation": " ".join(flag["sentence"] for flag in flags),
    }
