"""Names that a workflow may use, extended by installed packages through entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from .errors import ConfigError, did_you_mean

__all__ = ["Registry"]

Built = TypeVar("Built")


class Registry(Generic[Built]):
    """A small table of builders by name.

    Args:
        kind: what is built, for messages ("network").
        group: entry-point group that installed packages add to; a name of our own wins over one of theirs.
        lazy: name to ``module:attribute``, imported when it is first asked for: what a workflow may name is then
            known without loading torch.

    Example:
        >>> shapes = Registry[str]("shape", group="example.shapes")
        >>> shapes.register("cube")(lambda: "six faces")()
        'six faces'
        >>> shapes.build("cube")
        'six faces'
    """

    def __init__(self, kind: str, group: str, lazy: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._lazy = dict(lazy or {})
        self._builders: dict[str, Callable[..., Built]] = {}

    def register(self, name: str) -> Callable[[Callable[..., Built]], Callable[..., Built]]:
        """Decorator that adds a builder under ``name``.

        Raises:
            ValueError: if the name is taken.
        """

        if name in self._builders or name in self._lazy:
            msg = f"{self.kind} {name!r} is registered already"
            raise ValueError(msg)

        def add(builder: Callable[..., Built]) -> Callable[..., Built]:
            self._builders[name] = builder
            return builder

        return add

    def __contains__(self, name: object) -> bool:
        """Whether something has that name; installed packages are looked through for those only that are not ours."""
        return name in self._builders or name in self._lazy or name in self.names()

    def names(self) -> tuple[str, ...]:
        """All names, in alphabetical order."""
        return tuple(sorted({*self._builders, *self._lazy, *(point.name for point in entry_points(group=self.group))}))

    def get(self, name: str) -> Callable[..., Built]:
        """The builder of that name.

        Raises:
            ConfigError: if there is none; the message holds the nearest name and all of them.
        """
        if name in self._lazy and name not in self._builders:
            module, _, attribute = self._lazy[name].partition(":")
            self._builders[name] = getattr(import_module(module), attribute)
        if name in self._builders:
            return self._builders[name]
        for point in entry_points(group=self.group):
            if point.name == name:
                return point.load()
        msg = f"unknown {self.kind} {name!r}: {did_you_mean(name, self.names())}"
        raise ConfigError(msg)

    def build(self, name: str, **arguments: Any) -> Built:
        """Build by name."""
        return self.get(name)(**arguments)
