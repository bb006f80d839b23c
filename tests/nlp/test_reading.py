"""One behaviour of the reader per test; the broad coverage is in test_hard_sentences.py."""

from __future__ import annotations

import pytest

from organcam.nlp import ReportParser
from organcam.nlp.language.cues import load_cues
from organcam.nlp.language.text import Tokens, load_units, load_word_forms
from organcam.nlp.sentence.measurements import SizeFinder


def sizes_in(text):
    return SizeFinder(load_units(), load_cues().words).find(Tokens(text, load_word_forms()).words)


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


def one(parser, text):
    findings = parser.parse(text).findings
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize(
    ("text", "status", "change"),
    [
        ("There is a nodule.", "present", ""),
        ("No nodule.", "absent", ""),
        ("Possible nodule.", "uncertain", ""),
        ("Pneumonia?", "uncertain", ""),
        ("History of tuberculosis.", "historical", ""),
        ("The pneumothorax has resolved.", "resolved", ""),
        ("New nodule.", "present", "new"),
        ("Stable nodule.", "present", "stable"),
        ("Nodule has increased in size.", "present", "larger"),
        ("Decreased pleural effusion.", "present", "smaller"),
    ],
)
def test_status_and_change(parser, text, status, change):
    finding = one(parser, text)
    assert (finding.status, finding.change) == (status, change)


def test_provenance_points_into_the_text(parser):
    text = "IMPRESSION: 1. No evidence of a mass in the left upper lobe."
    finding = one(parser, text)
    assert text[finding.start : finding.end] == "mass"
    assert text[finding.location_start : finding.location_end] == "left upper lobe"
    assert text[finding.cue_start : finding.cue_end] == finding.cue == "No evidence of"
    assert finding.rule == "negation/after"
    assert finding.section == "impression"


@pytest.mark.parametrize("heading", ["INDICATION", "Clinical History", "TECHNIQUE", "Comparison"])
def test_muted_sections_are_kept_as_historical(parser, heading):
    report = parser.parse(f"{heading}: Lung nodule.\nFINDINGS: No mass.")
    assert [(f.abnormality, f.status) for f in report.findings] == [("nodule", "historical"), ("mass", "absent")]
    assert report.findings[0].rule.startswith("section:")


def test_heading_on_its_own_line(parser):
    report = parser.parse("HISTORY\nLung cancer\n\nFINDINGS\nEmphysema\n")
    assert [(f.abnormality, f.section, f.status) for f in report.findings] == [
        ("cancer", "history", "historical"),
        ("emphysema", "findings", "present"),
    ]


def test_organ_heading_gives_the_default_place_and_side(parser):
    assert one(parser, "Right lung: A nodule is seen.").location == "right_lung"
    assert one(parser, "Liver: A cyst is seen.").location == "liver"
    assert one(parser, "Heart: Enlarged.").abnormality == "cardiomegaly"
    assert one(parser, "Heart and mediastinum: Lymphadenopathy.").location == "mediastinum"


def test_a_wrapped_line_does_not_end_the_sentence(parser):
    finding = one(parser, "There is a large right upper lobe cyst that extends towards\nthe hilum of the lung")
    assert finding.location == "right_upper"


def test_windows_line_ends_and_tabs(parser):
    report = parser.parse("FINDINGS:\r\n\tNo effusion.\r\n\tNodule in the lingula.\r\n")
    assert [(f.abnormality, f.location, f.status) for f in report.findings] == [
        ("pleural_effusion", "lung", "absent"),
        ("nodule", "left_mid", "present"),
    ]


def test_a_full_stop_with_its_space_forgotten(parser):
    report = parser.parse("No effusion.Nodule in the lingula.")
    assert [f.status for f in report.findings] == ["absent", "present"]


def test_findings_and_impression_that_disagree(parser):
    report = parser.parse("FINDINGS: Nodule in the right upper lobe. IMPRESSION: Nodule in the left upper lobe.")
    assert [(c.abnormality, c.kind, c.findings, c.impression) for c in report.conflicts] == [
        ("nodule", "side", "right", "left")
    ]
    report = parser.parse("FINDINGS: Small pleural effusion. IMPRESSION: No pleural effusion.")
    assert [(c.abnormality, c.kind) for c in report.conflicts] == [("pleural_effusion", "status")]
    assert not parser.parse("FINDINGS: Small effusion. IMPRESSION: Small effusion.").conflicts


@pytest.mark.parametrize(
    ("text", "dimensions", "prior"),
    [
        ("12 x 8 mm", (12.0, 8.0), False),
        ("1.2 x 0.8 cm", (12.0, 8.0), False),
        ("12mm", (12.0,), False),
        ("1,5 cm", (15.0,), False),
        ("3 cm x 2 cm x 1 cm", (30.0, 20.0, 10.0), False),
        ("5-6 mm", (5.0, 6.0), False),
        ("previously 8 mm", (8.0,), True),
    ],
)
def test_sizes(text, dimensions, prior):
    (size,) = sizes_in(text)
    assert (size.dimensions, size.prior) == (dimensions, prior)


def test_numbers_without_a_unit_are_no_sizes():
    assert sizes_in("series 3 image 45, t12") == []


def test_a_bound_is_no_size(parser):
    labels = {f.abnormality for f in parser.parse("Nodules smaller than 2 cm in both lungs.").findings}
    assert labels == {"nodule"}


def test_size_of_the_finding_is_the_current_one(parser):
    finding = parser.parse("Left lower lobe nodule measures 7 x 4 mm, previously 12 mm.").findings[0]
    assert (finding.abnormality, finding.size_mm) == ("nodule", 7.0)


def test_a_heading_names_a_part_of_the_organ_above(parser):
    text = "Right lung:\nUpper lobe: nodule.\nLower lobe: atelectasis.\nLeft lung: emphysema.\nPleura:\nLeft: effusion."
    assert {(f.abnormality, f.location) for f in parser.parse(text).findings} == {
        ("nodule", "right_upper"),
        ("atelectasis", "right_lower"),
        ("emphysema", "left_lung"),
        ("pleural_effusion", "left_lung"),
    }


def test_what_is_said_at_another_place_is_said_of_the_finding_before(parser):
    found = parser.parse("The consolidation has cleared from the lingula but persists at the right base.").findings
    assert [(f.location, f.status, f.change) for f in found] == [
        ("left_mid", "resolved", ""),
        ("right_lower", "present", "stable"),
    ]


def test_a_joint_after_which_no_place_follows_stands_for_nothing(parser):
    found = parser.parse("The nodule in the lingula has grown and is unchanged in density.").findings
    assert {f.location for f in found if f.abnormality == "nodule"} == {"left_mid"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mets: lung (stable), liver (new).", {("cancer", "lung", "stable"), ("cancer", "liver", "new")}),
        (
            "L effusion larger; R trace, stable.",
            {("pleural_effusion", "left_lung", "larger"), ("pleural_effusion", "right_lung", "stable")},
        ),
        ("No effusion; aorta unchanged.", set()),
        ("Nodule in the lingula; heart stable.", {("nodule", "left_mid", "")}),
        ("Lymph nodes: subcarinal 15 mm, axillary none.", {("lymphadenopathy", "mediastinum", "")}),
        ("Hilar LNs: R 16 mm, was 12; L 8 mm.", {("lymphadenopathy", "hilum", "larger"), ("", "hilum", "")}),
    ],
)
def test_members_of_a_list_of_places_have_their_own_change(parser, text, expected):
    found = {(f.abnormality, f.location, f.change) for f in parser.parse(text).findings if f.status == "present"}
    assert found == expected


def test_a_change_that_is_the_adjective_of_the_next_finding_says_nothing_of_the_one_before(parser):
    found = parser.parse("Emphysema, now with a new consolidation.").findings
    assert [(f.abnormality, f.change) for f in found] == [("emphysema", ""), ("consolidation", "new")]
