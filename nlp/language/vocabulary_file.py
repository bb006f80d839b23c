"""Vocabulary files: where they are, what they extend, and whether their keys are those of the format.

The format is described in ``docs/how-to/new-vocabulary.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from organcam.errors import ConfigError, did_you_mean

from .folders import ENGLISH, language_folder
from .text import load_word_forms
from .vocabulary_schema import SECTIONS, TOP, term_list, wrong_entries
from .yaml_data import all_at_once, check_keys, load_yaml, string_list

__all__ = ["builtin_vocabularies", "find_vocabulary", "language_of", "read_vocabulary", "vocabulary_files"]


def builtin_vocabularies() -> tuple[str, ...]:
    """Names of the vocabularies that come with the package."""
    folder = files("organcam.nlp") / "vocabularies"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def vocabulary_files(name_or_path: str | Path) -> tuple[Path, ...]:
    """The file of a vocabulary and those that it extends, in this order, and those of a language of one's own.

    Raises:
        ConfigError: as :func:`load_vocabulary`.
    """
    found = [find_vocabulary(name_or_path)]
    while found[-1] not in found[:-1]:
        base = check_keys(load_yaml(found[-1]), TOP | SECTIONS, str(found[-1])).get("extends")
        if not base:
            break
        found.append(find_vocabulary(base, found[-1].parent))
    language = language_of(read_vocabulary(found[0]), found[0])
    if language.parent != ENGLISH.parent:  # a language of one's own
        found += sorted(language.glob("*.yaml"))
    return tuple(dict.fromkeys(found))


def find_vocabulary(name_or_path: str | Path, beside: Path | None = None) -> Path:
    """The file of a vocabulary by its name or path; a relative path counts from ``beside`` where that is given.

    Raises:
        ConfigError: for an unknown name.
    """
    text = str(name_or_path)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
        return path if path.is_absolute() or beside is None else beside / path
    if text not in builtin_vocabularies():
        msg = f"unknown vocabulary {text!r} (a file must end in .yaml); {did_you_mean(text, builtin_vocabularies())}"
        raise ConfigError(msg)
    return Path(str(files("organcam.nlp") / "vocabularies" / f"{text}.yaml"))


def read_vocabulary(
    path: Path, chain: tuple[Path, ...] = (), problems: list[tuple[str, str]] | None = None
) -> dict[str, Any]:
    """The file as plain data with what it extends merged in.

    Args:
        path: the file.
        chain: files that extend it.
        problems: takes the file's mistakes, and what is wrong is left out; None raises them.

    Raises:
        ConfigError: if it cannot be read, or for mistakes in it or in what it extends.
    """
    if path in chain:
        msg = f"{path}: extends itself by way of {' -> '.join(p.name for p in chain)}"
        raise ConfigError(msg)
    content = load_yaml(path)
    wrong = list(wrong_entries(content))
    if wrong and problems is None:
        raise all_at_once(path, wrong)
    if problems is not None:
        problems += wrong
        content = _without(content, [key for key, _ in wrong])
    if content.get("extends"):
        try:
            found = find_vocabulary(content["extends"], path.parent)
        except ConfigError as error:
            raise all_at_once(path, [("extends", str(error))]) from None
        content = _merge(read_vocabulary(found, (*chain, path)), content, path)
    content.pop("extends", None)
    return content


def _without(content: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """Nested mappings less the entries at some dotted keys; what is no mapping of words goes with all it holds."""
    kept = content
    for key in keys:
        name, _, rest = key.partition(".")
        if rest and isinstance(kept.get(name), dict):
            kept = {**kept, name: _without(kept[name], [rest])}
        else:
            kept = {k: value for k, value in kept.items() if k != name}
    return kept


def language_of(content: Mapping[str, Any], path: Path) -> Path:
    """The folder of the language that the vocabulary at a path is written in.

    Raises:
        ConfigError: if there is none.
    """
    try:
        return language_folder(str(content.get("language") or "en"), path.parent)
    except ConfigError as error:
        raise all_at_once(path, [("language", str(error))]) from None


def _merge(base: dict[str, Any], child: dict[str, Any], path: Path) -> dict[str, Any]:
    """The child over the base: terms are added (less ``drop_terms``), every other key of an entry is replaced.

    A term that the child gives to one entry is taken from every other entry of the base.
    """
    merged = {**base, **{key: value for key, value in child.items() if key not in SECTIONS}}
    entries = [e for section in ("concepts", "places") for e in (child.get(section) or {}).values()]
    forms = load_word_forms(language_of(merged, path))
    moved = {forms.term(term) for entry in entries for term in term_list(entry.get("terms"), "terms")}
    for section in SECTIONS:
        ours, theirs = base.get(section) or {}, child.get(section) or {}
        if section in ("concepts", "places"):
            both = {**ours}
            for name, entry in both.items():
                dropped = moved | {forms.term(t) for t in term_list(theirs.get(name, {}).get("drop_terms"), section)}
                kept = [t for t in term_list(entry.get("terms"), section) if forms.term(t) not in dropped]
                both[name] = {**entry, "terms": kept}
            for name, entry in theirs.items():
                old = both.get(name, {})
                terms = [*string_list(old.get("terms"), name), *string_list(entry.get("terms"), name)]
                both[name] = {**old, **entry, "terms": terms}
            merged[section] = both
        else:
            merged[section] = {**ours, **theirs}
    return merged
