"""The page on which a person checks the parser, and the figures of what it saves."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import subprocess
import sys

import pytest

from organcam.errors import DataError
from organcam.nlp import ParsedReport, ReportParser, render_review, sample_rows, score_review
from organcam.nlp.reports.review import REVIEW_COLUMNS

TEXTS = {
    "a": "5 mm nodule in the right upper lobe. No pleural effusion.",
    "b<script>": 'Emphysema </span><script>alert(1)</script> & a "mass" in the lingula.',
    "c": "",
}


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


@pytest.fixture(scope="module")
def page(parser):
    return render_review([(name, parser.parse(text)) for name, text in TEXTS.items()], parser.vocabulary)


def write(tmp_path, *rows, header=REVIEW_COLUMNS):
    path = tmp_path / "review.csv"
    with path.open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([header, *rows])
    return path


def test_the_page_is_one_file_that_runs_nothing_of_the_reports(page):
    assert page.count("<script>") == 1
    assert "alert(1)" in page
    assert not re.search(r"https?://", page)
    assert "default-src 'none'" in page


def test_the_text_is_there_in_full_with_its_findings_marked(page):
    texts = re.findall(r'<div class="text">(.*?)</div>', page, re.DOTALL)
    assert [html.unescape(re.sub(r"</?(?:mark|span)[^>]*>", "", text)) for text in texts] == list(TEXTS.values())
    assert '<mark class="present"' in texts[0]
    assert '<mark class="absent"' in texts[0]


def test_the_rows_are_the_positive_cells(page):
    rows = re.findall(r'data-abnormality="(\w+)" data-location="(\w+)"', page)
    assert ("nodule", "right_upper") in rows
    assert not any(abnormality == "pleural_effusion" for abnormality, _ in rows)


def test_the_same_reports_are_chosen_whatever_their_order():
    rows = [{"id": f"R{number}"} for number in range(50)]
    chosen = sample_rows(rows, "id", 7)
    assert len({row["id"] for row in chosen}) == 7
    assert sample_rows(reversed(rows), "id", 7) == chosen
    assert len(sample_rows(rows, "id", 90)) == 50


def test_scores_by_hand(tmp_path):
    path = write(
        tmp_path,
        ["a", "nodule", "lung", "present", "right", 0, 1],
        ["a", "nodule", "right_upper", "present", "place", 0, 1],
        ["a", "mass", "lung", "present", "wrong", 0, 1],
        ["b", "nodule", "lung", "present", "missed", 0, 1],
        ["c", "nodule", "lung", "present", "wrong", 0, 1],
        ["d", "nodule", "lung", "present", "right", 0, 1],
        *[[name, "", "", "", "read", "", ""] for name in "abc"],
    )
    mass, nodule = score_review(path)
    assert (nodule.label, nodule.found, nodule.wrong, nodule.missed) == ("nodule", 1, 1, 1)
    assert (nodule.precision, nodule.recall, nodule.place_accuracy) == (0.5, 0.5, 0.5)
    assert (mass.precision, mass.recall, mass.place_accuracy) == (0.0, None, None)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([["a", "nodule", "lung", "present", "rigth", 0, 1]], REVIEW_COLUMNS, "line 2: unknown verdict 'rigth'"),
        ([["a", "nodule", "lung", "present", "right", 0, 1]], REVIEW_COLUMNS, "no report is marked as read"),
        ([], REVIEW_COLUMNS[:4], "no column 'verdict'"),
    ],
)
def test_bad_reviews_are_told_in_one_sentence(tmp_path, rows, header, message):
    with pytest.raises(DataError, match=message):
        score_review(write(tmp_path, *rows, header=header))


def test_the_command_writes_the_page_and_reads_the_verdicts(tmp_path):
    (tmp_path / "r.csv").write_text("scan_id,report_text\na,Nodule in the lingula.\nb,No effusion.\n")
    command = [sys.executable, "-m", "organcam", "parse"]
    options = ["--reports", "r.csv", "--review", "page.html", "--sample", "1"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "page.html: 1 report"), done.stderr
    assert "<article" in (tmp_path / "page.html").read_text(encoding="utf-8")
    path = write(tmp_path, ["a", "nodule", "left_mid", "present", "right", 0, 6], ["a", "", "", "", "read", "", ""])
    scored = subprocess.run([*command, "--review-scores", path], capture_output=True, encoding="utf-8", check=False)
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout.split("\n")[1].split() == ["nodule", "1", "0", "0", "1.000", "1.000", "1.000"]


@pytest.mark.browser
def test_clicks_in_a_browser_become_verdicts(tmp_path, page):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on PATH")
    script = """
    <script>
    const row = document.querySelector("tbody tr"); row.click(); row.click();
    document.querySelector(".done").click();
    const text = document.querySelector(".text mark.absent").firstChild;
    getSelection().setBaseAndExtent(text, 0, text, text.length);
    document.getElementById("label").value = "cyst"; document.getElementById("missed").click();
    const out = document.createElement("pre"); out.id = "verdicts"; out.textContent = JSON.stringify(verdicts());
    document.body.append(out);
    </script></body>"""
    (tmp_path / "page.html").write_text(page.replace("</body>", script), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [browser, *flags, (tmp_path / "page.html").as_uri()],
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=120,
    )
    found = re.search(r'<pre id="verdicts">(.*?)</pre>', done.stdout, re.DOTALL)
    rows = json.loads(html.unescape(found.group(1)))
    assert rows[0][:5] == ["a", "nodule", "right_upper", "present", "place"]
    assert ["a", "cyst", "lung", "present", "missed"] in [[*row[:2], "lung", *row[3:5]] for row in rows]
    start, end = next(map(int, row[5:7]) for row in rows if row[4] == "missed")
    assert TEXTS["a"][start:end] == "pleural effusion"
    assert ["a", "", "", "", "read", "", ""] in rows


def test_a_report_without_text_is_shown_with_its_reason(parser):
    assert "empty text" in render_review([("x", ParsedReport("", (), "empty text"))], parser.vocabulary)
