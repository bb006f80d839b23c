"""CT-RATE's 18 labels from findings."""

from __future__ import annotations

import pytest

from organcam.errors import ConfigError
from organcam.nlp import ReportParser, load_profile, load_vocabulary

NAMES = [
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
]


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


def positive(parser, text, **policy):
    labels = load_profile("ct_rate").labels(parser.parse(text), **policy)
    return {name for name, value in labels.items() if value}


def test_names_and_order_of_the_data_set(parser):
    assert list(load_profile("ct_rate").labels(parser.parse(""))) == NAMES


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("A venous port is in place.", {"Medical material"}),
        ("Calcified plaques in the aortic arch.", {"Arterial wall calcification"}),
        ("Atherosclerosis of the thoracic aorta.", {"Arterial wall calcification"}),
        ("Calcification of the coronary arteries.", {"Coronary artery wall calcification"}),
        (
            "Wall calcifications of the aorta and the coronary arteries.",
            {"Arterial wall calcification", "Coronary artery wall calcification"},
        ),
        ("Calcified lymph nodes in the mediastinum.", {"Lymphadenopathy"}),
        ("Aortic valve calcification.", set()),
        ("The heart is enlarged.", {"Cardiomegaly"}),
        ("Effusion in the pericardial space.", {"Pericardial effusion"}),
        ("Sliding hernia at the esophageal hiatus.", {"Hiatal hernia"}),
        ("Umbilical hernia.", set()),
        ("Bochdalek hernia on the left.", set()),
        ("Subcarinal lymph node of 14 mm in its short axis.", {"Lymphadenopathy"}),
        ("Small mediastinal lymph nodes.", {"Lymphadenopathy"}),
        ("Bullae in both apices.", {"Emphysema"}),
        ("Subcutaneous emphysema on the left.", set()),
        ("Passive atelectasis on the left.", {"Atelectasis"}),
        ("Nodules in both lungs.", {"Lung nodule"}),
        ("Nodule in the thyroid.", set()),
        ("Nodule in the left adrenal gland.", set()),
        ("Ground-glass areas in the lower lobes.", {"Lung opacity"}),
        ("Hypodense area in the liver.", set()),
        ("Pleuroparenchymal sequelae in both apices.", {"Pulmonary fibrotic sequela"}),
        ("Fibrotic bands in the lingula.", {"Pulmonary fibrotic sequela"}),
        ("Right pleural effusion.", {"Pleural effusion"}),
        ("Mosaic attenuation in both lungs.", {"Mosaic attenuation pattern"}),
        ("Thickened bronchial walls.", {"Peribronchial thickening"}),
        ("Consolidation with air bronchograms in the right lower lobe.", {"Consolidation"}),
        ("Cylindrical bronchiectasis.", {"Bronchiectasis"}),
        ("Thickening of the interlobular septa.", {"Interlobular septal thickening"}),
    ],
)
def test_meaning_of_each_label(parser, text, labels):
    assert positive(parser, text) == labels


def test_negated_and_past_findings_do_not_count(parser):
    assert positive(parser, "No nodule. History of emphysema. The effusion has resolved.") == set()


def test_policies_are_arguments(parser):
    assert positive(parser, "Possible consolidation.") == {"Consolidation"}
    assert positive(parser, "Possible consolidation.", uncertain="negative") == set()


def test_rules_speak_of_names_that_exist():
    words, profile = load_vocabulary("chest_ct"), load_profile("ct_rate")
    legal = {"abnormality": set(words.labels), "location": set(words.locations), "place": set(words.places)}
    legal["concept"] = set(words.concepts)
    for rules in profile.rules.values():
        for rule in rules:
            for field, values in (*rule.required, *rule.refused):
                assert values <= legal[field], values - legal[field]


def test_an_unknown_profile_is_refused():
    with pytest.raises(ConfigError, match="unknown label profile"):
        load_profile("chexpert")


def test_a_profile_of_ones_own(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nvocabulary: chest_ct\nid_column: id\n"
        "labels:\n  Chest mass:\n    - abnormality: [mass]\n      location: [right_upper, left_upper]\n"
    )
    profile = load_profile(path)
    parser = ReportParser()
    assert profile.labels(parser.parse("Mass in the right upper lobe.")) == {"Chest mass": 1}
    assert profile.labels(parser.parse("Mass in the liver.")) == {"Chest mass": 0}


def test_all_mistakes_of_a_profile_are_told_at_once(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nvocabulary: chest_ct\nlabels:\n"
        "  A:\n    - abnormality: [mas]\n  B:\n    - location: [right_uper]\n  C:\n    - concept: [lymph_node]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_profile(path)
    first, second = str(caught.value).split("\n")
    assert "line 5: labels.A.1: unknown abnormality 'mas'; did you mean 'mass'?" in first
    assert "line 7: labels.B.1: unknown location 'right_uper'; did you mean 'right_upper'?" in second
    path.write_text("name: own\nvocabulary: chest_ct\nlabels:\n  A: 3\n  B:\n    - abnormalty: [mass]\n")
    with pytest.raises(ConfigError, match=r"labels.A: must be a list of rules(.|\n)*did you mean 'abnormality'"):
        load_profile(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile(tmp_path / "none.yaml")
