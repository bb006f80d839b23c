"""Reading a workflow file, with every mistake told at once.

A workflow is plain YAML data; it names components and never evaluates code. Mistakes are given with
their dotted path and the nearest legal key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ValidationError

from .agreement import contradictions
from .config import Workflow
from .errors import ConfigError, did_you_mean
from .yaml_file import DEEPEST, parse_yaml, problems_error, read_text

__all__ = ["apply_overrides", "load_workflow", "parse_workflow", "shipped_workflows"]

ALTERNATIVES = ("bool", "constrained-float", "float", "int", "str")
EXPERIMENTS = "experiments"
SHOWN = 60
"""Characters of a setting that are enough to know it by."""


def load_workflow(path: str | Path, overrides: Iterable[str] = ()) -> Workflow:
    """Read and check a workflow file.

    Args:
        path: a YAML file, or the name of a shipped workflow (``phantom``, ``folder``, ``experiments/table1``).
        overrides: ``dotted.key=value`` settings, the value in YAML; any key of the file may be set.

    Returns:
        The checked workflow.

    Raises:
        ConfigError: if the file is missing, is not YAML, or does not fit; all mistakes are named together.
    """
    source = _find_workflow(str(path))
    document = parse_yaml(source[1], source[0])
    if document is None:
        document = {}
    if not isinstance(document, dict):
        msg = f"{source[0]}: a workflow is a mapping of sections, this file holds a {type(document).__name__}"
        raise ConfigError(msg)
    return parse_workflow(apply_overrides(document, overrides), source[0])


def parse_workflow(document: Mapping[str, Any], source: str = "workflow") -> Workflow:
    """Check plain data as a workflow; ``source`` names it in the error."""
    try:
        workflow = Workflow.model_validate(dict(document))
    except ValidationError as error:
        told = dict.fromkeys(_explain(problem) for problem in _telling(error.errors()))
        raise problems_error(source, list(told)) from None
    if problems := contradictions(workflow):
        raise problems_error(source, problems)
    return workflow


def apply_overrides(document: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """``dotted.key=value`` settings over a document; the document itself stays as it is."""
    result = deepcopy(document)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            msg = f"--set {override}: write it as dotted.key=value, such as train.epochs=5"
            raise ConfigError(msg)
        keys = key.split(".")
        if len(keys) > DEEPEST:
            msg = f"--set {key[:SHOWN]}...: a key of {len(keys)} parts"
            raise ConfigError(msg)
        _assign(result, keys, parse_yaml(text, f"--set {override[:SHOWN]}"), override)
    return result


def _assign(node: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        child = node.get(key)
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict):
            msg = f"--set {override}: '{key}' holds a value, not a section"
            raise ConfigError(msg)
        node = child
    node[keys[-1]] = value


def shipped_workflows() -> list[str]:
    """Names of the workflows that come with the package, those of experiments after the others."""
    folder = files("organcam.workflows")
    found = {
        prefix: sorted(entry.name.removesuffix(".yaml") for entry in room.iterdir() if entry.name.endswith(".yaml"))
        for prefix, room in (("", folder), (f"{EXPERIMENTS}/", folder / EXPERIMENTS))
    }
    return [f"{prefix}{name}" for prefix, names in found.items() for name in names]


def _find_workflow(path: str) -> tuple[str, str]:
    file = Path(path)
    if file.is_file():
        return str(file), read_text(file, str(file))
    shipped, name = shipped_workflows(), file.as_posix().removeprefix("workflows/").removesuffix(".yaml")
    if name in shipped:
        return f"{name}.yaml (shipped)", (files("organcam.workflows") / f"{name}.yaml").read_text(encoding="utf-8")
    msg = f"no workflow file {path}. Shipped ones, by name: {did_you_mean(name, shipped)}"
    raise ConfigError(msg)


def _telling(problems: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The problems less what pydantic tells of the alternatives of a setting that was not meant.

    A setting that may be a number or a list gives one problem for each; where a list was given, that it is no number
    goes without saying. Names of alternatives are no part of the path.
    """
    meant: dict[tuple[Any, ...], bool] = {}
    for problem in problems:
        place = _union_place(problem["loc"])
        meant[place] = meant.get(place, False) or not _of_another_kind(problem, place)
    for problem in problems:
        place = _union_place(problem["loc"])
        if place == problem["loc"] or not meant[place] or not _of_another_kind(problem, place):
            yield {**problem, "loc": place + _indices(problem, place)}


def _union_place(location: tuple[Any, ...]) -> tuple[Any, ...]:
    """The path of a setting, up to where pydantic names one of its alternatives (``list[str]``, ``literal['all']``)."""
    for depth, part in enumerate(location):
        if depth > 1 and isinstance(part, str) and ("[" in part or part in ALTERNATIVES):
            return location[:depth]
    return location


def _of_another_kind(problem: Mapping[str, Any], place: tuple[Any, ...]) -> bool:
    """Whether an alternative was not meant: the value itself, not something in it, is of another type."""
    kind = problem["type"]
    of_type = kind.endswith("_type") or kind in {"literal_error", "bool_parsing", "float_parsing"}
    return of_type and not _indices(problem, place)


def _indices(problem: Mapping[str, Any], place: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part for part in problem["loc"][len(place) :] if isinstance(part, int))


def _explain(problem: Mapping[str, Any]) -> str:
    """One mistake of a file: its dotted path, what is wrong, the nearest legal key or what was found."""
    location = [str(part) for part in problem["loc"]]
    path = ".".join(location)
    if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        legal = _legal_keys(location[:-1])
        return f"{path}: no such key" + (f", {did_you_mean(location[-1], legal)}" if legal else "")
    message = problem["msg"].removeprefix("Value error, ")
    message = "input should be a path" if problem["type"] == "path_type" else message[0].lower() + message[1:]
    found = problem.get("input")
    shown = f" (found {found!r})" if isinstance(found, (str, int, float, bool, list)) and len(repr(found)) < 80 else ""
    return f"{path}: {message}{shown}" if path else f"{message}"


def _legal_keys(location: list[str]) -> list[str]:
    """Keys of the section at a path; names of models and positions in lists lead into their section."""
    section: Any = Workflow
    for part in location:
        inner = _section_in(_annotations(section).get(part))
        section = section if inner is None else inner
    return sorted(_annotations(section))


def _annotations(section: Any) -> dict[str, Any]:
    if is_dataclass(section):
        hints = get_type_hints(section)
        return {entry.name: hints[entry.name] for entry in fields(section)}
    return {name: entry.annotation for name, entry in getattr(section, "model_fields", {}).items()}


def _section_in(annotation: Any) -> Any:
    """The section class inside an annotation such as ``PhantomSettings | None``."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
