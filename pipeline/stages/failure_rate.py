"""How many scans may fail before a run is not what it was meant to be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..errors import OrganCamError
from ..runner import Failure
from .run import Run

__all__ = ["TRAINING_STAGES", "first_of", "first_reasons", "require_enough_scans"]

TRAINING_STAGES = ("train", "explain", "evaluate")
"""Stages that work on splits; the others take every scan for itself."""

SHOWN = 3


def require_enough_scans(run: Run) -> None:
    """Refuse to train on what is left of a data set: a disk that is gone looks like many unreadable scans.

    Raises:
        OrganCamError: if a greater share of the scans than ``data.max_failed`` has failed so far.
    """
    lost = [failure for failure in run.failures if failure.kind != "unpaired"]
    failed = {failure.id for failure in lost}
    everyone = failed | {record.scan_id for record in run.manifest()}
    most = run.workflow.data.max_failed
    if len(failed) > most * len(everyone):
        share = len(failed) / len(everyone)
        msg = (
            f"{len(failed)} of {len(everyone)} scans cannot be used ({share:.0%}, data.max_failed allows {most:.0%}); "
            f"failures.csv lists them: {first_reasons(lost)}"
        )
        raise OrganCamError(msg)


def first_reasons(failures: Iterable[Failure]) -> str:
    """A few failures in one line."""
    return first_of({failure.id: failure.reason for failure in failures})


def first_of(told: Mapping[str, str]) -> str:
    """A few ids with what is to be said of them, in one line."""
    shown = "; ".join(f"{name}: {text}" for name, text in list(told.items())[:SHOWN])
    return f"{shown}; and {len(told) - SHOWN} more" if len(told) > SHOWN else shown
