"""Stages over all their units: what is done already is skipped, what fails is noted, the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .atomic import clean_temporary, fsync_folder, write_text_atomic
from .disk import explained_when_full, full_disk_error
from .executors import Executor
from .identifiers import check_unique
from .integrity import DamagedFilesError, find_damaged
from .items import Lost
from .progress import Progress, SilentProgress
from .shards import Shard
from .sidecars import check_owner, is_current, read_sidecar
from .unit import Failure, StageSpec, Unit
from .work import Job, Outcome, execute

__all__ = ["StageResult", "run_stage", "run_stages"]


@dataclass(frozen=True)
class StageResult:
    """What became of a stage's units.

    Attributes:
        stage: the stage's name.
        done: scan id to sidecar of every unit whose files are there, in the order of the units; those that were
            there before are included.
        skipped: ids of those that were there before.
        failed: the others, in the order of the units.
        seconds: wall time.
    """

    stage: str
    done: Mapping[str, dict[str, Any]]
    skipped: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    seconds: float = 0.0

    @property
    def counts(self) -> dict[str, int]:
        """For run.json: done (in this run), skipped (done before) and failed."""
        return {
            "done": len(self.done) - len(self.skipped),
            "skipped": len(self.skipped),
            "failed": len(self.failed),
        }


def run_stage(spec: StageSpec, units: Iterable[Unit | Failure], executor: Executor, **options: Any) -> StageResult:
    """Do all units of a stage that are not done, and note those that fail; options as for `run_stages`."""
    return run_stages([(spec, units)], executor, **options)[0]


def run_stages(
    stages: Sequence[tuple[StageSpec, Iterable[Unit | Failure]]],
    executor: Executor,
    *,
    shard: Shard | None = None,
    progress: Progress | None = None,
    max_retries: int = 1,
    timeout: float | None = None,
    logs: Path | None = None,
    shared: Mapping[str, str] | None = None,
) -> list[StageResult]:
    """Do all units that are not done, and note those that fail.

    A unit is done when its sidecar has its key (stage version, parameters, inputs) and its outputs are there with the
    recorded sizes. Units of the same scan run one after another in one process, where ``WorkContext.once`` keeps what
    the next one needs too. A unit whose process dies or which runs out of memory is tried again when all others are
    over, alone, so that it has the machine's memory to itself.

    Args:
        stages: each with its units, one for each scan; a ``Failure`` in place of a unit (its input cannot be read) is
            noted as it is. Several are one stage of several models: of the same name, each with a folder of its own.
        executor: see ``make_executor``.
        shard: do only this part.
        progress: is told of every unit.
        max_retries: further attempts after a crash.
        timeout: seconds a unit may take; not with the serial executor, which cannot interrupt itself.
        logs: folder for the tracebacks of internal errors, ``<stage>-<id>.log``; next to the stage's folder by
            default.
        shared: path to content hash of files of earlier stages that several units read; compared once, before the first
            unit that has to be done.

    Raises:
        DamagedFilesError: if shared files are not what was written; nothing was begun.
        DataError: if two units of a stage have the same id, capitals aside.
        OrganCamError: if the disk is full, or a folder holds another stage's sidecars; done units stay done.
    """
    progress, started = progress or SilentProgress(), time.monotonic()
    tallies: dict[Path, _Tally] = {}
    for spec, units in stages:
        spec.folder.mkdir(parents=True, exist_ok=True)
        clean_temporary(spec.folder)
        tallies[spec.folder] = _plan(spec, units, shard)
    due = _by_scan(job for tally in tallies.values() for job in tally.due)
    if due and shared:
        damaged = find_damaged(shared, executor)
        if damaged:
            raise DamagedFilesError(damaged)
    _tell(progress, tallies.values())
    try:
        with explained_when_full(stages[0][0].folder, f"stage {stages[0][0].name}"):
            for job, outcome in _outcomes(executor, due, max_retries, timeout):
                tallies[job.spec.folder].note(job, outcome, logs or job.spec.folder.parent / "logs")
                _tell(progress, tallies.values())
    finally:
        for folder in tallies:
            clean_temporary(folder)
            fsync_folder(folder)
    seconds = time.monotonic() - started
    return [tally.result(seconds) for tally in tallies.values()]


def _by_scan(jobs: Iterable[Job]) -> list[list[Job]]:
    """The units of each scan together, scans in the order in which they first come."""
    scans: dict[str, list[Job]] = {}
    for job in jobs:
        scans.setdefault(job.unit.id, []).append(job)
    return list(scans.values())


def _tell(progress: Progress, tallies: Collection[_Tally]) -> None:
    (name,) = {tally.spec.name for tally in tallies}
    over, total, failed = (
        sum(tally.over for tally in tallies),
        sum(tally.total for tally in tallies),
        sum(len(tally.failed) for tally in tallies),
    )
    progress.advance(name, over, total, failed)


def _outcomes(
    executor: Executor, due: list[list[Job]], max_retries: int, timeout: float | None
) -> Generator[tuple[Job, Outcome], None, None]:
    """Final outcomes; a crash is final only when the job has crashed in every attempt."""
    crashed: list[Job] = []
    with closing(_attempt(executor, due, timeout)) as attempts:  # closing ends what is in flight
        for job, outcome in attempts:
            if outcome.kind == "crash" and max_retries > 0:
                crashed.append(job)
            else:
                yield job, outcome
    for job in crashed:
        for _ in range(max_retries):
            with closing(_attempt(executor, [[job]], timeout)) as attempts:
                (_, outcome) = next(attempts)
            if outcome.kind != "crash":
                break
        yield job, outcome


def _attempt(
    executor: Executor, scans: list[list[Job]], timeout: float | None
) -> Generator[tuple[Job, Outcome], None, None]:
    longest = timeout * max(map(len, scans), default=1) if timeout else None
    with closing(executor.run(execute, scans, timeout=longest)) as results:
        for jobs, found in results:
            outcomes = [Outcome(found.kind, found.reason)] * len(jobs) if isinstance(found, Lost) else found
            yield from zip(jobs, outcomes, strict=True)


@dataclass
class _Tally:
    spec: StageSpec
    order: dict[str, int]
    due: list[Job] = field(default_factory=list)
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.order)

    @property
    def over(self) -> int:
        return len(self.done) + len(self.failed)

    def note(self, job: Job, outcome: Outcome, logs: Path) -> None:
        spec, unit = self.spec, job.unit
        if outcome.kind == "done":
            self.done[unit.id] = outcome.sidecar
            return
        if outcome.kind == "full":
            raise full_disk_error(spec.folder, f"stage {spec.name}, scan {unit.id}: {outcome.reason}")
        reason = outcome.reason
        if outcome.log:
            log = logs / f"{spec.name}-{unit.id}.log"
            write_text_atomic(log, outcome.log)
            reason = f"{reason} (traceback in {log.parent.name}/{log.name})"
        self.failed.append(Failure(spec.name, unit.id, reason, outcome.kind, outcome.files))

    def result(self, seconds: float) -> StageResult:
        position = self.order.__getitem__
        done = {scan_id: self.done[scan_id] for scan_id in sorted(self.done, key=position)}
        failed = tuple(sorted(self.failed, key=lambda failure: position(failure.id)))
        return StageResult(self.spec.name, done, tuple(self.skipped), failed, round(seconds, 3))


def _plan(spec: StageSpec, units: Iterable[Unit | Failure], shard: Shard | None) -> _Tally:
    ours = [unit for unit in units if shard is None or shard.takes(unit.id)]
    check_unique(unit.id for unit in ours)
    tally = _Tally(spec, {unit.id: position for position, unit in enumerate(ours)})
    for unit in ours:
        if isinstance(unit, Failure):
            tally.failed.append(unit)
            continue
        key, sidecar = spec.key(unit), read_sidecar(spec.folder, unit.id, spec.sidecar)
        check_owner(sidecar, spec.name, spec.folder)
        if sidecar is not None and is_current(sidecar, spec.folder, key):
            tally.done[unit.id] = sidecar
            tally.skipped.append(unit.id)
        else:
            tally.due.append(Job(spec, unit, key))
    return tally
