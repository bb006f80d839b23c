"""Headings: which are findings, which only title a part, and what their body makes of them."""

from __future__ import annotations

import pytest

from organcam.nlp import ReportParser


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


def statuses(parser, text):
    return {(f.abnormality, f.status) for f in parser.parse(text).findings}


@pytest.mark.parametrize(
    "heading",
    [
        "Devices",
        "Lines and devices",
        "Lines and tubes",
        "Lines/tubes",
        "Tubes and lines",
        "Lines, tubes and devices",
        "Support devices",
        "Medical devices",
        "Monitoring and support devices",
        "Hardware",
        "Lines/tubes/hardware",
        "Soft tissues",
        "Bones and soft tissues",
        "Bones/soft tissues",
        "Chest wall and soft tissues",
        "Soft tissues and osseous structures",
        "Osseous structures",
        "Musculoskeletal",
        "Lungs and pleura",
        "Heart and great vessels",
        "Upper abdomen",
        "Other",
    ],
)
@pytest.mark.parametrize("body", ["None.", "Normal.", "Unremarkable."])
def test_a_heading_that_titles_a_part_is_no_finding(parser, heading, body):
    text = f"{heading}: {body} Lungs: 5 mm nodule in the lingula."
    assert statuses(parser, text) == {("nodule", "present")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pleural effusion: None.", {("pleural_effusion", "absent")}),
        ("Pleural effusion: No.", {("pleural_effusion", "absent")}),
        ("Pleural effusion: Absent.", {("pleural_effusion", "absent")}),
        ("Pleural effusion: Small, right-sided.", {("pleural_effusion", "present")}),
        ("Pleural effusion: No significant change.", {("pleural_effusion", "present")}),
        ("Lymphadenopathy: No enlarged lymph nodes.", {("lymphadenopathy", "absent")}),
        ("Nodules: No new nodules.", {("nodule", "absent")}),
        ("Hiatal hernia: no", {("hernia", "absent")}),
        ("Consolidation:", set()),
        ("Emphysema: Normal lungs.", {("emphysema", "absent")}),
    ],
)
def test_the_body_decides_about_a_heading_that_is_a_finding(parser, text, expected):
    assert statuses(parser, text) == expected


def test_a_device_under_a_heading_of_devices_is_found_once(parser):
    findings = parser.parse("Lines and devices: Right port with its tip in the SVC.").findings
    assert [(f.abnormality, f.location) for f in findings] == [("catheter_or_port", "svc")]


def test_the_denial_is_named_as_the_rule(parser):
    (finding,) = parser.parse("Coronary artery calcification, aorta and valves. Pneumothorax: normal").findings[-1:]
    assert (finding.status, finding.rule.split("/")[0]) == ("absent", "heading_denied")
