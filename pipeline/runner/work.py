"""One unit from its payload to its sidecar, in whatever process it runs; every ending becomes a plain outcome.

What a sidecar promises after a power cut is that its outputs are whole, so those are flushed to disk before they are
renamed. The sidecar itself is not: one that is lost or damaged costs its unit being done again, whereas a flush costs
1 to 5 ms on a busy disk (the rest of a unit 1 ms), and three of them, for outputs, sidecar and folder, would be the
greater part of a small stage. Renames within a folder keep their order on journaling file systems.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import OrganCamError, is_out_of_memory
from ..version import __version__
from .atomic import plain_json, temporary_folder, to_json
from .disk import is_full
from .fingerprints import parameters_hash
from .integrity import DamagedFilesError, require_whole
from .memory import out_of_memory
from .sidecars import read_sidecar, retire, sealed
from .unit import StageSpec, Unit, WorkContext

__all__ = ["Job", "Outcome", "execute"]

REASON_LENGTH = 400
QUOTE_LENGTH = 24
"""Characters of a payload's text that make a message a quotation; shorter runs are found in any two texts."""
PROSE_WORDS = 8


@dataclass(frozen=True)
class Job:
    """A unit on its way to a worker."""

    spec: StageSpec
    unit: Unit
    key: str


@dataclass(frozen=True)
class Outcome:
    """How a unit ended, in plain data that any process boundary lets through.

    Attributes:
        kind: ``done``, a kind of failure, or ``full`` (no space left: the run has to stop).
        reason: one line; empty when done.
        sidecar: when done, else empty.
        log: traceback of an internal error.
        files: of earlier stages, that are damaged.
    """

    kind: Literal["done", "data", "crash", "timeout", "internal", "full", "damaged"]
    reason: str = ""
    sidecar: dict[str, Any] = field(default_factory=dict)
    log: str = ""
    files: tuple[str, ...] = ()


def execute(jobs: Sequence[Job]) -> list[Outcome]:
    """Do the units of a scan one after another; a file that several of them read is checked once."""
    checked: dict[str, str] = {}
    held: dict[Hashable, Any] = {}
    return [_execute(job, checked, held) for job in jobs]


def _execute(job: Job, checked: dict[str, str], held: dict[Hashable, Any]) -> Outcome:
    """Do a unit: what it reads checked, outdated files out, work, outputs in their place, sidecar last."""
    try:
        require_whole({path: content for path, content in job.unit.needs.items() if checked.get(path) != content})
        checked.update(job.unit.needs)
        return Outcome("done", sidecar=_do(job, held))
    except DamagedFilesError as error:
        return Outcome("damaged", _message(error), files=error.files)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            return Outcome("crash", out_of_memory())
        prose = list(_prose(job.unit.payload))
        if is_full(error, job.spec.folder):
            return Outcome("full", _without_quotations(_message(error), prose))
        if isinstance(error, (OrganCamError, OSError)):
            return Outcome("data", _without_quotations(_message(error), prose))
        reason = _one_line(f"{type(error).__name__}: {error}")
        return Outcome("internal", _without_quotations(reason, prose), log=_without_quotations(_trace(error), prose))


def _do(job: Job, held: dict[Hashable, Any]) -> dict[str, Any]:
    spec, unit, started = job.spec, job.unit, time.perf_counter()
    retire(spec.folder, read_sidecar(spec.folder, unit.id, spec.sidecar), spec.sidecar)
    with temporary_folder(spec.folder, unit.id) as temporary:
        context = WorkContext(unit.id, spec.folder, temporary, held)
        details = spec.work(context, unit.payload, spec.parameters)
        context.discard()
        sidecar = {
            "stage": spec.name,
            "version": spec.version,
            "id": unit.id,
            "key": job.key,
            "inputs": dict(unit.inputs),
            "parameters_hash": parameters_hash(spec.parameters),
            "details": plain_json(details or {}),
            "organcam": __version__,
        }
        sidecar["outputs"] = context.commit()
        sidecar["seconds"] = round(time.perf_counter() - started, 4)
        sidecar = sealed(sidecar)
        name = spec.sidecar.format(id=unit.id)
        (temporary / name).write_text(to_json(sidecar), encoding="utf-8", newline="\n")
        (temporary / name).replace(spec.folder / name)
    return sidecar


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= REASON_LENGTH else f"{line[: REASON_LENGTH - 3]}..."


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return _one_line(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    return _one_line(str(error)) or type(error).__name__


def _prose(value: Any) -> Iterator[str]:
    """The texts in a payload that may be of a report: those of many words."""
    if isinstance(value, str):
        words = value.split()
        if len(words) >= PROSE_WORDS:
            yield " ".join(words)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _prose(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _prose(item)


def _without_quotations(text: str, prose: list[str]) -> str:
    """A message or traceback less the lines that quote the payload's prose: reports are not for logs."""
    return "\n".join("(withheld: quotes the report)" if _quotes(line, prose) else line for line in text.split("\n"))


def _quotes(line: str, prose: list[str]) -> bool:
    flat = " ".join(line.split())
    pieces = [flat[start : start + QUOTE_LENGTH] for start in range(len(flat) - QUOTE_LENGTH + 1)]
    return any(piece in text for piece in pieces for text in prose)
