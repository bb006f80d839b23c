"""What every stage is given: the workflow, the run directory, an executor, and the one way to what others made.

A stage describes what it would make now in a plan (``plan_<stage>``, which only reads). `Run.make` does the plan;
`Run.current` gives a later stage the sidecars of the same plan, and refuses what is missing or was made with other
settings. So no stage ever reads a file that the workflow of now would not make. A damaged file is made again on the
spot, from what it was made of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import STAGES, Workflow
from ..errors import OrganCamError
from ..runner import (
    DamagedFilesError,
    Executor,
    Failure,
    Progress,
    Shard,
    StagePlan,
    StageResult,
    StageSpec,
    Unit,
    find_damaged,
    make_executor,
    read_sidecar,
    retire,
    retire_others,
    run_stages,
)
from .surveys import Survey, named, require_made, survey, was_or_were

if TYPE_CHECKING:
    from ..data.records import ScanRecord

__all__ = ["Ids", "PlanMaker", "Run", "StageSummary", "summarise"]

Ids = tuple[str, ...]
PlanMaker = Callable[..., StagePlan]
"""``plan_<stage>(run, *arguments)``; the arguments are hashable."""

OF_SCANS = ("phantom", "ingest", "store", "regions")
"""Stages whose units are scans that take seconds."""

logger = logging.getLogger(__name__)


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
        lost: scans with a damaged file that could not be made again, and why; they take no part in this stage.
        notes: what was mended in this stage.
    """

    workflow: Workflow
    root: Path
    executor: Executor
    progress: Progress
    shard: Shard | None = None
    failures: list[Failure] = field(default_factory=list)
    stages: tuple[str, ...] = ()
    lost: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)
    _makers: dict[Path, list[tuple[PlanMaker, tuple[Any, ...]]]] = field(default_factory=dict, repr=False)

    def begin(self, failures: Iterable[Failure]) -> None:
        """Before a stage: the failures of the stages before it; what was looked up for the last stage is forgotten."""
        self.failures = list(failures)
        self.lost, self.notes, self._makers = {}, [], {}
        self._known.clear()

    def folder(self, *parts: str) -> Path:
        """A folder of the run directory, made if needed."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def manifest(self) -> list[ScanRecord]:
        """All scans of the run."""
        from ..data.records import read_manifest  # noqa: PLC0415 - numpy and pandas, which parsing does without

        path = self.root / "manifest.csv"
        if not path.is_file():
            msg = f"{self.root} has no manifest.csv: run the ingest stage first"
            raise OrganCamError(msg)
        return self.once("manifest", lambda: read_manifest(path))

    def records(self, stage: str | None = None) -> list[ScanRecord]:
        """The scans that got as far as a stage: no earlier one failed on them, and none of their files is lost.

        Args:
            stage: its name; None for the stage that runs.
        """
        earlier = STAGES[: STAGES.index(stage)] if stage else STAGES
        out = {failure.id for failure in self.failures if failure.kind != "unpaired" and failure.stage in earlier}
        out |= self.lost.keys()
        return [record for record in self.manifest() if record.scan_id not in out]

    def chosen(self, stage: str, ids: Collection[str] | None) -> list[ScanRecord]:
        """The records of the scans that a plan of a stage is about: those asked for, or all of this shard."""
        wanted = None if ids is None else set(ids)
        return [
            record
            for record in self.records(stage)
            if (record.scan_id in wanted if wanted is not None else not self.shard or self.shard.takes(record.scan_id))
        ]

    def all_ids(self) -> frozenset[str]:
        """Ids of the manifest: files of these scans stay when their scan cannot be read today."""
        return frozenset(record.scan_id for record in self.manifest())

    def sidecars(self, ids: Iterable[str], *parts: str) -> dict[str, Mapping[str, Any]]:
        """Sidecars in a folder of the run by scan id, whatever they were made from; scans without one are left out."""
        found = ((name, read_sidecar(self.root.joinpath(*parts), name)) for name in ids)
        return {name: sidecar for name, sidecar in found if sidecar is not None}

    def scan_units(self, stage: str, ids: Collection[str] | None = None) -> tuple[Unit, ...]:
        """A unit for every scan, for stages that work on the scan's own file.

        Raises:
            OrganCamError: if a scan has not been looked at by the ingest stage.
        """
        records = self.chosen(stage, ids)
        scans = self.sidecars([record.scan_id for record in records], "scans")
        absent = [record.scan_id for record in records if record.scan_id not in scans]
        if self.shard is not None:  # the others' scans may not have been read yet, and are theirs
            absent = [name for name in absent if self.shard.takes(name)]
        if absent:
            msg = f"{named(absent, 'scan')} of manifest.csv {was_or_were(absent)} never read: run the ingest stage"
            raise OrganCamError(msg)
        contents, most = (
            {name: scan["details"]["content"] for name, scan in scans.items()},
            self.workflow.data.max_voxels,
        )
        return tuple(
            Unit(record.scan_id, {"scan": contents[record.scan_id]}, {"image": record.image, "max_voxels": most})
            for record in records
            if record.scan_id in contents
        )

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives, computed once a stage."""
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def plan(self, maker: PlanMaker, *arguments: Any) -> StagePlan:
        """The plan of a stage, made once a stage."""
        made: StagePlan = self.once((maker, arguments), lambda: maker(self, *arguments))
        makers = self._makers.setdefault(made.spec.folder, [])
        if (maker, arguments) not in makers:
            makers.append((maker, arguments))
        return made

    def survey(self, maker: PlanMaker, *arguments: Any) -> Survey:
        """How the files of a plan stand, each sidecar read once a stage."""
        found: Survey = self.once(("survey", maker, arguments), lambda: survey(self.plan(maker, *arguments), self.lost))
        return found

    def current(self, maker: PlanMaker, *arguments: Any) -> Mapping[str, dict[str, Any]]:
        """Id to sidecar of what an earlier stage made, all of it as the workflow of now would make it.

        Units that the stage failed on are left out; outputs that are gone or cut are made again.

        Args:
            maker: ``plan_<stage>``.
            arguments: of the maker.

        Raises:
            NotReadyError: naming what is missing or stale, and the stage to run.
        """
        plan, found = self.plan(maker, *arguments), self.survey(maker, *arguments)
        failed = {failure.id for failure in self.failures if failure.stage == plan.spec.name}
        require_made(plan, found, failed)
        if found.damaged:
            self._mend({maker: {arguments: list(found.damaged)}})
            return self.current(maker, *arguments)
        return found.current

    def make(self, maker: PlanMaker, *arguments: Any) -> StageResult:
        """Do the units of a plan that are not done, keep their failures, and remove what nobody asks for any more.

        Where a file that they read is damaged, it is made again, and the units go on.
        """
        return self.make_all(maker, [arguments])[0]

    def make_all(self, maker: PlanMaker, arguments: Sequence[tuple[Any, ...]]) -> list[StageResult]:
        """The same for several plans of a stage; the units of a scan run one after another in one process."""
        results = self._make(maker, arguments, None) if arguments else []
        self.failures.extend(failure for result in results for failure in result.failed)
        return results

    def verify(self, files: Mapping[str, str]) -> None:
        """Make sure that files of earlier stages hold what was written; damaged ones are made again.

        Args:
            files: path to content hash, of sidecars that `current` gave.

        Raises:
            DamagedFilesError: if they were made again and are other ones now, or could not be made.
        """
        damaged = find_damaged(files, self.executor)
        if damaged:
            self._mend(self._owners(damaged))
            still = find_damaged({path: files[path] for path in damaged}, self.executor)
            if still:
                raise DamagedFilesError(still)

    def spread(
        self,
        stage: str,
        version: int,
        folder: Path,
        work: Callable[..., Mapping[str, Any]],
        parameters: Mapping[str, Any],
        units: Sequence[Unit],
        timeout: float | None = None,
    ) -> StageResult:
        """Run units of a stage that reads nothing of other stages, and keep their failures."""
        spec = StageSpec(stage, version, folder, work, parameters)
        (result,) = self._go([StagePlan(spec, tuple(units), stage, timeout=timeout)])
        self.failures.extend(result.failed)
        return result

    def _make(
        self, maker: PlanMaker, arguments: Sequence[tuple[Any, ...]], only: Collection[str] | None
    ) -> list[StageResult]:
        try:
            first = self._attempt(maker, arguments, only)
            damaged = [path for result in first for failure in result.failed for path in failure.files]
            if not damaged:
                return first
        except DamagedFilesError as error:  # without them nothing could begin
            first, damaged = [], list(error.files)
        self._mend(self._owners(damaged))
        second = self._attempt(maker, arguments, only)
        return [_after_mending(*results) for results in zip(first or second, second, strict=True)]

    def _attempt(
        self, maker: PlanMaker, arguments: Sequence[tuple[Any, ...]], only: Collection[str] | None
    ) -> list[StageResult]:
        plans = [self.plan(maker, *one) for one in arguments]
        if only is not None:
            plans = [plan.only(only) for plan in plans]
        else:
            for plan in plans:
                gone = retire_others(plan.spec.folder, plan.spec.name, plan.keep | {unit.id for unit in plan.units})
                if gone:
                    logger.info("%s: %s removed, which nobody asks for any more", plan.spec.name, named(gone, "unit"))
        try:
            return self._go(plans)
        finally:
            self._forget(maker)

    def _forget(self, maker: PlanMaker) -> None:
        """Look again at what this stage made; what it was made from is as it was."""
        for key in [key for key in self._known if isinstance(key, tuple) and maker in key]:
            del self._known[key]

    def _go(self, plans: Sequence[StagePlan]) -> list[StageResult]:
        """Plans of one stage; they differ in their units and in what these share."""
        first = plans[0]
        with ExitStack() as stack:
            executor = stack.enter_context(make_executor("serial")) if first.in_process else self.executor
            return run_stages(
                [(plan.spec, plan.units) for plan in plans],
                executor,
                shard=None if first.in_process else self.shard,
                progress=self.progress,
                timeout=self._timeout(first) if executor.name != "serial" else None,  # it cannot interrupt itself
                logs=self.root / "logs",
                shared={path: content for plan in plans for path, content in plan.shared.items()},
            )

    def _timeout(self, plan: StagePlan) -> float | None:
        """Seconds that a unit may take: the plan's, or the workflow's where a unit is a scan."""
        return plan.timeout or (self.workflow.timeout if plan.spec.name in OF_SCANS else None)

    def _owners(self, paths: Iterable[str]) -> dict[PlanMaker, dict[tuple[Any, ...], list[str]]]:
        """Which units of which plans write some files.

        Raises:
            OrganCamError: for a file that no stage of this run would make.
        """
        owners: dict[PlanMaker, dict[tuple[Any, ...], list[str]]] = {}
        for path in map(Path, paths):
            found = None
            for maker, arguments in self._makers.get(path.parent, []):
                stand = self.survey(maker, *arguments)
                sidecars = {**stand.current, **stand.damaged}
                found = next((name for name, made in sidecars.items() if path.name in made["outputs"]), None)
                if found is not None:
                    units = owners.setdefault(maker, {}).setdefault(arguments, [])
                    if found not in units:
                        units.append(found)
                    break
            if found is None:
                raise DamagedFilesError([str(path)])
        return owners

    def _mend(self, owners: Mapping[PlanMaker, Mapping[tuple[Any, ...], Sequence[str]]]) -> None:
        """Make the outputs of units again from what they were made of; a scan for which that fails is lost."""
        for maker, by_arguments in owners.items():
            for arguments, ids in by_arguments.items():
                spec = self.plan(maker, *arguments).spec
                for name in ids:
                    retire(spec.folder, read_sidecar(spec.folder, name, spec.sidecar), spec.sidecar)
                place = spec.folder.relative_to(self.root).as_posix()
                (result,) = self._make(maker, [arguments], ids)
                made = [name for name in ids if name in result.done]
                if made:
                    note = f"{place}: damaged files of {named(made, 'unit')} were made again"
                    self.notes.append(note)
                    logger.warning("%s", note)
                scans = self.all_ids()
                for failure in result.failed:
                    reason = f"its file in {place} was damaged and could not be made again: {failure.reason}"
                    if failure.id not in scans:
                        msg = f"{failure.id}: {reason}"
                        raise OrganCamError(msg)
                    self.lost[failure.id] = reason
        self._known.clear()


def _after_mending(first: StageResult, second: StageResult) -> StageResult:
    """The second result; what the first had made is not called skipped, and what is damaged still is a failure."""
    failed = tuple(replace(failure, kind="data", files=()) if failure.files else failure for failure in second.failed)
    before = set(first.skipped)
    return replace(second, failed=failed, skipped=tuple(name for name in second.skipped if name in before))


def summarise(stage: str, *results: StageResult, notes: Iterable[str] = ()) -> StageSummary:
    """The summary of a stage whose units the runner ran, in one or several goes."""
    return StageSummary(
        stage,
        sum(len(result.done) - len(result.skipped) for result in results),
        sum(len(result.skipped) for result in results),
        tuple(failure for result in results for failure in result.failed),
        tuple(notes),
    )
