"""Label profiles: the labels of another data set, worked out from findings by rules kept as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from organcam.errors import ConfigError, did_you_mean

from .findings import Finding, ParsedReport
from .policy import positive_statuses
from .yaml_data import check_keys, load_yaml, string_list

__all__ = ["Profile", "builtin_profiles", "load_profile"]

_FIELDS = ("abnormality", "concept", "location", "place")
_KEYS = (*_FIELDS, *(f"not_{field}" for field in _FIELDS))


@dataclass(frozen=True)
class Rule:
    """Required and refused values of a finding's fields; a field that is not named may be anything."""

    required: tuple[tuple[str, frozenset[str]], ...]
    refused: tuple[tuple[str, frozenset[str]], ...]

    def matches(self, finding: Finding) -> bool:
        """Whether a finding satisfies every key."""
        return all(getattr(finding, field) in values for field, values in self.required) and not any(
            getattr(finding, field) in values for field, values in self.refused
        )


@dataclass(frozen=True)
class Profile:
    """Labels of a data set and the rules that give them.

    Attributes:
        name: ``ct_rate``.
        vocabulary: the vocabulary whose findings the rules speak of.
        id_column: name of the id column in the data set's own label files.
        rules: rules by label, in the data set's order.
    """

    name: str
    vocabulary: str
    id_column: str
    rules: Mapping[str, tuple[Rule, ...]]

    @property
    def abnormalities(self) -> frozenset[str]:
        """Labels of the vocabulary that the rules speak of."""
        values = [
            v for rules in self.rules.values() for r in rules for field, v in r.required if field == "abnormality"
        ]
        return frozenset().union(*values)

    def labels(self, report: ParsedReport, uncertain: str = "positive", historical: str = "negative") -> dict[str, int]:
        """0 or 1 for every label of the profile."""
        statuses = positive_statuses(uncertain, historical)
        findings = [finding for finding in report.findings if finding.status in statuses]
        return {label: int(any(r.matches(f) for f in findings for r in rules)) for label, rules in self.rules.items()}


def builtin_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    return tuple(
        sorted(e.name[:-5] for e in (files("organcam.nlp") / "profiles").iterdir() if e.name.endswith(".yaml"))
    )


@lru_cache(maxsize=4)
def load_profile(name: str) -> Profile:
    """A label profile by name.

    Raises:
        ConfigError: if it is unknown or its file breaks the schema.
    """
    if name not in builtin_profiles():
        msg = f"unknown label profile {name!r}; {did_you_mean(name, builtin_profiles())}"
        raise ConfigError(msg)
    where = f"profiles/{name}.yaml"
    content = check_keys(
        load_yaml(Path(str(files("organcam.nlp") / "profiles" / f"{name}.yaml"))),
        ("name", "vocabulary", "id_column", "groups", "labels"),
        where,
    )
    groups = {key: string_list(value, f"{where}: groups.{key}") for key, value in (content.get("groups") or {}).items()}
    rules = {
        label: tuple(_rule(entry, groups, f"{where}: labels.{label}") for entry in entries)
        for label, entries in content["labels"].items()
    }
    return Profile(name, content["vocabulary"], content["id_column"], rules)


def _rule(entry: object, groups: Mapping[str, tuple[str, ...]], where: str) -> Rule:
    checked = check_keys(entry, _KEYS, where)
    values = {
        key: frozenset(v for word in string_list(words, f"{where}.{key}") for v in groups.get(word, (word,)))
        for key, words in checked.items()
    }
    return Rule(
        tuple((key, value) for key, value in values.items() if not key.startswith("not_")),
        tuple((key[4:], value) for key, value in values.items() if key.startswith("not_")),
    )
