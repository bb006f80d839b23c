"""What must hold for every text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organcam.nlp import ReportParser
from organcam.nlp.reports.parser import MAX_CHARACTERS

PARSER = ReportParser()
OTHER = ReportParser()
XRAY = ReportParser("chest_xray")
PHRASES = st.sampled_from(
    [
        "No pleural effusion",
        "5 mm nodule in the right upper lobe",
        "It abuts the pleura",
        "Findings:",
        "IMPRESSION: 1.",
        "both bases, left greater than right",
        "cannot be excluded",
        "Lungs: clear except for",
        "12 x 8 cm",
        "not",
        ";",
        "?",
        "\n",
        "and",
        "history of",
        "<b>mass</b>",
        "kalp boyutu artm\u0131\u015ft\u0131r \u0130",
    ]
)
TEXTS = st.lists(st.one_of(PHRASES, st.text(max_size=20)), max_size=12).map(" ".join)


@settings(deadline=None)
@given(TEXTS)
@pytest.mark.parametrize("parser", [PARSER, XRAY], ids=["ct", "xray"])
def test_spans_lie_in_the_text(parser, text):
    for finding in parser.parse(text).findings:
        assert 0 <= finding.start < finding.end <= len(text)
        for start, end in ((finding.location_start, finding.location_end), (finding.cue_start, finding.cue_end)):
            assert (start, end) == (-1, -1) or 0 <= start < end <= len(text)
        assert finding.cue == (text[finding.cue_start : finding.cue_end] if finding.cue_start >= 0 else "")
        assert finding.abnormality in parser.vocabulary.labels
        assert finding.location in parser.vocabulary.locations
        assert (finding.abnormality, finding.location) not in parser.vocabulary.forbidden


@settings(deadline=None)
@given(TEXTS)
def test_parsing_is_deterministic(text):
    assert OTHER.parse(text) == PARSER.parse(text) == PARSER.parse(text)


SENTENCES = st.lists(
    st.sampled_from(
        [
            "No pleural effusion.",
            "5 mm nodule in the right upper lobe.",
            "The heart is enlarged.",
            "Pneumothorax has resolved.",
            "Possible consolidation at the left base.",
        ]
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None)
@given(SENTENCES, st.sampled_from(["The weather was fine.", "Clinical correlation is advised.", "Images were good."]))
def test_an_unrelated_sentence_changes_no_other(sentences, unrelated):
    text = " ".join(sentences)
    plain = PARSER.parse(text).findings
    after = PARSER.parse(f"{text} {unrelated}").findings
    assert after == plain
    shift = len(unrelated) + 1
    before = PARSER.parse(f"{unrelated} {text}").findings
    assert [(f.abnormality, f.location, f.status, f.start - shift) for f in before] == [
        (f.abnormality, f.location, f.status, f.start) for f in plain
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty text"),
        ("  \n ", "empty text"),
        (None, "empty text"),
        (float("nan"), "empty text"),
        (3, "not a text but int"),
        (["x"], "not a text but list"),
    ],
)
def test_what_is_no_report_has_a_reason(value, reason):
    report = PARSER.parse(value)
    assert (report.findings, report.reason) == ((), reason)


def test_bytes_are_read_and_said_so():
    report = PARSER.parse("Nodule. Größe 5 mm.".encode("latin-1"))
    assert report.findings[0].abnormality == "nodule"
    assert "bytes" in report.reason


def test_a_megabyte_is_read_up_to_the_limit():
    text = "No pleural effusion. " * 50_000
    report = PARSER.parse(text)
    assert len(text) > 1_000_000
    assert f"only the first {MAX_CHARACTERS}" in report.reason
    assert {f.status for f in report.findings} == {"absent"}
    assert max(f.end for f in report.findings) <= MAX_CHARACTERS


def test_a_text_without_full_stops_is_read_in_pieces():
    findings = PARSER.parse("nodule in the right lung and " * 1_000).findings
    assert len(findings) == 1_000
    assert {f.location for f in findings} <= {"right_lung", "right", "other_location"}
    assert max(f.sentence for f in findings) > 10


@pytest.mark.parametrize(
    "text",
    [
        "\x00\x01\x02 nodule \x7f in the right lung",
        "<p>Nodule</p> in&nbsp;the <b>right lung</b>",
        "NODULE IN THE RIGHT LUNG",
        "nodule\tin\u00a0the right\u2003lung",
    ],
)
def test_odd_characters_do_not_hide_the_finding(text):
    (finding,) = PARSER.parse(text).findings
    assert (finding.abnormality, finding.location) == ("nodule", "right_lung")


def test_other_languages_give_no_invented_findings():
    text = "Akciğer parankimi normaldir. Los pulmones están limpios. 両肺に異常なし。 Лёгкие чистые."
    assert PARSER.parse(text).findings == ()
