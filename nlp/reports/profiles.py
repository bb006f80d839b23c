"""Label profiles: the labels of another data set, worked out from findings by rules kept as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from organcam.errors import ConfigError, did_you_mean

from ..language.yaml_data import check_keys, load_yaml, string_list
from .findings import Finding, ParsedReport
from .policy import positive_statuses

__all__ = ["Profile", "builtin_profiles", "load_profile"]

_FIELDS = ("abnormality", "concept", "location", "place")
_KEYS = (*_FIELDS, *(f"not_{field}" for field in _FIELDS), "not_named")
_KNOWN_FINDINGS = 20_000
# "nodular infiltrates", "linear subsegmental atelectasis"
_ADJECTIVE = re.compile(r"[\s-]*(?:(?!(?:and|or|with|in|of|at|on|to)\b)[^\W\d_]+[\s-]+)?")
_NEAR = 120  # characters between a finding and the one that names it


@dataclass(frozen=True)
class Rule:
    """Required and refused values of a finding's fields; a field that is not named may be anything."""

    required: tuple[tuple[str, frozenset[str]], ...]
    refused: tuple[tuple[str, frozenset[str]], ...]
    not_named: frozenset[str]
    """Abnormalities by which the text names the finding ("density increases consistent with atelectasis")."""

    def matches(self, finding: Finding, names: frozenset[str]) -> bool:
        """Whether a finding satisfies every key; ``names`` are the abnormalities that name it."""
        return (
            all(getattr(finding, field) in values for field, values in self.required)
            and not any(getattr(finding, field) in values for field, values in self.refused)
            and self.not_named.isdisjoint(names)
        )


@dataclass(frozen=True)
class Profile:
    """Labels of a data set and the rules that give them.

    Attributes:
        name: ``ct_rate``.
        vocabulary: the vocabulary whose findings the rules speak of.
        id_column: name of the id column in the data set's own label files.
        rules: rules by label, in the data set's order.
        naming: the words between a finding and another that names it ("consistent with").
        known: labels of the findings met so far.
    """

    name: str
    vocabulary: str
    id_column: str
    rules: Mapping[str, tuple[Rule, ...]]
    naming: re.Pattern[str]
    known: dict[tuple[object, ...], frozenset[str]] = field(default_factory=dict, compare=False, repr=False)

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
        there: set[str] = set()
        for finding, names in self._named(report.text, report.findings):
            if finding.status in statuses:
                there |= self._labels_of(finding, names)
        return {label: int(label in there) for label in self.rules}

    def _labels_of(self, finding: Finding, names: frozenset[str]) -> frozenset[str]:
        """The labels that one finding gives; they depend on few words, which repeat themselves."""
        key = (*[getattr(finding, field) for field in _FIELDS], names)
        known = self.known.get(key)
        if known is None:
            if len(self.known) >= _KNOWN_FINDINGS:
                self.known.clear()
            found = (label for label, rules in self.rules.items() if any(r.matches(finding, names) for r in rules))
            known = self.known[key] = frozenset(found)
        return known

    def _named(self, text: str, findings: Sequence[Finding]) -> Iterator[tuple[Finding, frozenset[str]]]:
        """Findings with the abnormalities of the finding that names each, if one does."""
        at: dict[int, set[str]] = {}
        sentence_of: dict[int, int] = {-1: -1}
        for finding in findings:
            at.setdefault(finding.start, set()).add(finding.abnormality)
            sentence_of[finding.start] = finding.sentence
        starts = sorted(at)
        following = dict(pairwise(starts))
        for finding in findings:
            after = following.get(finding.start, -1)
            near = finding.end <= after <= finding.end + _NEAR and finding.sentence == sentence_of[after]
            named = near and (
                self.naming.search(text, finding.end, after) is not None
                or _ADJECTIVE.fullmatch(text, finding.end, after) is not None
            )
            yield finding, frozenset(at[after]) if named else frozenset()


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
        ("name", "vocabulary", "id_column", "groups", "naming", "labels"),
        where,
    )
    groups = {key: string_list(value, f"{where}: groups.{key}") for key, value in (content.get("groups") or {}).items()}
    rules = {
        label: tuple(_rule(entry, groups, f"{where}: labels.{label}") for entry in entries)
        for label, entries in content["labels"].items()
    }
    naming = "|".join(re.escape(words) for words in string_list(content.get("naming"), f"{where}: naming"))
    pattern = re.compile(rf"\b(?:{naming or '(?!)'})\b", re.IGNORECASE)
    return Profile(name, content["vocabulary"], content["id_column"], rules, pattern)


def _rule(entry: object, groups: Mapping[str, tuple[str, ...]], where: str) -> Rule:
    checked = check_keys(entry, _KEYS, where)
    values = {
        key: frozenset(v for word in string_list(words, f"{where}.{key}") for v in groups.get(word, (word,)))
        for key, words in checked.items()
    }
    return Rule(
        tuple((key, value) for key, value in values.items() if not key.startswith("not_")),
        tuple((key[4:], value) for key, value in values.items() if key[4:] in _FIELDS),
        values.get("not_named", frozenset()),
    )
