"""A vocabulary: which words name which finding and which place, read from YAML and checked.

The format is described in ``docs/how-to/new-vocabulary.md``. A *concept* is a finding as reports word it; it carries
the labels it stands for. A *place* is an anatomical word; it carries the location column it stands for, by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from organcam.catalogue import OTHER_DISEASE, OTHER_LOCATION, Abnormality, Location, abnormalities
from organcam.catalogue import locations as known_locations
from organcam.errors import ConfigError

from .text import WordForms, load_word_forms
from .vocabulary_file import find_vocabulary, language_of, read_vocabulary
from .vocabulary_schema import term_list
from .yaml_data import all_at_once, nearest, string_list

__all__ = ["Concept", "Place", "Vocabulary", "load_vocabulary"]


@dataclass(frozen=True)
class Concept:
    """A finding as reports word it.

    Attributes:
        name: its key in the file.
        labels: labels it always stands for; empty for a word that is a finding only together with a place.
        when: labels added where one of its places belongs to the group: ``{place or group: labels}``.
        otherwise: labels where ``when`` gives none.
        home: place assumed where the text gives none.
        within: place groups it can lie in; any if empty. Places elsewhere are not its location.
        size_over_mm: ``{millimetres: labels}`` added where the measured size is larger.
        short_axis: its size is its short axis (lymph nodes).
        persistent: a past mention still counts (surgery, devices): "status post CABG".
        yields_to: concepts beside which it is only an adjective ("calcified 5 mm granuloma").
        elsewhere: labels instead of its own where the text names an organ that it cannot lie in ("perihepatic
            effusion", "collapse of the T8 vertebra").
        mention: it is told even where it stands for no label (lymph nodes that nothing calls enlarged).
        of_degree: a property of normal tissue (density, thickness): an increase of it is the finding and no change of
            one, and what is called normal is no finding.
        lasting: it stays to be seen, so that "prior" or "previous" right before it is no history (granulomatous
            disease, fractures).
    """

    name: str
    labels: tuple[str, ...] = ()
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    otherwise: tuple[str, ...] = ()
    home: str = ""
    within: tuple[str, ...] = ()
    size_over_mm: tuple[tuple[float, tuple[str, ...]], ...] = ()
    short_axis: bool = False
    persistent: bool = False
    yields_to: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    mention: bool = False
    of_degree: bool = False
    lasting: bool = False


@dataclass(frozen=True)
class Place:
    """An anatomical word.

    Attributes:
        name: its key in the file.
        location: location column where no side is known; empty for a word that only qualifies (lymph node, wall).
        right: column on the right side (or the same as ``location``).
        left: column on the left side.
        group: what it belongs to, for ``within`` and ``when`` of concepts.
        both: the word itself names both sides ("bibasilar").
        weak: gives way to a more definite place in the same phrase (a bare segment name beside a lobe).
        of_context: belongs to the organ named before it in the sentence ("thyroid ... its parenchyma").
        part_of: places that it is a part of: named together with it in one phrase, they say nothing more ("lingular
            segment of the left upper lobe").
        role: what the place is in an organ of two sides and several levels (the lungs): ``whole``, ``level``, ``near``
            (their pleura), ``position`` (a bare "anterior"), or empty for other places; by its group.
        both_sides: the organ that a bare side beside a level means ("bilaterally, the largest in the right base").
        apart: in the column of a wider place, but no part of it (pericardium and coronaries beside the heart's valves).
        alone: a level that needs no lobe beside it ("right apical").
        mentioned: concept that naming this place is by itself (lymph nodes).
        side_too: its column tells no side, and the columns ``right`` and ``left`` stand beside it (a hilum, which
            belongs to the lung of its side as well as to the mediastinum).
    """

    name: str
    location: str
    right: str
    left: str
    group: str
    both: bool = False
    weak: bool = False
    of_context: bool = False
    part_of: tuple[str, ...] = ()
    mentioned: str = ""
    side_too: bool = False
    both_sides: bool = False
    apart: bool = False
    alone: bool = False
    role: str = ""

    @property
    def fixed_side(self) -> str:
        """The side that the words themselves say ("RUL"), or empty."""
        side = self.location.split("_")[0]
        return side if side in ("right", "left") and self.right == self.left else ""


@dataclass(frozen=True)
class Vocabulary:
    """Everything the parser knows about words; build it with :func:`load_vocabulary`."""

    name: str
    language: Path
    """Folder of the language's cues, sections and words."""
    labels: tuple[str, ...]
    locations: tuple[str, ...]
    unplaced: str
    uncertain: str
    """Whether uncertain mentions count as positive unless the caller says otherwise (coding habit of its labels)."""
    concepts: Mapping[str, Concept]
    places: Mapping[str, Place]
    levels: Mapping[str, str]
    rollup: Mapping[str, tuple[str, ...]]
    forbidden: frozenset[tuple[str, str]]
    own_organ: Mapping[str, str]
    families: Mapping[str, frozenset[str]]
    """Place groups by organ family (lung, heart): a concept whose home is in a family lies nowhere else."""
    terms: tuple[tuple[tuple[str, ...], str, str], ...]
    """Every term as (words, kind, name); kind is finding, place, side or level."""

    def ancestors(self, location: str) -> tuple[str, ...]:
        """The less specific columns that a location also belongs to, nearest first."""
        found: list[str] = []
        queue = list(self.rollup.get(location, ()))
        while queue:
            parent = queue.pop(0)
            if parent not in found:
                found.append(parent)
                queue += self.rollup.get(parent, ())
        return tuple(found)


def load_vocabulary(name_or_path: str | Path) -> Vocabulary:
    """A vocabulary by its name or by the path of a YAML file.

    Args:
        name_or_path: ``chest_ct``, ``chest_xray``, or a path ending in ``.yaml`` or ``.yml``.

    Raises:
        ConfigError: if it is unknown or the file breaks the schema; the message says where.
    """
    path = find_vocabulary(name_or_path)
    try:
        stamp = path.stat().st_mtime_ns
    except OSError as error:
        msg = f"{path}: cannot be read ({error})"
        raise ConfigError(msg) from error
    return _load(path, stamp)


@lru_cache(maxsize=8)
def _load(path: Path, _stamp: int) -> Vocabulary:
    problems: list[tuple[str, str]] = []
    content = read_vocabulary(path, problems=problems)
    vocabulary = _compile(content, language_of(content, path), path, problems)
    problems += _wrong_names(vocabulary)
    if problems:
        raise all_at_once(path, problems)
    return vocabulary


def _compile(content: Mapping[str, Any], language: Path, path: Path, problems: list[tuple[str, str]]) -> Vocabulary:
    """The vocabulary that plain data stand for; mistakes are added to the problems."""
    name = str(content.get("name") or "")
    where = str(path)
    if not name and not any(key == "name" for key, _ in problems):
        problems.append(("", "a vocabulary needs a `name`"))
    forms = load_word_forms(language)
    labels, locations, forbidden = _tables(content, where)
    unplaced = str(content.get("unplaced") or "")
    uncertain = str(content.get("uncertain") or "positive")
    given = content.get("roles") or {}
    roles = {group: role for role, names in given.items() for group in string_list(names, f"{where}: roles.{role}")}
    places = {key: _place(key, entry, roles) for key, entry in (content.get("places") or {}).items()}
    concepts = {key: _concept(key, entry, where) for key, entry in (content.get("concepts") or {}).items()}
    return Vocabulary(
        name=name,
        language=language,
        labels=labels,
        locations=locations,
        unplaced=unplaced,
        uncertain=uncertain,
        concepts=concepts,
        places=places,
        levels={" ".join(forms.term(key)): str(value) for key, value in (content.get("levels") or {}).items()},
        rollup={
            key: string_list(value, f"{where}: rollup.{key}") for key, value in (content.get("rollup") or {}).items()
        },
        forbidden=forbidden,
        own_organ={a.name: a.kind for a in abnormalities() if a.kind != "generic" and a.name in labels and forbidden},
        families={
            key: frozenset(string_list(value, f"{where}: families.{key}"))
            for key, value in (content.get("families") or {}).items()
        },
        terms=_terms(content, forms, problems),
    )


def _tables(
    content: Mapping[str, Any], where: str
) -> tuple[tuple[str, ...], tuple[str, ...], frozenset[tuple[str, str]]]:
    """Labels, locations and the pairs that cannot be; the word ``catalogue`` stands for the published tables."""
    labels: tuple[str, ...] = string_list(content.get("labels"), f"{where}: labels")
    locations: tuple[str, ...] = string_list(content.get("locations"), f"{where}: locations")
    forbidden = {
        (label, location)
        for location, refused in (content.get("forbidden") or {}).items()
        for label in string_list(refused, f"{where}: forbidden.{location}")
    }
    if "catalogue" in labels:
        published = (*(abnormality.name for abnormality in abnormalities()), OTHER_DISEASE)
        labels = (*published, *(label for label in labels if label != "catalogue"))
        forbidden |= {
            (abnormality.name, location.name)
            for abnormality in abnormalities()
            for location in known_locations()
            if not _published(abnormality, location)
        }
    if locations == ("catalogue",):
        locations = (*(location.name for location in known_locations()), OTHER_LOCATION)
    return labels, locations, frozenset(forbidden)


def _published(abnormality: Abnormality, location: Location) -> bool:
    """Whether the published tables allow the pair; the mediastinum's flags only choose region labels."""
    if location.organ in ("mediastinum", "other"):
        return abnormality.kind == "generic"
    return bool(getattr(abnormality, f"in_{location.organ}"))


def _concept(name: str, entry: Mapping[str, Any], where: str) -> Concept:
    at = f"{where}: concepts.{name}"
    sizes, when = entry.get("size_over_mm") or {}, entry.get("when") or {}
    return Concept(
        name=name,
        labels=string_list(entry.get("labels"), f"{at}.labels"),
        when={key: string_list(value, f"{at}.when.{key}") for key, value in when.items()},
        otherwise=string_list(entry.get("otherwise"), f"{at}.otherwise"),
        home=str(entry.get("home") or ""),
        within=string_list(entry.get("within"), f"{at}.within"),
        size_over_mm=tuple((float(k), string_list(v, f"{at}.size_over_mm.{k}")) for k, v in sizes.items()),
        short_axis=bool(entry.get("short_axis", False)),
        persistent=bool(entry.get("persistent", False)),
        yields_to=string_list(entry.get("yields_to"), f"{at}.yields_to"),
        elsewhere=string_list(entry.get("elsewhere"), f"{at}.elsewhere"),
        mention=bool(entry.get("mention", False)),
        of_degree=bool(entry.get("of_degree", False)),
        lasting=bool(entry.get("lasting", False)),
    )


def _place(name: str, entry: Mapping[str, Any], roles: Mapping[str, str]) -> Place:
    location = str(entry.get("location") or "")
    return Place(
        name=name,
        location=location,
        right=str(entry.get("right") or location),
        left=str(entry.get("left") or location),
        group=str(entry.get("group") or name),
        both=bool(entry.get("both", False)),
        weak=bool(entry.get("weak", False)),
        of_context=bool(entry.get("of_context", False)),
        part_of=string_list(entry.get("part_of"), f"places.{name}.part_of"),
        mentioned=str(entry.get("mentioned") or ""),
        side_too=bool(entry.get("side_too", False)),
        both_sides=bool(entry.get("both_sides", False)),
        apart=bool(entry.get("apart", False)),
        alone=bool(entry.get("alone", False)),
        role=roles.get(str(entry.get("group") or name), ""),
    )


def _terms(
    content: Mapping[str, Any], forms: WordForms, problems: list[tuple[str, str]]
) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """All terms as (words, kind, name); the same words under two names are a mistake."""
    owners: dict[tuple[str, ...], tuple[str, str]] = {}
    sides = {key: {"terms": value} for key, value in (content.get("sides") or {}).items()}
    levels = {key: {"terms": [key]} for key in (content.get("levels") or {})}
    for kind, section, entries in (
        ("finding", "concepts", content.get("concepts") or {}),
        ("place", "places", content.get("places") or {}),
        ("side", "sides", sides),
        ("level", "levels", levels),
    ):
        for name, entry in entries.items():
            for term in term_list(entry.get("terms"), name):
                words = forms.term(term)
                owner = (kind, " ".join(words) if kind == "level" else name)
                if not words:
                    problems.append((f"{section}.{name}.terms", f"the term {term!r} has no word in it"))
                elif owners.setdefault(words, owner) != owner:
                    clash = f"the term {term!r} is already a term of {owners[words][1]}"
                    problems.append((f"{section}.{name}.terms", clash))
    return tuple((words, *owner) for words, owner in owners.items() if not _says_place_first(words, owner, owners))


def _says_place_first(
    words: tuple[str, ...], owner: tuple[str, str], owners: Mapping[tuple[str, ...], tuple[str, str]]
) -> bool:
    """Whether a finding's term is a place and a shorter term of the same finding ("rib fracture").

    Such a term is left out, so that the place is read as a place, with its side and its coordination.
    """
    if owner[0] != "finding":
        return False
    longest = max((cut for cut in range(1, len(words)) if words[:cut] in owners), default=0)
    return longest > 0 and owners[words[:longest]][0] in ("place", "level") and owners.get(words[longest:]) == owner


def _wrong_names(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every name that stands for nothing, with its dotted key."""
    places, groups = vocabulary.places, {place.group for place in vocabulary.places.values()}
    legal_labels, legal_locations = {*vocabulary.labels, ""}, {*vocabulary.locations, ""}
    checks: list[tuple[str, str, set[str]]] = [
        ("unplaced", vocabulary.unplaced, legal_locations),
    ]
    for name, concept in vocabulary.concepts.items():
        given = [
            *concept.labels,
            *concept.otherwise,
            *concept.elsewhere,
            *(x for v in concept.when.values() for x in v),
            *(x for _, v in concept.size_over_mm for x in v),
        ]
        checks += [(f"concepts.{name}.labels", label, legal_labels) for label in given]
        checks.append((f"concepts.{name}.home", concept.home, {*places, ""}))
        checks += [(f"concepts.{name}.yields_to", other, set(vocabulary.concepts)) for other in concept.yields_to]
        checks += [(f"concepts.{name}.within", group, groups) for group in concept.within]
        checks += [(f"concepts.{name}.when", key, {*groups, *places}) for key in concept.when]
    for name, place in places.items():
        checks += [(f"places.{name}", column, legal_locations) for column in (place.location, place.right, place.left)]
        checks.append((f"places.{name}.mentioned", place.mentioned, {*vocabulary.concepts, ""}))
        checks += [(f"places.{name}.part_of", other, set(places)) for other in place.part_of]
    checks += [(f"levels.{level}", name, set(places)) for level, name in vocabulary.levels.items()]
    checks += [(f"families.{key}", group, groups) for key, family in vocabulary.families.items() for group in family]
    for location, parents in vocabulary.rollup.items():
        checks += [(f"rollup.{location}", column, legal_locations) for column in (location, *parents)]
    for label, location in vocabulary.forbidden:
        checks += [(f"forbidden.{location}", label, legal_labels), ("forbidden", location, legal_locations)]
    problems = [
        (key, f"unknown name {word!r}; {nearest(word, legal - {''})}")
        for key, word, legal in checks
        if word not in legal
    ]
    if not vocabulary.unplaced:
        problems.append(("", "needs `unplaced`, the one of its locations that findings without a place get"))
    return problems
