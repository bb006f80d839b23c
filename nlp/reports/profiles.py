"""Label profiles: the labels of another data set, worked out from findings by rules kept as data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

from organcam.errors import ConfigError, did_you_mean

from ..language.cues import load_cues
from ..language.vocabulary import Vocabulary, load_vocabulary
from ..language.yaml_data import all_at_once, load_yaml, string_list
from .findings import Finding, ParsedReport
from .policy import positive_statuses

__all__ = ["Profile", "builtin_profiles", "load_profile"]

_FIELDS = ("abnormality", "concept", "location", "place")
_TOP = ("name", "vocabulary", "id_column", "groups", "naming", "labels")
_KEYS = (*_FIELDS, *(f"not_{field}" for field in _FIELDS), "not_named")
_KNOWN_FINDINGS = 20_000
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
        adjective: what stands between an adjective that is a finding and its noun ("linear subsegmental atelectasis").
        known: labels of the findings met so far.
    """

    name: str
    vocabulary: str
    id_column: str
    rules: Mapping[str, tuple[Rule, ...]]
    naming: re.Pattern[str]
    adjective: re.Pattern[str]
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
                or self.adjective.fullmatch(text, finding.end, after) is not None
            )
            yield finding, frozenset(at[after]) if named else frozenset()


def builtin_profiles() -> tuple[str, ...]:
    """Names of the profiles that come with the package."""
    return tuple(
        sorted(e.name[:-5] for e in (files("organcam.nlp") / "profiles").iterdir() if e.name.endswith(".yaml"))
    )


def load_profile(name_or_path: str | Path) -> Profile:
    """A label profile by its name or by the path of a YAML file.

    Args:
        name_or_path: ``ct_rate``, or a path ending in ``.yaml`` or ``.yml``.

    Raises:
        ConfigError: if it is unknown or its file breaks the schema; all mistakes are told at once.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        try:
            return _load(path, path.stat().st_mtime_ns)
        except OSError as error:
            msg = f"{path}: cannot be read ({error})"
            raise ConfigError(msg) from error
    if text not in builtin_profiles():
        hint = did_you_mean(text, builtin_profiles())
        msg = f"unknown label profile {text!r}; {hint}, or a file that ends in .yaml"
        raise ConfigError(msg)
    return _load(Path(str(files("organcam.nlp") / "profiles" / f"{text}.yaml")), 0)


@lru_cache(maxsize=4)
def _load(path: Path, _stamp: int) -> Profile:
    content, problems = load_yaml(path), _Problems()
    for key in content:
        if key not in _TOP:
            problems.append((str(key), f"unknown key {key!r}; {did_you_mean(str(key), _TOP)}"))
    for key in ("name", "vocabulary"):
        if not isinstance(content.get(key), str):
            problems.append((key, f"needs `{key}`, a name"))
    if not isinstance(content.get("id_column") or "", str):
        problems.append(("id_column", f"must be the name of a column, got {content['id_column']!r}"))
    groups = {key: problems.words(value, f"groups.{key}") for key, value in problems.mapping(content, "groups").items()}
    rules: dict[str, tuple[Rule, ...]] = {}
    for label, entries in problems.mapping(content, "labels").items():
        if not isinstance(entries, list) or not entries:
            problems.append((f"labels.{label}", f"must be a list of rules, got {entries!r}"))
            continue
        rules[label] = tuple(_rule(e, groups, f"labels.{label}.{n}", problems) for n, e in enumerate(entries, 1))
    naming = "|".join(re.escape(words) for words in problems.words(content.get("naming"), "naming"))
    if isinstance(content.get("vocabulary"), str):
        problems += _unknown_names(rules, content["vocabulary"], path)
    if problems:
        raise all_at_once(path, problems)
    pattern = re.compile(rf"\b(?:{naming or '(?!)'})\b", re.IGNORECASE)
    identity = str(content.get("id_column") or "report_id")
    vocabulary = str(content["vocabulary"])
    return Profile(str(content["name"]), vocabulary, identity, rules, pattern, _adjective(vocabulary, path))


def _adjective(vocabulary: str, path: Path) -> re.Pattern[str]:
    """At most one word, and none that joins or leads."""
    lists = load_cues(_vocabulary(vocabulary, path).language).words
    small = "|".join(re.escape(word) for word in sorted(lists["and"] | lists["with"] | lists["prepositions"]))
    return re.compile(rf"[\s-]*(?:(?!(?:{small or '(?!)'})\b)[^\W\d_]+[\s-]+)?", re.IGNORECASE)


class _Problems(list[tuple[str, str]]):
    """The mistakes of a file found so far, by dotted key, so that all of them can be told at once."""

    def words(self, value: object, key: str) -> tuple[str, ...]:
        """A list of words; where it is none, that is a mistake."""
        try:
            return string_list(value, "")
        except ConfigError as error:
            self.append((key, str(error).removeprefix(": ")))
            return ()

    def mapping(self, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """A mapping by words under a key; where it is none, that is a mistake."""
        value = content.get(key)
        if value is None:
            return {}
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return value
        self.append((key, f"must be a mapping by words, got {value!r} (quote words such as no and on)"))
        return {}


def _vocabulary(name: str, path: Path) -> Vocabulary:
    """The vocabulary that a profile names; a file counts from the profile's folder."""
    return load_vocabulary(path.parent / name if name.endswith((".yaml", ".yml")) else name)


def _unknown_names(rules: Mapping[str, tuple[Rule, ...]], vocabulary: str, path: Path) -> list[tuple[str, str]]:
    """Values of rules that are no abnormality, concept, location or place of the profile's vocabulary."""
    try:
        words = _vocabulary(vocabulary, path)
    except ConfigError as error:
        return [("vocabulary", str(error))]
    legal = {
        "abnormality": words.labels,
        "concept": tuple(words.concepts),
        "location": words.locations,
        "place": tuple(words.places),
    }
    problems = []
    for label, entries in rules.items():
        for number, rule in enumerate(entries, 1):
            for field_name, values in (*rule.required, *rule.refused, ("abnormality", rule.not_named)):
                for value in sorted(values - set(legal[field_name])):
                    near = get_close_matches(value, legal[field_name], n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"the vocabulary {words.name} has none like it"
                    problems.append((f"labels.{label}.{number}", f"unknown {field_name} {value!r}; {hint}"))
    return problems


def _rule(entry: object, groups: Mapping[str, tuple[str, ...]], where: str, problems: _Problems) -> Rule:
    if not isinstance(entry, Mapping):
        problems.append((where, f"must be a mapping, got {entry!r}"))
        return Rule((), (), frozenset())
    values: dict[str, frozenset[str]] = {}
    for key, words in entry.items():
        if key not in _KEYS:
            problems.append((f"{where}.{key}", f"unknown key {key!r}; {did_you_mean(str(key), _KEYS)}"))
            continue
        given = problems.words(words, f"{where}.{key}")
        values[key] = frozenset(value for word in given for value in groups.get(word, (word,)))
    return Rule(
        tuple((key, value) for key, value in values.items() if not key.startswith("not_")),
        tuple((key[4:], value) for key, value in values.items() if key[4:] in _FIELDS),
        values.get("not_named", frozenset()),
    )
