from __future__ import annotations

import re

from organcam.nlp import ReportParser, render_html


def test_findings_places_and_cues_are_marked():
    html = render_html(ReportParser().parse("No nodule in the right upper lobe."))
    marks = re.findall(r"<mark[^>]*>\s*(.*?)\s*<span[^>]*>(.*?)</span>", html, flags=re.DOTALL)
    assert marks == [("No", "cue"), ("nodule", "nodule | right_upper | absent"), ("right upper lobe", "place")]


def test_report_text_is_escaped():
    html = render_html(ReportParser().parse("<script>alert(1)</script> nodule <img src=x>"))
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_labels_of_one_span_stand_together():
    html = render_html(ReportParser().parse("Calcified granuloma in the spleen."), page=False)
    assert "granuloma, calcification | spleen | present" in html
    assert "<html" not in html


def test_an_empty_report_makes_a_page():
    assert "<html" in render_html(ReportParser().parse(""))
