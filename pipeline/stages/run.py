"""What every stage is given: the workflow, the run directory, an executor, and the scans still fit to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import Workflow
from ..data.records import ScanRecord, read_manifest
from ..errors import OrganCamError
from ..runner import Executor, Failure, Progress, Shard, StageResult, StageSpec, Unit, read_sidecar, run_stage

__all__ = ["Run", "StageSummary", "summarise"]


@dataclass(frozen=True)
class StageSummary:
    """What a stage did: counts for the progress line and run.json, and its failures."""

    stage: str
    done: int
    skipped: int
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Run:
    """One run of a workflow in its directory.

    Attributes:
        workflow: the checked workflow.
        root: the run directory; its layout is a contract of the project.
        executor: spreads units of work.
        progress: told after every unit.
        shard: the part of the scans this process takes; None for all.
        failures: of all stages so far; a scan that failed takes no part in later stages.
        stages: all that this run goes through, so that an early one can refuse what a later one needs.
    """

    workflow: Workflow
    root: Path
    executor: Executor
    progress: Progress
    shard: Shard | None = None
    failures: list[Failure] = field(default_factory=list)
    stages: tuple[str, ...] = ()

    def folder(self, *parts: str) -> Path:
        """A folder of the run directory, made if needed."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def records(self) -> list[ScanRecord]:
        """The scans of the manifest that no earlier stage failed on."""
        path = self.root / "manifest.csv"
        if not path.is_file():
            msg = f"{self.root} has no manifest.csv: run the ingest stage first"
            raise OrganCamError(msg)
        failed = {failure.id for failure in self.failures if failure.kind != "unpaired"}
        return [record for record in read_manifest(path) if record.scan_id not in failed]

    def sidecars(self, ids: Iterable[str], *parts: str) -> dict[str, Mapping[str, Any]]:
        """Sidecars in a folder of the run by scan id; scans without one are left out."""
        found = ((name, read_sidecar(self.root.joinpath(*parts), name)) for name in ids)
        return {name: sidecar for name, sidecar in found if sidecar is not None}

    def scan_units(self) -> list[Unit]:
        """A unit for every readable scan, for stages that work on the scan's own file."""
        most = self.workflow.data.max_voxels
        records = self.records()
        scans = self.sidecars([record.scan_id for record in records], "scans")
        contents = {name: scan["details"]["content"] for name, scan in scans.items()}
        return [
            Unit(record.scan_id, {"scan": contents[record.scan_id]}, {"image": record.image, "max_voxels": most})
            for record in records
            if record.scan_id in contents
        ]

    def spread(
        self,
        stage: str,
        version: int,
        folder: Path,
        work: Callable[..., Mapping[str, Any]],
        parameters: Mapping[str, Any],
        units: Sequence[Unit],
        timeout: float | None = None,
        executor: Executor | None = None,
    ) -> StageResult:
        """Run the units of a stage and keep their failures."""
        spec = StageSpec(stage, version, folder, work, parameters)
        chosen = executor or self.executor
        if chosen.name == "serial":
            timeout = None  # it cannot interrupt itself
        result = run_stage(
            spec,
            units,
            chosen,
            shard=self.shard,
            progress=self.progress,
            timeout=timeout,
            logs=self.root / "logs",
        )
        self.failures.extend(result.failed)
        return result


def summarise(stage: str, *results: StageResult, notes: Iterable[str] = ()) -> StageSummary:
    """The summary of a stage whose units the runner ran, in one or several goes."""
    return StageSummary(
        stage,
        sum(len(result.done) - len(result.skipped) for result in results),
        sum(len(result.skipped) for result in results),
        tuple(failure for result in results for failure in result.failed),
        tuple(notes),
    )
