"""Where in a network a method looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

from ...errors import did_you_mean

__all__ = ["Place", "looks_at", "place_of"]

Place = Literal["layer", "head", "input", "guided", "guided layer", "scores"]
"""Activation and gradient of a layer ("layer"), of the layer before global average pooling and one linear layer
("head"), the input and its gradient ("input"), the same with guided ReLUs ("guided"), that and a layer ("guided
layer"), or nothing but scores ("scores")."""

Method = TypeVar("Method", bound=Callable[..., Any])


def looks_at(place: Place) -> Callable[[Method], Method]:
    """Decorator that says where a method looks; one without it looks at a layer.

    Raises:
        ValueError: for an unknown place.
    """
    if place not in get_args(Place):
        msg = f"unknown place {place!r}: {did_you_mean(place, get_args(Place))}"
        raise ValueError(msg)

    def mark(method: Method) -> Method:
        method.place = place  # type: ignore[attr-defined]
        return method

    return mark


def place_of(method: Callable[..., Any]) -> Place:
    """Where a method looks."""
    return getattr(method, "place", "layer")
