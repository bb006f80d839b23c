"""Running the stages of a workflow in order, in one run directory."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from ..config import STAGES, Workflow
from ..errors import ConfigError, OrganCamError, did_you_mean
from ..runner import (
    Failure,
    Progress,
    RunDirectory,
    Shard,
    SilentProgress,
    interruptible,
    make_executor,
    read_failures,
    write_failures,
    write_text_atomic,
)
from .failure_rate import require_enough_scans
from .readiness import refuse_unready
from .run import Run, StageSummary

__all__ = ["EXIT_DONE", "EXIT_DONE_WITH_FAILURES", "PER_SCAN_STAGES", "Outcome", "run_workflow", "select_stages"]

PER_SCAN_STAGES = ("phantom", "ingest", "segment", "store", "regions", "explain")
"""Stages whose scans a shard can take a part of; the others look at the whole data set."""

EXIT_DONE = 0
EXIT_DONE_WITH_FAILURES = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the summaries of its stages, and the exit code they make."""

    summaries: tuple[StageSummary, ...]

    @property
    def exit_code(self) -> int:
        """0 when every scan went through every stage, else 3."""
        return EXIT_DONE_WITH_FAILURES if any(s.failures for s in self.summaries) else EXIT_DONE


def select_stages(workflow: Workflow, first: str | None = None, last: str | None = None) -> tuple[str, ...]:
    """The stages from ``first`` to ``last``, both included.

    Raises:
        ConfigError: for an unknown stage, or an empty selection.
    """
    stages = workflow.stages()
    for name in (first, last):
        if name is not None and name not in stages:
            hint = "this workflow has no phantom section" if name in STAGES else did_you_mean(name, stages)
            msg = f"unknown stage '{name}': {hint}"
            raise ConfigError(msg)
    start = stages.index(first) if first else 0
    stop = stages.index(last) + 1 if last else len(stages)
    if start >= stop:
        msg = f"stage '{first}' comes after '{last}': {', '.join(stages)}"
        raise ConfigError(msg)
    return stages[start:stop]


def run_workflow(
    workflow: Workflow,
    out: str | Path,
    *,
    stages: Sequence[str] | None = None,
    executor: str = "processes",
    workers: int = 1,
    scheduler: str | None = None,
    shard: Shard | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
    tell: Callable[[StageSummary, float], None] | None = None,
) -> Outcome:
    """Run stages of a workflow; whatever is done already and still fits is skipped.

    Args:
        workflow: checked settings.
        out: run directory, made if needed.
        stages: names in order; None for all.
        executor: ``serial``, ``processes``, ``dask`` or an installed one.
        workers: processes of the executor.
        scheduler: of ``dask``: ``local`` or the address of a running one; None for the workflow's.
        shard: this process' part of the scans; stages that need the whole data set are then left out.
        progress: told after each unit.
        command: for run.json.
        tell: told after each stage, with its seconds.

    Raises:
        ConfigError: with everything that would keep one of the stages from being done, before any of them.
        OrganCamError: when the run as a whole cannot go on; what is done stays and the same call goes on from there.
    """
    options = _options_of(workflow, executor, scheduler)
    refuse_unready(workflow, stages or workflow.stages())
    root = Path(out).absolute()
    summaries = []
    with (
        interruptible(),
        RunDirectory(root, shard=shard, command=command) as directory,
        make_executor(executor, workers, **options) as pool,
        progress or SilentProgress() as bar,
    ):
        document = yaml.safe_dump(workflow.document(), sort_keys=False, allow_unicode=True)
        write_text_atomic(root / "workflow.yaml", document)
        names = tuple(stages or workflow.stages())
        run = Run(with_phantom_data(workflow, root), root, pool, bar, shard, stages=names)
        for name in names:
            if shard is not None and name not in PER_SCAN_STAGES:
                logger.info("%s: needs all scans; left to a run without --shard", name)
                continue
            started = time.monotonic()
            earlier = STAGES[: STAGES.index(name)]
            run.begin(failure for failure in read_failures(root) if failure.stage in earlier)
            try:
                if name == "train":
                    require_enough_scans(run)
                summary = _stage(name)(run)
            except OrganCamError:  # what could not be done is told before the refusal that came of it
                write_failures(root, name, [failure for failure in run.failures if failure.stage == name], shard)
                raise
            lost = (Failure(name, scan_id, reason, "data") for scan_id, reason in run.lost.items())
            summary = replace(summary, failures=(*summary.failures, *lost), notes=(*summary.notes, *run.notes))
            write_failures(root, name, summary.failures, shard)
            seconds = time.monotonic() - started
            counts = {"done": summary.done, "skipped": summary.skipped, "failed": len(summary.failures)}
            directory.note_stage(name, counts, seconds, summary.notes)
            summaries.append(summary)
            if tell is not None:
                tell(summary, seconds)
    return Outcome(tuple(summaries))


def _options_of(workflow: Workflow, executor: str, scheduler: str | None) -> dict[str, Any]:
    """What an executor is made with; what nobody gave is left to it."""
    place = scheduler or (workflow.scheduler if executor == "dask" else None)
    if place is not None and executor in ("serial", "processes"):
        msg = f"--scheduler is for --executor dask, not for {executor}"
        raise ConfigError(msg)
    given = {"memory_gb": workflow.memory_gb, "scheduler": place}
    return {key: value for key, value in given.items() if value is not None}


def with_phantom_data(workflow: Workflow, root: Path) -> Workflow:
    """The workflow as stages see it; workflow.yaml keeps what the user wrote, so that a run directory can be moved."""
    if workflow.phantom is None:
        return workflow
    from .phantom import phantom_data  # noqa: PLC0415 - the image libraries

    return workflow.model_copy(update={"data": phantom_data(root, workflow.data)})


def _stage(name: str) -> Callable[[Run], StageSummary]:
    """The function of a stage; imported when it runs, because only some need torch."""
    function: Callable[[Run], StageSummary] = getattr(import_module(f".{name}", __package__), f"run_{name}")
    return function
