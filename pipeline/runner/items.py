"""What goes to an executor and comes back: any item, and its result or what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

__all__ = ["Item", "Lost", "Result"]

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Lost:
    """In place of a result: the process died under the item, or had to be ended."""

    kind: Literal["crash", "timeout"]
    reason: str
