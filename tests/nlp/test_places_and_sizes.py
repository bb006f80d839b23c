"""Which place and which size a finding has where several stand in its sentence, and what a list shares."""

from __future__ import annotations

import pytest

from organcam.nlp import ReportParser, cells


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


@pytest.mark.parametrize(
    ("text", "present"),
    [
        # each place with its own size
        ("Metastases: RUL 4 mm, LLL 15 mm.", "cancer*right_upper cancer*left_lower"),
        (
            "LUL 5 mm and RLL 13 mm nodules.",
            "nodule*left_upper nodule*right_lower nodulegr1cm*right_lower",
        ),
        ("R pleural effusion. L apical bulla.", "pleural_effusion*right_lung emphysema*left_upper"),
        ("Axillary LNs up to 18 mm.", "lymphadenopathy*axilla"),
        ("4L LN 12 mm.", "lymphadenopathy*mediastinum"),
        # what weighs a place between two commas does not end the list
        (
            "Reticulation in the left base and, to a lesser extent, the lingula.",
            "reticulation*left_lower reticulation*left_mid",
        ),
        # a distance is measured from a place that the finding does not lie in
        ("Nodule 3 cm above the diaphragm in the right lower lobe.", "nodule*right_lower"),
        # both lungs after one side
        (
            "Atelectasis in the right middle lobe and both lung lower lobes.",
            "atelectasis*right_mid atelectasis*right_lower atelectasis*left_lower",
        ),
        ("In the left upper lobe, a pulmonary nodule is seen.", "nodule*left_upper"),
        ("In the right lower lobe, two parenchymal nodules.", "nodule*right_lower"),
        (
            "On the right there is an effusion, on the left a pneumothorax.",
            "pleural_effusion*right_lung pneumothorax*left_lung",
        ),
        ("Nodules, some of which are calcified, are seen in the lingula.", "nodule*left_mid calcification*left_mid"),
        (
            "In the mediastinum and, also, in the hila, calcified lymph nodes.",
            "calcification*mediastinum calcification*hilum",
        ),
        ("Consolidation on the left resolved; a new one is seen in the middle lobe.", "consolidation*right_mid"),
        (
            "The apical pleura is thickened on both sides.",
            "pleural_thickening*right_upper pleural_thickening*left_upper",
        ),
        ("Left effusion resolved, right effusion unchanged.", "pleural_effusion*right_lung"),
        ("Emphysema is seen under the skin.", "other_disease*chest_wall"),
        ("Diverticulum at the right aspect of the trachea.", "other_disease*airways"),
        ("A cyst in the liver. Another one in the left lobe.", "cyst*liver"),
        ("Operated lung cancer.", "postsurgical*lung cancer*lung"),
        ("Sclerotic L2 lesion.", "lesion*spine"),
        ("Cavity in the lingula with an air-fluid level.", "cavitation*left_mid"),
        ("COMPARISON: None. A nodule is seen in the lingula.", "nodule*left_mid"),
    ],
)
def test_cells_of_the_sentence(parser, text, present):
    assert {"*".join(cell) for cell in cells(parser.parse(text))} == set(present.split())


@pytest.mark.parametrize(
    ("text", "size", "change"),
    [
        ("RLL nodule now 6 mm, was 9.", 6, "smaller"),
        ("RML nodule 8 x 6 mm, prev. 5 x 5 mm.", 8, "larger"),
        ("Nodules of 4 and 7 mm in the lingula.", 7, ""),
        ("9 mm nodule (6 mm in diameter in the previous examination) in the lingula.", 9, "larger"),
        ("A nodule measuring 12 mm in the previous examination was observed as 8 mm.", 8, "smaller"),
        ("No change was detected in the size and appearance of the nodule.", None, "stable"),
        ("The nodule in the lingula has not progressed.", None, "stable"),
        ("The nodule has just appeared.", None, "new"),
        ("The nodule has doubled in size.", None, "larger"),
    ],
)
def test_size_and_change(parser, text, size, change):
    found = {(f.size_mm, f.change) for f in parser.parse(text).findings if f.abnormality == "nodule"}
    assert found == {(size, change)}


def test_each_place_has_its_own_size_and_change(parser):
    findings = parser.parse("Nodules: RUL 8 mm (was 5 mm), LLL 6 mm (was 9 mm).").findings
    assert {(f.location, f.size_mm, f.change) for f in findings} == {
        ("right_upper", 8, "larger"),
        ("left_lower", 6, "smaller"),
    }


def test_a_sequela_in_parentheses_lies_in_the_organ_before_it(parser):
    found = parser.parse("Cysts in both kidneys (due to sequelae of pyelonephritis).").findings
    assert {(f.abnormality, f.location) for f in found} >= {("cyst", "kidney"), ("scarring", "kidney")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wall thickening in the bronchi of the left lung.", {("bronchial_wall_thickening", "left_lung")}),
        ("Bronchiectasis in the middle lobe bronchi.", {("bronchiectasis", "right_mid")}),
        ("Secretions in the trachea.", {("secretion", "airways")}),
    ],
)
def test_the_bronchi_of_a_lobe_are_that_lobe(parser, text, expected):
    assert {(f.abnormality, f.location) for f in parser.parse(text).findings} == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The main pulmonary artery is 30 mm and it shows dilatation.", {("dilation_or_ectasia", "pulmonary_artery")}),
        ("Nodules along the peribronchovascular interstitium of the left lung.", {("nodule", "left_lung")}),
        ("Enlarged nodes in the hepatic hilum.", {("lymphadenopathy", "liver")}),
        ("Cyst in the liver. It has grown. It is septated, with a calcification.", {("calcification", "liver")}),
    ],
)
def test_a_place_is_that_of_what_was_spoken_of(parser, text, expected):
    assert {(f.abnormality, f.location) for f in parser.parse(text).findings} >= expected


def test_each_side_has_its_own_depth(parser):
    found = parser.parse("Effusion measuring 5 cm on the right and 2 cm on the left.").findings
    assert [(f.location, f.size_mm) for f in found] == [("right_lung", 50), ("left_lung", 20)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mass in the left upper lobe with chest wall invasion.", {("mass", "left_upper")}),
        ("In the left upper lobe, there is a cavity with a wall of 3 mm.", {("cavitation", "left_upper")}),
        ("Liver: segment 4 lesion.", {("lesion", "liver")}),
        ("Axillary nodes: R 8 mm, L 14 mm.", {("lymphadenopathy", "axilla")}),
        ("Scars in both apices and calcifications on the left.", {("calcification", "left_upper")}),
    ],
)
def test_places_of_one_finding_are_not_those_of_another(parser, text, expected):
    labels = {label for label, _ in expected}
    found = {(f.abnormality, f.location) for f in parser.parse(text).findings if f.abnormality in labels}
    assert found == expected


def test_the_nearest_change_before_a_finding_counts(parser):
    found = parser.parse("Progression: new bone metastases.").findings
    assert {f.change for f in found} == {"new"}
