"""What all sections of a workflow have in common, and checks of single values that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from ..errors import did_you_mean
from ..registry import Registry

__all__ = ["Section", "listed", "named_in", "once", "rising"]

Item = TypeVar("Item")


class Section(BaseModel):
    """Base of every part of a workflow: unknown keys are refused, values cannot change after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def listed(what: str) -> Callable[[Sequence[Item]], Sequence[Item]]:
    """A check that a list names something, and nothing twice; ``what`` it names goes into the message."""

    def check(values: Sequence[Item]) -> Sequence[Item]:
        if not len(values):
            msg = f"name at least one {what}"
            raise ValueError(msg)
        return once(values)

    return check


def once(values: Sequence[Item]) -> Sequence[Item]:
    """A check that nothing is listed twice."""
    for position, value in enumerate(values):
        if value in values[:position]:
            msg = f"{value:g} is listed twice" if isinstance(value, float) else f"{str(value)!r} is listed twice"
            raise ValueError(msg)
    return values


def named_in(registry: Registry[Any]) -> Callable[[str], str]:
    """A check that a name stands for something."""

    def check(name: str) -> str:
        if name not in registry:
            msg = f"unknown {registry.kind} '{name}': {did_you_mean(name, registry.names())}"
            raise ValueError(msg)
        return name

    return check


def rising(ends: tuple[float, float]) -> tuple[float, float]:
    """A check that of two ends the lower one comes first."""
    if ends[0] >= ends[1]:
        msg = f"the lower end comes first, got {ends[0]:g} to {ends[1]:g}"
        raise ValueError(msg)
    return ends
