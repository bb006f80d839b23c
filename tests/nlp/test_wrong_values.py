"""Vocabularies, profiles and languages with a wrong value anywhere: one message with its place, never a traceback."""

from __future__ import annotations

import copy
import shutil

import pytest
import yaml

from organcam.errors import ConfigError
from organcam.nlp import ReportParser, load_profile
from organcam.nlp.language.folders import language_folder

VOCABULARY = yaml.safe_load("""
name: own
description: what it is
language: en
modality: ct
labels: [tear, fluid]
locations: [joint, right_joint, left_joint, elsewhere]
unplaced: elsewhere
uncertain: positive
concepts:
  tear: {labels: [tear], terms: [tear], home: joint, within: [joint], yields_to: [fluid], elsewhere: [fluid],
    short_axis: true, persistent: true, mention: true, of_degree: true, lasting: true, note: why,
    size_over_mm: {10: [fluid]}, drop_terms: [old]}
  fluid: {labels: [], terms: [fluid], when: {joint: [fluid]}, otherwise: [tear]}
places:
  joint: {location: joint, right: right_joint, left: left_joint, group: joint, terms: [joint], both: false, weak: false,
    of_context: false, part_of: [other], mentioned: tear, side_too: false, both_sides: true, apart: false, alone: true}
  other: {location: elsewhere, group: other, terms: [limb]}
sides: {right: [right], left: [left], both: [both]}
levels: {upper: joint}
families: {knee: [joint]}
roles: {whole: [joint]}
forbidden: {elsewhere: [tear]}
rollup: {right_joint: [joint]}
""")
PROFILE = yaml.safe_load("""
name: own
vocabulary: chest_ct
id_column: id
groups: {lungs: [lung]}
naming: [consistent with]
labels: {Nodule: [{abnormality: [nodule], not_place: [liver], location: [lungs], not_named: [mass]}]}
""")
WRONG = (
    5,
    1.5,
    "word",
    True,
    None,
    ["word"],
    [5],
    [["word"]],
    [None],
    {"word": 5},
    {5: "word"},
    {"word": ["word"]},
    {},
)


def changed(content, above=()):
    """The content with one value after the other replaced by wrong ones."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*above, key)
        if isinstance(value, (dict, list)):
            yield from changed(value, (*above, key))


def with_value(content, path, value):
    result = copy.deepcopy(content)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return result


def survives(load, path, content):
    """Whether a file with this content loads; any error but the one for the person at the keyboard fails the test."""
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    try:
        load(path)
    except ConfigError as error:
        assert str(error).startswith(str(path)), error
        return False
    return True


def read(path):
    return ReportParser(path).parse("Right joint with a new 12 mm tear. No fluid in the upper limb.")


def test_the_right_ones_are_read(tmp_path):
    assert survives(read, tmp_path / "own.yaml", VOCABULARY)
    assert survives(load_profile, tmp_path / "profile.yaml", PROFILE)


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_vocabulary_with_a_wrong_value(tmp_path, value):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(VOCABULARY), encoding="utf-8")
    refused = 0
    for number, path in enumerate(changed(VOCABULARY)):
        content = with_value(VOCABULARY, path, value)
        if number % 2:  # the same over a base
            content = {"extends": "base.yaml", **content}
        refused += not survives(read, tmp_path / "own.yaml", content)
    assert refused > 20 or value in (None, ["word"])


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_a_profile_with_a_wrong_value(tmp_path, value):
    refused = sum(
        not survives(load_profile, tmp_path / "own.yaml", with_value(PROFILE, p, value)) for p in changed(PROFILE)
    )
    assert refused or value is None


@pytest.mark.parametrize("name", ["cues.yaml", "sections.yaml", "words.yaml"])
def test_a_language_with_a_wrong_value(tmp_path, name):
    """Every key of two levels; a language's message names its own file."""
    folder = tmp_path / "mine"
    shutil.copytree(language_folder("de"), folder)
    right = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    vocabulary = tmp_path / "own.yaml"
    vocabulary.write_text(yaml.safe_dump({**VOCABULARY, "language": "mine"}), encoding="utf-8")
    for path in [p for p in changed(right) if len(p) <= 2]:
        for value in (5, "word", [5], {"word": 5}):
            (folder / name).write_text(yaml.safe_dump(with_value(right, path, value)), encoding="utf-8")
            _forget()
            try:
                ReportParser(vocabulary).parse("Tear.")
            except ConfigError as error:
                assert name in str(error), (path, value)


def _forget():
    """Files of a language are read once in a process."""
    from organcam.nlp.language import cues, text
    from organcam.nlp.reports import sections

    for known in (cues.load_cues, text.load_word_forms, text.read_words, text.load_units, sections.load_sections):
        known.cache_clear()


def test_mistakes_of_a_profile_have_their_lines(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nvocabulary: chest_ct\ngrups: {}\nlabels:\n"
        "  A:\n    - abnormality: [mas]\n    - plase: [liver]\n  B: 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    assert [line.removeprefix(f"{path}, ").split(";")[0] for line in str(caught.value).split("\n")] == [
        "line 3: grups: unknown key 'grups'",
        "line 6: labels.A.1: unknown abnormality 'mas'",
        "line 7: labels.A.2.plase: unknown key 'plase'",
        "line 8: labels.B: must be a list of rules, got 3",
    ]
