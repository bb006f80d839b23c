"""The words of the runner: a unit of work, a stage, and what a work function gets to write its files with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from .atomic import commit
from .fingerprints import fingerprint_file, unit_key
from .identifiers import safe_id

__all__ = ["Failure", "FailureKind", "StageSpec", "Unit", "WorkContext"]

Made = TypeVar("Made")

MAX_OUTPUT = 200
"""Characters of an output's file name: an id and what the stage adds to it."""

FailureKind = Literal["data", "crash", "timeout", "internal", "unpaired", "damaged"]


@dataclass(frozen=True)
class Unit:
    """One scan in one stage.

    Attributes:
        id: scan id; becomes a file name.
        inputs: name to fingerprint of everything the result depends on beside the stage's parameters: source files,
            record fields, contents of the files upstream that are used. What is not here does not cause the unit to be
            done again.
        payload: plain picklable data for the work function, such as paths and record fields.
        needs: path to content hash of files of earlier stages that the work function reads; they are compared right
            before it does.

    Raises:
        DataError: if the id cannot be a file name.
    """

    id: str
    inputs: Mapping[str, str]
    payload: Mapping[str, Any]
    needs: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        safe_id(self.id)


@dataclass(frozen=True)
class WorkContext:
    """What a work function is given beside its payload and parameters.

    Attributes:
        id: scan id.
        folder: where the outputs land. Nothing is written to it directly.
    """

    id: str
    folder: Path
    _temporary: Path = field(repr=False)
    _held: dict[Hashable, Any] = field(default_factory=dict, repr=False)
    _outputs: list[str] = field(default_factory=list, repr=False)

    @property
    def scratch(self) -> Path:
        """A folder on the same disk for intermediate files, made on first use and removed after the unit."""
        scratch = self._temporary / "scratch"
        scratch.mkdir(exist_ok=True)
        return scratch

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gives, made once for all units of this scan that run together.

        Args:
            key: of all that the value depends on.
            make: called where there is no such value yet.
        """
        if key not in self._held:
            self._held[key] = make()
        made: Made = self._held[key]
        return made

    @contextmanager
    def output(self, name: str) -> Iterator[Path]:
        """A temporary path with the output's own file name (endings decide formats), to be written in the block.

        The file takes its place in ``folder`` when the work function has returned: a unit that fails half-way
        leaves no output at all.

        Args:
            name: plain file name, unique among the stage's units; conventionally begins with the id.

        Raises:
            DataError: if the name cannot be a file name.
            ValueError: if the unit has given that name already.
            RuntimeError: if the block wrote no file.
        """
        if safe_id(name, "output name", MAX_OUTPUT) in self._outputs:
            msg = f"output {name!r} of unit {self.id!r} is written twice"
            raise ValueError(msg)
        path = self._temporary / name
        yield path
        if not path.is_file():
            msg = f"output {name!r} of unit {self.id!r} was announced and no file written to the path handed out"
            raise RuntimeError(msg)
        self._outputs.append(name)

    def commit(self) -> dict[str, dict[str, Any]]:
        """Put the outputs in their place; called by the runner.

        Returns:
            Name to ``bytes`` and ``sha256``. Hashed here, while the file is still in memory: 1 GB a second.
        """
        made = {}
        for name in self._outputs:
            path = self._temporary / name
            content = fingerprint_file(path).removeprefix("sha256:")
            made[name] = {"bytes": path.stat().st_size, "sha256": content}
            commit(path, self.folder / name)
        return made

    def discard(self) -> None:
        """Remove the intermediate files; called by the runner."""
        if (self._temporary / "scratch").exists():
            shutil.rmtree(self._temporary / "scratch", ignore_errors=True)


Work = Callable[[WorkContext, Mapping[str, Any], Mapping[str, Any]], "Mapping[str, Any] | None"]
"""``work(context, payload, parameters) -> details``; at the top level of a module, so that it can be pickled."""


@dataclass(frozen=True)
class StageSpec:
    """A stage: one function and its parameters, the same for all units.

    Attributes:
        name: such as ``segment``.
        version: raised whenever the stage's code changes its output.
        folder: outputs and sidecars land here.
        work: ``work(context, payload, parameters) -> details``; details (plain data, no report text) go into the
            sidecar.
        parameters: plain data.
        sidecar: file name of a unit's sidecar; stages that share a folder need different ones.

    Raises:
        DataError: if the name cannot be a file name.
        ValueError: if the sidecar's name does not hold ``{id}``.
    """

    name: str
    version: int
    folder: Path
    work: Work
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sidecar: str = "{id}.json"

    def __post_init__(self) -> None:
        safe_id(self.name, "stage name")
        if "{id}" not in self.sidecar:
            msg = f"sidecar must hold {{id}}, such as '{{id}}.{self.name}.json', got {self.sidecar!r}"
            raise ValueError(msg)

    def key(self, unit: Unit) -> str:
        """Hash of all that the unit's files depend on."""
        return unit_key(self.name, self.version, self.parameters, unit.inputs)


@dataclass(frozen=True)
class Failure:
    """A unit that could not be done.

    Attributes:
        stage: the stage's name.
        id: scan id.
        reason: one line for the person at the keyboard; no report text.
        kind: ``data`` (the scan or report), ``crash`` (its process died), ``timeout``, ``internal`` (a fault of
            ours; the traceback is in the logs), ``unpaired`` (a scan without a report, or a report without a scan) or
            ``damaged`` (a file of an earlier stage is no longer what was written).
        files: the damaged ones.
    """

    stage: str
    id: str
    reason: str
    kind: FailureKind
    files: tuple[str, ...] = ()
