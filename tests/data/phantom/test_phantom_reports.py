"""Reports: varied, true to what was rendered, silent about confounders."""

from __future__ import annotations

import re

import numpy as np
import pytest

from organcam.catalogue import abnormalities, locations
from organcam.data.phantom.habitus import draw_habitus
from organcam.data.phantom.lesions import draw_lesions
from organcam.data.phantom.reports import templates, write_report
from organcam.data.phantom.settings import DEFAULT_PREVALENCE, PhantomSettings
from organcam.nlp import ReportParser

WORDS = {
    "nodule": "nodul", "nodulegr1cm": "nodul", "mass": "mass", "consolidation": "consolidation",
    "groundglass": "ground.glass", "opacity": "opacit", "pleural_effusion": "pleural (effusion|fluid)",
    "emphysema": "emphysema", "atelectasis": "atelecta", "cyst": "cyst", "calcification": "calcifi",
    "coronary_artery_disease": "coronary artery disease", "atherosclerosis": "atheroscler",
    "cardiomegaly": "cardiomegaly|enlarged|enlargement", "pericardial_effusion": "pericardial effusion",
    "pacemaker_or_defib": "pacemaker", "catheter_or_port": "catheter",
}  # fmt: skip


def some_reports(count=300):
    for number in range(count):
        rng = np.random.default_rng(number)
        habitus = draw_habitus(rng, 0.2)
        findings = [f for f in DEFAULT_PREVALENCE if rng.random() < 0.3]
        lesions = [les for f in findings for les in draw_lesions(f, rng, habitus, PhantomSettings())]
        yield lesions, write_report(lesions, rng)


REPORTS = list(some_reports())


def test_cells_are_of_the_catalogue_and_unique():
    names, places = {a.name for a in abnormalities()}, {p.name for p in locations()}
    for _, report in REPORTS:
        assert len({(c.abnormality, c.location) for c in report.cells}) == len(report.cells)
        for cell in report.cells:
            assert cell.abnormality in names
            assert cell.location in places
            assert cell.status in {"present", "uncertain", "absent", "historical", "resolved"}


def test_every_present_or_uncertain_cell_has_its_word_in_the_text():
    for _, report in REPORTS:
        for cell in report.cells:
            if cell.status in {"present", "uncertain"}:
                assert re.search(WORDS[cell.abnormality], report.text, re.IGNORECASE), (cell, report.text)


def test_every_lesion_is_told_with_its_place():
    sides = {"right": r"right|both|bilateral", "left": r"left|lingula|both|bilateral"}
    for lesions, report in REPORTS:
        told = {(c.abnormality, c.location) for c in report.cells if c.status in {"present", "uncertain"}}
        for lesion in lesions:
            if lesion.finding in WORDS and lesion.finding not in {"cardiomegaly", "pericardial_effusion"}:
                assert (lesion.finding, lesion.location) in told
                assert re.search(sides[lesion.side], report.text, re.IGNORECASE)


def test_what_is_not_there_is_never_told_as_present():
    for lesions, report in REPORTS:
        rendered = {lesion.finding for lesion in lesions}
        for cell in report.cells:
            if cell.status in {"present", "uncertain"} and cell.abnormality in DEFAULT_PREVALENCE:
                assert cell.abnormality in rendered


def test_sizes_agree_with_the_label_for_nodules_above_one_centimetre():
    for lesions, report in REPORTS:
        labelled = {c.location for c in report.cells if c.abnormality == "nodulegr1cm" and c.status != "absent"}
        assert labelled == {les.location for les in lesions if les.finding == "nodule" and les.size_mm > 10}
        for number, unit in re.findall(r"([\d.]+)(?: x \d+)? (mm|cm)", report.text):
            assert round(float(number) * (10 if unit == "cm" else 1)) in {round(les.size_mm) for les in lesions}


def test_confounders_are_never_mentioned():
    for _, report in REPORTS:
        assert not re.search(
            r"\b(fat|fatty|adipos\w+|obes\w+|token|metal\w*|tubes?|electrodes?|flanks?|skin)\b",
            report.text,
            re.IGNORECASE,
        )


def test_no_field_is_left_open_and_sentences_are_whole():
    for _, report in REPORTS:
        assert not re.search(r"[{}]", report.text)
        assert report.text.endswith(".")
        assert "  " not in report.text.replace("\n", "")


def test_reports_vary():
    texts = [report.text for _, report in REPORTS]
    assert len(set(texts)) > 295
    assert 0.1 < np.mean(["FINDINGS" not in t for t in texts]) < 0.4
    assert 0.2 < np.mean([bool(re.search(r"^(Lungs|Lung)[^:\n]*:", t, re.M)) for t in texts]) < 0.6
    statuses = {c.status for _, r in REPORTS for c in r.cells}
    assert statuses == {"present", "uncertain", "absent", "historical", "resolved"}
    for word in ("unchanged", "stable", r"\d\.\d cm", r"\d mm", " or ", "Negative for", "History of", "IMPRESSION: 1."):
        assert any(re.search(word, t, re.IGNORECASE) for t in texts), word


def test_same_random_numbers_same_report():
    lesions, _ = REPORTS[3]
    assert write_report(lesions, np.random.default_rng(5)) == write_report(lesions, np.random.default_rng(5))


@pytest.mark.parametrize("finding", DEFAULT_PREVALENCE)
def test_templates_are_complete(finding):
    entry = templates()["findings"][finding]
    legal = {"section", "names", "names_also", "absent", "absent_location", "absent_side", "resolved"}
    spoken = {"present", "uncertain", "unchanged", "impression"}
    legal |= spoken | {"bilateral"} | {f"{key}_bilateral" for key in spoken}
    assert set(entry) <= legal
    assert entry["section"] in templates()["sections"]
    assert len(entry.get("present", entry.get("bilateral"))) >= 4


def test_the_parser_of_the_project_reads_what_was_meant():

    parser = ReportParser()
    meant, read = set(), set()
    for number, (_, report) in enumerate(REPORTS[:120]):
        meant |= {(number, c.abnormality, c.location) for c in report.cells if c.status in {"present", "uncertain"}}
        found = parser.parse(report.text).findings
        told = [f for f in found if f.status in {"present", "uncertain"} and f.abnormality in WORDS]
        read |= {(number, f.abnormality, f.location) for f in told}
    assert len(meant & read) / len(meant) > 0.97
    assert len(meant & read) / len(read) > 0.97
