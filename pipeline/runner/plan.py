"""What a stage would make now: the one description from which it works and by which later stages check its files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from .sidecars import has_hashes, is_whole, read_sidecar
from .unit import StageSpec, Unit

__all__ = ["StagePlan", "UnitState", "unit_state"]

UnitState = Literal["current", "missing", "stale", "damaged"]


@dataclass(frozen=True)
class StagePlan:
    """A stage with its units under the settings and inputs of now.

    Attributes:
        spec: the stage.
        units: one for each scan (or table, or model).
        what: its outputs in words, such as ``attention of the model masked``.
        keep: ids whose files stay although there is no unit for them now (their scan failed on the way); all other
            units of the stage's folder are removed when the stage runs.
        shared: path to content hash of files of earlier stages that several units read.
        in_process: whether the units run one after another in the driver and not in its workers.
        timeout: seconds a unit may take; None for any.
    """

    spec: StageSpec
    units: tuple[Unit, ...]
    what: str
    keep: frozenset[str] = frozenset()
    shared: Mapping[str, str] = field(default_factory=dict)
    in_process: bool = False
    timeout: float | None = None

    def only(self, ids: Iterable[str]) -> StagePlan:
        """The same plan with some of its units."""
        wanted = set(ids)
        return replace(self, units=tuple(unit for unit in self.units if unit.id in wanted))


def unit_state(spec: StageSpec, unit: Unit) -> tuple[UnitState, dict[str, Any] | None]:
    """Whether a unit's files are those that the stage would make now, and its sidecar.

    ``damaged`` are outputs that are gone or have another size; what they hold is compared where they are read.
    """
    sidecar = read_sidecar(spec.folder, unit.id, spec.sidecar)
    if sidecar is None or sidecar.get("stage") != spec.name:
        return "missing", None
    if sidecar.get("key") != spec.key(unit) or not has_hashes(sidecar):
        return "stale", sidecar
    return ("current" if is_whole(sidecar, spec.folder) else "damaged"), sidecar
