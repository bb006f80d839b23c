from __future__ import annotations

import shutil

import pytest

from organcam.catalogue import abnormalities, locations
from organcam.errors import ConfigError
from organcam.nlp import ReportParser, builtin_vocabularies, load_vocabulary, vocabulary_files
from organcam.nlp.language.folders import language_folder


def write(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_chest_ct_has_exactly_the_published_names():
    words = load_vocabulary("chest_ct")
    assert words.labels == (*(a.name for a in abnormalities()), "other_disease")
    assert words.locations == (*(p.name for p in locations()), "other_location")


def test_every_abnormality_can_be_found():
    words = load_vocabulary("chest_ct")
    given = {label for c in words.concepts.values() for label in (*c.labels, *c.otherwise)}
    given |= {label for c in words.concepts.values() for _, labels in c.size_over_mm for label in labels}
    assert given == set(words.labels)


def test_every_location_has_a_word():
    words = load_vocabulary("chest_ct")
    columns = {column for p in words.places.values() for column in (p.location, p.right, p.left)} | {"right", "left"}
    assert set(words.locations) - columns == {"other_location"}


def test_openi_labels_are_those_of_the_data_set(shared_data):
    header = (shared_data / "openi_train" / "labels.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert list(load_vocabulary("chest_xray").labels) == header[1:]


def test_vocabularies_are_listed_without_their_parts():
    assert builtin_vocabularies() == ("abdomen_ct", "chest_ct", "chest_ct_de", "chest_xray")


def test_a_file_extends_a_vocabulary(tmp_path):
    path = write(
        tmp_path,
        "name: ours\nextends: chest_ct\nconcepts: {nodule: {terms: [pulmonary pearl], drop_terms: [micronodule]}}\n",
    )
    parser = ReportParser(path)
    assert [f.abnormality for f in parser.parse("Pulmonary pearl in the lingula.").findings] == ["nodule"]
    assert not parser.parse("Micronodule.").findings
    assert parser.parse("Nodule.").findings


def test_a_label_is_added_to_the_published_ones(tmp_path):
    path = write(
        tmp_path,
        "name: ours\nextends: chest_ct\nlabels: [catalogue, silicosis]\n"
        "concepts: {silicosis: {labels: [silicosis], home: lung, terms: [silicosis]}}\n",
    )
    parser = ReportParser(path)
    assert parser.vocabulary.labels[-2:] == ("other_disease", "silicosis")
    assert parser.parse("Silicosis.").findings[0].abnormality == "silicosis"


def test_a_file_of_its_own_needs_no_catalogue(tmp_path):
    path = write(
        tmp_path,
        "name: knee\nlanguage: en\nlabels: [tear]\nlocations: [meniscus, elsewhere]\nunplaced: elsewhere\n"
        "concepts: {tear: {labels: [tear], terms: [tear, rupture]}}\n"
        "places: {meniscus: {location: meniscus, terms: [meniscus, meniscal]}}\n",
    )
    findings = ReportParser(path).parse("Meniscal tear. No rupture of the ligament.").findings
    assert [(f.abnormality, f.location, f.status) for f in findings] == [
        ("tear", "meniscus", "present"),
        ("tear", "elsewhere", "absent"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nconcept: {}\n", "unknown key 'concept'; did you mean 'concepts'"),
        ("name: x\nlabels: [a]\nlabels: [b]\n", "the key 'labels' appears twice"),
        ("name: x\nlabels: [a]\nconcepts: {c: {labels: [b], terms: [w]}}\n", "unknown name 'b'"),
        ("name: x\nlabels: [a]\nconcepts: {c: {labels: [a], term: [w]}}\n", "unknown key 'term'; did you mean 'terms'"),
        ("name: x\nlabels: [a]\nconcepts: {c: {labels: [a], terms: [no, 3]}}\n", "must be a list of words"),
        (
            "name: x\nlabels: [a]\nconcepts: {c: {labels: [a], terms: [w]}, d: {labels: [a], terms: [W]}}\n",
            "already a term",
        ),
        ("name: [\n", "not valid YAML"),
        ("- a\n", "must be a mapping"),
        ("name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("labels: [a]\n", "needs a `name`"),
        ("name: x\nextends: own.yaml\n", "extends itself"),
        ("name: x\nextends: chest_ctt\n", "did you mean 'chest_ct'"),
        ("name: x\nlabels: [a]\n", "needs `unplaced`"),
        ("name: x\nuncertain: maybe\n", "must be positive or negative, got 'maybe'"),
        ("name: x\nlanguage: tlh\nlocations: [a]\nunplaced: a\n", "unknown language 'tlh'"),
    ],
)
def test_a_bad_file_is_one_clear_message(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        ReportParser(write(tmp_path, text))


def test_unknown_and_missing_vocabularies(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'chest_xray'"):
        load_vocabulary("chest_xrey")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_vocabulary(tmp_path / "missing.yaml")


def test_an_unknown_language_is_refused():
    with pytest.raises(ConfigError, match="unknown language 'xx'"):
        language_folder("xx")


@pytest.mark.parametrize("name", ["chest_ct", "chest_xray"])
def test_every_term_is_found_and_every_term_can_be_negated(name):
    parser = ReportParser(name)
    for words, kind, owner in parser.vocabulary.terms:
        if kind != "finding":
            continue
        term = " ".join(words)
        found = {
            f.abnormality for f in parser.parse(f"There is {term} in the right lung.").findings if f.status == "present"
        }
        assert found >= set(parser.vocabulary.concepts[owner].labels), term
        for text in (f"No {term} was detected.", f"{term} was not observed.", f"No evidence of {term}."):
            assert {f.status for f in parser.parse(text).findings} <= {"absent"}, text


def test_all_mistakes_of_a_file_are_told_at_once_with_their_lines(tmp_path):
    path = write(
        tmp_path,
        "name: x\nlabels: [a]\nlocations: [here]\nunplaced: here\nconcepts:\n"
        "  c: {labels: [a], term: [w]}\n  d: {labels: [a], terms: [no]}\nplaces:\n  p: {locaton: here}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_vocabulary(path)
    lines = str(caught.value).split("\n")
    assert [line.removeprefix(f"{path}, ").split(";")[0] for line in lines] == [
        "line 6: concepts.c.term: unknown key 'term'",
        "line 7: concepts.d.terms: must be a list of words or phrases, got [False] (quote words such as no and on)",
        "line 9: places.p.locaton: unknown key 'locaton'",
    ]


def test_all_names_that_stand_for_nothing_are_told_at_once(tmp_path):
    path = write(
        tmp_path,
        "name: x\nlabels: [alpha]\nlocations: [here]\nunplaced: here\nconcepts:\n"
        "  c: {labels: [alhpa], terms: [w]}\nplaces:\n  p: {location: hre, terms: [v]}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_vocabulary(path)
    first, *others = str(caught.value).split("\n")
    assert first.startswith(f"{path}, line 6: concepts.c.labels: unknown name 'alhpa'; did you mean 'alpha'?")
    assert all("line 8: places.p: unknown name 'hre'; did you mean 'here'?" in line for line in others)


@pytest.mark.parametrize("term", ["a (b", "a|", "(a|b) " * 9 + "c"])
def test_slots_that_are_none(tmp_path, term):
    text = f"name: x\nlabels: [l]\nlocations: [h]\nunplaced: h\nconcepts: {{c: {{labels: [l], terms: ['{term}']}}}}\n"
    with pytest.raises(ConfigError, match=r"is no slot|stands for"):
        load_vocabulary(write(tmp_path, text))


def test_slots_stand_for_every_order(tmp_path):
    text = (
        "name: x\nlabels: [l]\nlocations: [h]\nunplaced: h\n"
        "concepts: {c: {labels: [l], terms: ['thick|thin (red|blue) line']}}\n"
    )
    words = {" ".join(words) for words, _, _ in load_vocabulary(write(tmp_path, text)).terms}
    assert words == {f"{a} {b}line" for a in ("thick", "thin") for b in ("", "red ", "blue ")}


def test_a_language_of_ones_own_is_a_folder(tmp_path):
    folder = tmp_path / "pidgin"
    shutil.copytree(language_folder("en"), folder)
    cues = folder / "cues.yaml"
    cues.write_text(cues.read_text().replace('terms: ["no", not,', "terms: [nope, not,"))
    path = write(
        tmp_path,
        "name: x\nlanguage: pidgin\nlabels: [a]\nlocations: [h]\nunplaced: h\n"
        "concepts: {c: {labels: [a], terms: [blob]}}\n",
    )
    parser = ReportParser(path)
    assert [f.status for f in parser.parse("Nope blob. A blob.").findings] == ["absent", "present"]
    assert set(vocabulary_files(path)) == {path, *folder.glob("*.yaml")}


def test_an_unknown_slot_of_a_language_is_told_with_the_nearest(tmp_path):
    folder = tmp_path / "pidgin"
    shutil.copytree(language_folder("en"), folder)
    cues = folder / "cues.yaml"
    cues.write_text(cues.read_text().replace("not {seen}", "not {sean}", 1))
    path = write(tmp_path, "name: x\nlanguage: pidgin\nlabels: [a]\nlocations: [h]\nunplaced: h\n")
    with pytest.raises(ConfigError, match=r"cues.negation_after.terms: unknown slot \{sean\}.*'seen'"):
        ReportParser(path)


def test_wrong_keys_do_not_hide_wrong_names(tmp_path):
    path = write(
        tmp_path,
        "name: x\nlabels: [alpha]\nlocations: [here]\nunplaced: here\nconcepts:\n"
        "  c: {labels: [alhpa], term: [w]}\n  d: {labels: [alpha], terms: [w], home: hre}\n  e: {terms: [w]}\n"
        "places:\n  p: {location: hree, terms: [v]}\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_vocabulary(path)
    told = [line.removeprefix(f"{path}, ").split(";")[0] for line in str(caught.value).split("\n")]
    assert told == [
        "line 6: concepts.c.term: unknown key 'term'",
        "line 6: concepts.c.labels: unknown name 'alhpa'",
        "line 7: concepts.d.home: unknown name 'hre'",
        "line 8: concepts.e.terms: the term 'w' is already a term of d",
        "line 10: places.p: unknown name 'hree'",
    ]
