"""The parser on the OpenI training split: real text with labels by human coders."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter

import pytest

from organcam.nlp import ReportParser, parse_table


@pytest.fixture(scope="module")
def coded(shared_data):
    with (shared_data / "openi_train" / "labels.csv").open(encoding="utf-8", newline="") as table:
        return {row.pop("filename"): {k for k, v in row.items() if v == "1"} for row in csv.DictReader(table)}


def test_labels_of_the_half_that_nothing_was_developed_on(shared_data, coded):
    counts: Counter[str] = Counter()
    for name, report in parse_table(shared_data / "openi_train" / "reports.csv", vocabulary="chest_xray"):
        if hashlib.sha256(name.encode()).digest()[0] & 1:
            found = {f.abnormality for f in report.findings if f.status == "present"}
            counts["both"] += len(found & coded[name])
            counts["one"] += len(found ^ coded[name])
    assert 2 * counts["both"] / (2 * counts["both"] + counts["one"]) > 0.88


def test_the_ct_vocabulary_reads_the_same_reports_without_a_reason(shared_data):
    parser = ReportParser()
    for _, report in parse_table(shared_data / "openi_train" / "reports.csv", vocabulary=parser):
        assert report.reason in ("", "empty text")
        for finding in report.findings:
            words = report.text[finding.start : finding.end]
            assert words.strip() == words != ""


def test_reports_beside_the_ct_volumes(shared_data):
    path = shared_data / "lung_pet_ct_dx" / "reports.csv"
    reports = dict(parse_table(path, "scan_id", ["report_text"]))
    found = {(f.abnormality, f.location) for f in reports["A0001"].findings if f.status == "present"}
    assert ("mass", "left_upper") in found
    assert not any(location.startswith("right") for _, location in found)
    found = {(f.abnormality, f.location) for f in reports["A0002"].findings if f.status == "present"}
    assert {("mass", "hilum"), ("consolidation", "right_lower")} <= found
