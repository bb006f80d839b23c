"""How the files of an earlier stage stand: as its plan would make them now, missing, stale or damaged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import OrganCamError
from ..runner import StagePlan, unit_state

__all__ = ["NotReadyError", "Survey", "is_or_are", "named", "require_made", "survey", "was_or_were"]

SHOWN = 3


class NotReadyError(OrganCamError):
    """An earlier stage has to run first.

    Args:
        message: which one, and why.
        stale: whether it has run, with other settings or on other files.
    """

    def __init__(self, message: str, *, stale: bool) -> None:
        super().__init__(message)
        self.stale = stale


@dataclass(frozen=True)
class Survey:
    """How the files of a plan stand.

    Attributes:
        current: id to sidecar of what the stage would make now, in the order of the plan.
        unfit: id to ``missing`` or ``stale`` (made with other settings or from other files) of the rest.
        damaged: id to sidecar of units whose outputs are gone or cut.
    """

    current: Mapping[str, dict[str, Any]]
    unfit: Mapping[str, str]
    damaged: Mapping[str, dict[str, Any]]


def survey(plan: StagePlan, lost: Collection[str]) -> Survey:
    """Look at every unit of a plan, but for those that are lost."""
    current: dict[str, dict[str, Any]] = {}
    unfit: dict[str, str] = {}
    damaged: dict[str, dict[str, Any]] = {}
    for unit in plan.units:
        state, sidecar = unit_state(plan.spec, unit)
        if unit.id in lost:
            continue
        if state == "current" and sidecar is not None:
            current[unit.id] = sidecar
        elif state == "damaged" and sidecar is not None:
            damaged[unit.id] = sidecar
        else:
            unfit[unit.id] = state
    return Survey(current, unfit, damaged)


def named(names: Sequence[str], what: str) -> str:
    """``12 scans (a, b, c ...)``."""
    more = " ..." if len(names) > SHOWN else ""
    plural = what if len(names) == 1 or " " in what else f"{what}s"
    return f"{len(names)} {plural} ({', '.join(names[:SHOWN])}{more})"


def is_or_are(names: Sequence[str]) -> str:
    """The verb of so many names."""
    return "is" if len(names) == 1 else "are"


def was_or_were(names: Sequence[str]) -> str:
    """The verb of so many names."""
    return "was" if len(names) == 1 else "were"


def require_made(plan: StagePlan, found: Survey, failed: Collection[str]) -> None:
    """Refuse to go on where an earlier stage has not made what it would make now.

    Args:
        plan: of the earlier stage.
        found: how its files stand.
        failed: ids that it could not do, which is known.

    Raises:
        NotReadyError: naming what is missing or stale, and the stage to run.
    """
    for state, why in (("missing", ""), ("stale", " (made with other settings, or from other files)")):
        names = [name for name, its in found.unfit.items() if its == state and name not in failed]
        if names:
            told = f"{named(names, 'of them')} {is_or_are(names)} {state}{why}"
            msg = f"{plan.what}: {told}: run the {plan.spec.name} stage"
            raise NotReadyError(msg, stale=state == "stale")
