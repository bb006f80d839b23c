"""Organs of every scan: ``organs/<id>_organs.nii.gz`` on the scan's own grid, and ``organs/quality.csv``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.readers import read_volume
from ..data.volume import Volume
from ..data.writers import write_nifti
from ..errors import DataError
from ..runner import StagePlan, StageSpec, Unit, WorkContext, write_csv_atomic
from .run import Ids, Run, StageSummary, summarise

if TYPE_CHECKING:
    from organcam.segmentation import OrganSegmentation

    from .external_masks import MaskFolder

__all__ = ["organs_in_words", "plan_segment", "run_segment"]

VERSION = 5

MAIN_MEASURES = ("right_lung_ml", "left_lung_ml", "heart_mediastinum_ml", "ratio", "height_mm")
"""The columns of ``quality.csv`` that come first; a scan without lungs has no ratio and no height."""


def run_segment(run: Run) -> StageSummary:
    """Segment every scan of the manifest, or take the masks of another tool."""
    import pandas as pd  # noqa: PLC0415 - not for the workers

    result = run.make(plan_segment)
    names = tuple(record.scan_id for record in run.records())
    # of several shards the last one finds all scans
    rows = [_quality_row(name, sidecar) for name, sidecar in run.survey(plan_segment, names).current.items()]
    write_csv_atomic(run.root / "organs" / "quality.csv", pd.DataFrame(rows))
    flagged = sum(not row["ok"] for row in rows)
    return summarise("segment", result, notes=[f"{flagged} scans flagged, see organs/quality.csv"] if flagged else [])


def plan_segment(run: Run, ids: Ids | None = None) -> StagePlan:
    """The organs of all scans, or of some."""
    settings = run.workflow.segment
    parameters: dict[str, Any] = {"method": settings.method, "png": settings.png}
    if settings.parts:
        parameters["parts"] = True
    units = run.scan_units("segment", ids)
    if settings.external is not None:
        from organcam.segmentation.external import read_value_table  # noqa: PLC0415 - as below

        from .external_masks import MaskFolder  # noqa: PLC0415

        parameters["table"] = read_value_table(settings.label_table)
        masks = run.once("external masks", partial(MaskFolder, settings.external.absolute()))
        units = tuple(_with_mask(unit, masks) for unit in units)
    spec = StageSpec("segment", VERSION, run.root / "organs", segment_scan, parameters)
    return StagePlan(spec, units, "organ masks", run.all_ids(), timeout=settings.timeout)


def segment_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Segment one scan, or read its mask, and write the label map."""
    # scipy and ITK take half a second to load; the process that hands out the scans does without
    from organcam.segmentation import montage, save_montage  # noqa: PLC0415

    volume = read_volume(Path(payload["image"]), payload["max_voxels"])
    organs = _organs(volume, payload, parameters)
    with context.output(f"{context.id}_organs.nii.gz") as path:
        write_nifti(path, organs.labels, volume.affine)
    if organs.parts is not None:
        with context.output(f"{context.id}_parts.nii.gz") as path:
            write_nifti(path, organs.parts, volume.affine)
    if parameters["png"]:
        with context.output(f"{context.id}_organs.png") as path:
            picture = montage(volume.array, organs.labels, affine=volume.affine)
            save_montage(path, picture, context.id, words=organs.quality.in_words())
    return {"quality": organs.quality.to_dict(), "rough": organs.rough}


def _organs(volume: Volume, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> OrganSegmentation:
    if "no_mask" in payload:
        raise DataError(payload["no_mask"])
    if "mask" in payload:
        from .external_masks import organs_from_mask  # noqa: PLC0415 - as above

        return organs_from_mask(volume, Path(payload["mask"]), parameters["table"])
    from organcam.segmentation import segment_organs  # noqa: PLC0415 - as above

    try:
        return segment_organs(
            volume.array,
            affine=volume.affine,
            method=parameters["method"],
            parts=parameters.get("parts", False),
        )
    except ValueError as error:  # what no chest CT can be: constant, absurd voxels, not in HU
        msg = f"{payload['image']}: {error}"
        raise DataError(msg) from None


def _with_mask(unit: Unit, masks: MaskFolder) -> Unit:
    """The same unit with its scan's mask, or with why there is none; a changed mask is read again."""
    from .external_masks import mask_stamp  # noqa: PLC0415 - as above

    try:
        path = masks.find(unit.id)
    except DataError as error:
        stamp, found = str(error), {"no_mask": str(error)}
    else:
        stamp, found = mask_stamp(path), {"mask": str(path)}
    return replace(unit, inputs={**unit.inputs, "mask": stamp}, payload={**unit.payload, **found})


def organs_in_words(root: Path, most: int = 20) -> list[str]:
    """Volumes and flags of the first scans of ``organs/quality.csv`` as lines, and where the masks are.

    Args:
        root: the run directory.
        most: scans that get lines of their own.
    """
    import pandas as pd  # noqa: PLC0415 - not for the workers

    path = root / "organs" / "quality.csv"
    if not path.is_file() or path.stat().st_size < 2:
        return []
    table = pd.read_csv(path, dtype={"scan_id": str})
    named = {
        "right_lung_ml": "right lung",
        "left_lung_ml": "left lung",
        "heart_mediastinum_ml": "heart and mediastinum",
    }
    lines = []
    for row in table.head(most).to_dict("records"):
        volumes = ", ".join(f"{name} {row[key]:.0f} ml" for key, name in named.items() if pd.notna(row.get(key)))
        lines.append(f"{row['scan_id']}: {volumes}{'' if row['ok'] else '; NOT TO BE USED AS IT IS'}")
        if isinstance(row["explanation"], str):
            lines.append(f"    {row['explanation']}")
    if len(table) > most:
        lines.append(f"... and {len(table) - most} more scans")
    flagged = int((~table["ok"].astype(bool)).sum())
    return [*lines, f"masks: {root / 'organs'}; {flagged} of {len(table)} flagged as bad, all in {path}"]


def _quality_row(scan_id: str, sidecar: Mapping[str, Any]) -> dict[str, Any]:
    quality = sidecar["details"]["quality"]
    flags, measures = quality["flags"], quality["measures"]
    return {
        "scan_id": scan_id,
        "ok": quality["ok"],
        "flags": " ".join(flag["name"] for flag in flags),
        **{name: measures.get(name) for name in MAIN_MEASURES},
        "seconds": sidecar["seconds"],
        **{name: value for name, value in measures.items() if name not in MAIN_MEASURES},
        "explanation": " ".join(flag["sentence"] for flag in flags),
    }
