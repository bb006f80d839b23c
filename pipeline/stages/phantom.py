"""Render a phantom data set, laid out like anybody's own scans and reports; of a workflow into ``phantom/``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..data.phantom import PhantomSettings, ScanSpec, plan_dataset, write_scan, write_tables
from ..errors import ConfigError, OrganCamError
from ..runner import Unit, WorkContext, fingerprint_file, is_damaged, read_sidecar
from .run import Run, StageSummary, summarise

__all__ = ["phantom_data", "render_dataset", "run_phantom"]

VERSION = 1


def run_phantom(run: Run) -> StageSummary:
    """Render the data set of the workflow's phantom section into ``phantom/``."""
    if run.workflow.phantom is None:
        msg = "this workflow has no phantom section"
        raise ConfigError(msg)
    return render_dataset(run, run.workflow.phantom, run.folder("phantom"))


def render_dataset(run: Run, settings: PhantomSettings, folder: Path) -> StageSummary:
    """Render every scan of the plan into a folder, then write the tables."""
    sidecars = folder / "truth" / "sidecars"
    plan = plan_dataset(settings)
    for spec in plan:  # a scan with a file that is gone or has changed is rendered again
        made = read_sidecar(sidecars, spec.scan_id)
        written = sidecars / f"{spec.scan_id}.json"
        if made is not None and not _is_whole(folder, made, written.stat().st_mtime_ns):
            written.unlink()
    units = [Unit(spec.scan_id, {"spec": repr(spec)}, {"spec": spec, "folder": str(folder)}) for spec in plan]
    result = run.spread("phantom", VERSION, sidecars, render_one, asdict(settings), units)
    if result.failed:
        msg = f"phantom scan {result.failed[0].id}: {result.failed[0].reason}"
        raise OrganCamError(msg)
    rows = {spec.scan_id: read_sidecar(sidecars, spec.scan_id) for spec in plan}
    tables = [sidecar["details"]["rows"] for sidecar in rows.values() if sidecar is not None]
    if len(tables) == len(plan):  # of several shards the last one writes the tables
        write_tables(tables, folder)
    return summarise("phantom", result)


def render_one(context: WorkContext, payload: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Render and write one scan; its table rows, and what its files hold, are kept in the sidecar."""
    del context
    spec: ScanSpec = payload["spec"]
    folder = Path(payload["folder"])
    rows = write_scan(spec, PhantomSettings.from_mapping(parameters), folder)
    files = {name: [(folder / name).stat().st_size, fingerprint_file(folder / name)] for name in _files(spec)}
    return {"rows": rows, "files": files}


def _files(spec: ScanSpec) -> tuple[str, ...]:
    name = spec.scan_id
    return f"images/{name}.nii.gz", f"truth/{name}_organs.nii.gz", f"truth/{name}_lesions.nii.gz"


def _is_whole(folder: Path, made: Mapping[str, Any], written: int) -> bool:
    """Whether the files of a scan are what was written; those of the same size and no newer than that are not read."""
    try:
        return bool(made["details"]["files"]) and all(
            _is_untouched(folder / name, size, written) or not is_damaged((str(folder / name), content))
            for name, (size, content) in made["details"]["files"].items()
        )
    except (OSError, KeyError, TypeError, ValueError):
        return False


def _is_untouched(file: Path, size: int, written: int) -> bool:
    found = file.stat()
    return found.st_size == size and found.st_mtime_ns <= written


def phantom_data(root: Path, data: DataConfig) -> DataConfig:
    """The data section of a phantom workflow: what it leaves open points to the rendered data set."""
    folder = root / "phantom"
    paths = {
        "images": folder / "scans.csv",
        "reports": folder / "reports.csv",
        "lesions": folder / "truth" / "lesions.csv",
        "organs": folder / "truth" / "organs.csv",
        "interventions": folder / "interventions.csv",
    }
    return data.model_copy(update={key: path for key, path in paths.items() if getattr(data, key) is None})
