"""Every scan once resampled, clipped and compressed for training: ``volumes/<id>.b2nd`` and its geometry beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.images import grey_limits, read_image, to_stored_image
from ..data.readers import read_volume
from ..data.volume_store import to_stored, write_stored
from ..errors import DataError
from ..runner import StagePlan, StageSpec, WorkContext
from .run import Ids, Run, StageSummary, summarise

__all__ = ["plan_store", "run_store"]

VERSION = 2


def run_store(run: Run) -> StageSummary:
    """Store every scan of the manifest."""
    return summarise("store", run.make(plan_store))


def plan_store(run: Run, ids: Ids | None = None) -> StagePlan:
    """The stored volumes of all scans, or of some."""
    settings = run.workflow.store
    if run.workflow.of_images:
        parameters: dict[str, Any] = {"shape": run.workflow.input.shape, "grey": settings.grey}
    else:
        parameters = {"spacing_mm": settings.spacing_mm, "clip_hu": settings.clip_hu}
    work = store_image if run.workflow.of_images else store_scan
    spec = StageSpec("store", VERSION, run.root / "volumes", work, parameters)
    return StagePlan(spec, run.scan_units("store", ids), "stored volumes", run.all_ids())


def store_scan(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Resample and store one scan; the details hold what maps its voxels back to the scan."""
    path, most = Path(payload["image"]), payload["max_voxels"]
    volume = read_volume(path, most)
    stored = to_stored(volume, parameters["spacing_mm"], parameters["clip_hu"], most, path)
    with context.output(f"{context.id}.b2nd") as output:
        write_stored(output, stored.array)
    return {
        "shape": list(stored.array.shape),
        "affine": stored.affine.tolist(),
        "scan_shape": list(volume.array.shape),
        "scan_affine": volume.affine.tolist(),
    }


def store_image(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Resize and store one 2D image; the details also hold the values that became black and white."""
    path = Path(payload["image"])
    image = read_image(path, payload["max_voxels"])
    try:
        limits = grey_limits(image, parameters["grey"])
    except DataError as error:
        msg = f"{path}: {error}"
        raise DataError(msg) from None
    stored = to_stored_image(image, parameters["shape"], limits)
    with context.output(f"{context.id}.b2nd") as output:
        write_stored(output, stored.array)
    return {
        "shape": list(stored.array.shape),
        "affine": stored.affine.tolist(),
        "scan_shape": list(image.shape),
        "scan_affine": image.affine.tolist(),
        "grey": list(limits),
    }
