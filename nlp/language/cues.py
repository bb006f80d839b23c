"""Cues: the words that say whether a finding is there and how it changed, read from ``cues/<language>.yaml``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, product
from pathlib import Path
from typing import Any

from organcam.errors import ConfigError, did_you_mean

from .folders import ENGLISH
from .references import ReferenceFinder
from .text import WordForms, load_word_forms
from .trie import Trie
from .yaml_data import check_keys, load_yaml, string_list

__all__ = ["Cue", "CueTable", "load_cues"]

_SLOT = re.compile(r"\{(\w+)\}")
_RANK = {"resolved": 5.0, "present": 4.0, "absent": 3.0, "historical": 2.0, "uncertain": 1.0}
_OUTWEIGHS_ABSENCE = 3.5
_STATUS = ("absent", "uncertain", "historical", "resolved", "present", "stop", "")
_CHANGE = ("new", "stable", "larger", "smaller", "")
_DIRECTIONS = ("forward", "backward", "both", "last", "next")
_CUE = ("status", "change", "direction", "outweighs_absence", "stopped_by", "denied_by", "terms", "note")
_WORDS = (
    *("finite", "openers", "hard_breaks", "joins", "prepositions", "anaphora", "history_stops", "continuations"),
    *("denials", "titles", "relatives", "normal", "series", "image", "reference_numbers", "reference_leads"),
    *("no_typos", "of_adjectives", "emphasis", "and", "articles", "links", "nouns_of_part", "amounts", "touching"),
    *("not_there", "distances", "also", "existential", "nothing", "negations", "pronouns", "prior", "past_tense"),
    *("now", "contrasts", "limits", "times", "up_to", "clause_and", "with", "degrees", "back_references", "examples"),
    *("asides", "ranges", "measures", "prior_studies", "versus", "indefinite", "spans", "subjects", "touched"),
)


@dataclass(frozen=True)
class Cue:
    """One category of cue words.

    Attributes:
        name: its key in the file; it becomes the rule of the findings that it decides.
        status: absent, uncertain, historical, resolved, present, stop, or empty.
        change: new, stable, larger, smaller, or empty.
        forward: governs what follows in the clause.
        backward: governs what precedes.
        last: of what precedes only the last finding ("..., pneumonia?").
        next: of what follows only the finding right after it ("previous pneumonia").
        stopped_by: a word list whose words end its reach ("history of ... with"), or empty.
        denied_by: a cue category right before it that makes it an affirmation ("not free of"), or empty.
        rank: which status wins where several cues govern one finding; the highest does.
    """

    name: str
    status: str
    change: str
    forward: bool
    backward: bool
    last: bool
    next: bool
    stopped_by: str
    denied_by: str
    rank: float


@dataclass(frozen=True)
class CueTable:
    """All cues of a language, ready for matching; ``names`` of a hit may join several categories by ``|``."""

    cues: Mapping[str, Cue]
    joined: Mapping[str, tuple[Cue, ...]]
    stops: frozenset[str]
    trie: Trie
    words: Mapping[str, frozenset[str]]
    anaphora: Trie
    back_references: Trie
    back_signs: frozenset[str]
    """Words of which each of ``back_references`` has one: a quick look."""
    references: ReferenceFinder

    def of(self, joined: str) -> tuple[Cue, ...]:
        """The categories of a hit."""
        return self.joined[joined]


@lru_cache(maxsize=4)
def load_cues(folder: Path = ENGLISH) -> CueTable:
    """The cues of a language, from ``cues.yaml`` in its folder.

    Raises:
        ConfigError: if the file is missing or breaks the schema.
    """
    path = folder / "cues.yaml"
    where, forms = str(path), load_word_forms(folder)
    content = check_keys(load_yaml(path), ("language", "slots", "cues", "words"), where)
    given_slots = check_keys(content.get("slots") or {}, content.get("slots") or {}, f"{where}: slots")
    slots = {key: string_list(value, f"{where}: slots.{key}") for key, value in given_slots.items()}
    cues: dict[str, Cue] = {}
    names: dict[tuple[str, ...], str] = {}
    for name, entry in check_keys(content.get("cues") or {}, content.get("cues") or {}, f"{where}: cues").items():
        cues[name] = _cue(name, entry, f"{where}: cues.{name}")
        for term in string_list(entry.get("terms"), f"{where}: cues.{name}.terms"):
            for words in _expand(term, slots, forms, f"{where}: cues.{name}.terms"):
                names[words] = (
                    f"{names[words]}|{name}" if words in names and name not in names[words].split("|") else name
                )
    trie, anaphora, back_references = Trie(), Trie(), Trie()
    trie.update((words, "cue", joined) for words, joined in names.items())
    given = check_keys(content.get("words") or {}, _WORDS, f"{where}: words")
    lists = {key: string_list(value, f"{where}: words.{key}") for key, value in given.items()}
    anaphora.update((forms.term(term), "anaphora", "") for term in lists.get("anaphora", ()))
    back_references.update((forms.term(term), "anaphora", "") for term in lists.get("back_references", ()))
    sets = {key: frozenset(w for v in lists.get(key, ()) for w in forms.term(v)) for key in _WORDS}
    # unions that every sentence needs, made once
    signs = {",", ";", "/", "&", "+"}
    sets["clause_joins"] = frozenset((",", ";", *(sets["and"] & sets["joins"] & sets["clause_and"])))
    sets["joints"] = sets["clause_joins"] | sets["hard_breaks"]
    sets["clause_signs"] = sets["hard_breaks"] | sets["existential"] | sets["nothing"] | {";"}
    sets["clause_words"] = sets["finite"] | sets["negations"] | sets["clause_joins"] | sets["hard_breaks"]
    sets["place_joins"] = sets["and"] | (signs - {";"})
    sets["between_places"] = sets["place_joins"] | sets["links"] | sets["nouns_of_part"] | {"'s", "-", "(", ")"}
    sets["separators"] = sets["normal"] | {",", ";"}
    sets["between_place_and_finding"] = sets["finite"] | sets["prepositions"] | sets["and"] | sets["with"] | {",", ":"}
    sets["between_size_and_finding"] = sets["finite"] | sets["prepositions"] | sets["joins"] | sets["with"]
    return CueTable(
        cues=cues,
        joined={joined: tuple(cues[name] for name in joined.split("|")) for joined in names.values()},
        stops=frozenset(j for j in names.values() if any(cues[n].status == "stop" for n in j.split("|"))),
        trie=trie,
        words=sets,
        anaphora=anaphora,
        back_references=back_references,
        back_signs=_signs(
            (forms.term(t) for t in lists.get("back_references", ())), sets["prepositions"] | sets["articles"]
        ),
        references=ReferenceFinder(
            *(lists.get(key, ()) for key in ("series", "image", "reference_numbers", "reference_leads"))
        ),
    )


def _signs(terms: Iterable[tuple[str, ...]], small: frozenset[str]) -> frozenset[str]:
    """The first word of each term that is no small word."""
    return frozenset(next((word for word in words if word not in small), words[0]) for words in terms)


def _cue(name: str, entry: Mapping[str, Any], where: str) -> Cue:
    check_keys(
        entry, ("status", "change", "direction", "outweighs_absence", "stopped_by", "denied_by", "terms", "note"), where
    )
    status, change, direction = entry.get("status", ""), entry.get("change", ""), entry.get("direction", "forward")
    stopped_by, denied_by = entry.get("stopped_by", ""), entry.get("denied_by", "")
    for key, value, legal in (
        ("stopped_by", stopped_by, (*_WORDS, "")),
        ("status", status, _STATUS),
        ("change", change, _CHANGE),
        ("direction", direction, _DIRECTIONS),
    ):
        if value not in legal:
            msg = f"{where}.{key}: unknown value {value!r}; {did_you_mean(str(value), [w for w in legal if w])}"
            raise ConfigError(msg)
    rank = _OUTWEIGHS_ABSENCE if entry.get("outweighs_absence") else _RANK.get(status, 0.0)
    forward, backward = direction in ("forward", "both", "next"), direction in ("backward", "both", "last")
    last, next_ = direction == "last", direction == "next"
    return Cue(name, status, change, forward, backward, last, next_, stopped_by, denied_by, rank)


def _expand(term: str, slots: Mapping[str, tuple[str, ...]], forms: WordForms, where: str) -> list[tuple[str, ...]]:
    """A term with ``{slot}`` marks as all its word sequences."""
    if "{" not in term:
        return [forms.term(term)]
    parts: list[list[tuple[str, ...]]] = []
    for part in _SLOT.split(term):  # every second one is the name of a slot
        named = len(parts) % 2 == 1
        if named and part not in slots:
            msg = f"{where}: unknown slot {{{part}}} in {term!r}; {did_you_mean(part, slots)}"
            raise ConfigError(msg)
        parts.append([forms.term(choice) for choice in slots[part]] if named else [forms.term(part)])
    return [tuple(chain.from_iterable(choice)) for choice in product(*parts)]
