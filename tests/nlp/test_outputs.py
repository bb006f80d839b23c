"""Tables in, label files out."""

from __future__ import annotations

import pandas as pd
import pytest

from organcam.errors import ConfigError, DataError
from organcam.nlp import (
    FINDING_COLUMNS,
    ReportParser,
    findings_table,
    labels_by_location_table,
    labels_table,
    parse_table,
    read_label_table,
    write_outputs,
)

REPORTS = "scan_id,report_text\na,Nodule in the right upper lobe.\nb,No effusion. Possible pneumonia.\n"


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


def write(tmp_path, text, name="reports.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_of_parsed_reports(parser):
    reports = {"a": parser.parse("Nodule in the right upper lobe."), "b": parser.parse("Possible pneumonia.")}
    findings = findings_table(reports)
    assert list(findings.columns) == ["report_id", *FINDING_COLUMNS]
    assert findings[["report_id", "abnormality", "location"]].to_numpy().tolist() == [
        ["a", "nodule", "right_upper"],
        ["b", "pneumonia", "lung"],
    ]
    labels = labels_table(reports).set_index("report_id")
    assert labels.shape == (2, 84)
    assert labels.loc["a"].sum() == 1
    assert labels.loc["a", "nodule"] == 1
    assert labels.loc["b", "pneumonia"] == 1
    assert labels_table(reports, uncertain="negative").set_index("report_id").loc["b"].sum() == 0


def test_lobes_roll_up_to_their_lung(parser):
    table = labels_by_location_table({"a": parser.parse("Nodule in the right upper lobe.")})
    assert table.shape == (1, 84 * 52)
    assert table.index.name == "report_id"
    positive = table.columns[table.loc["a"] == 1].tolist()
    assert positive == ["nodule*right_upper", "nodule*right_lung", "nodule*lung"]


def test_history_counts_on_request(parser):
    reports = {"a": parser.parse("History of tuberculosis.")}
    assert labels_table(reports)["tuberculosis"].tolist() == [0]
    assert labels_table(reports, historical="positive")["tuberculosis"].tolist() == [1]


def test_a_policy_must_be_one_of_two_words(parser):
    with pytest.raises(ConfigError, match="uncertain must be positive or negative, got 'maybe'"):
        labels_table({"a": parser.parse("Nodule.")}, uncertain="maybe")


def test_files_of_a_corpus_agree_with_the_tables(tmp_path, parser):
    counts = write_outputs(parse_table(write(tmp_path, REPORTS), vocabulary=parser), tmp_path / "out", labels="ct_rate")
    assert counts == {"reports": 2, "findings": 3, "problems": 0, "conflicts": 0}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"findings.csv", "labels.csv", "labels_by_location.csv", "reports.csv", "ct_rate.csv"}
    reports = dict(parse_table(write(tmp_path, REPORTS), vocabulary=parser))
    grid = read_label_table(tmp_path / "out" / "labels_by_location.csv")
    pd.testing.assert_frame_equal(grid, labels_by_location_table(reports))
    flat = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert flat.to_numpy().tolist() == labels_table(reports).to_numpy().tolist()
    assert pd.read_csv(tmp_path / "out" / "ct_rate.csv").set_index("VolumeName").loc["a", "Lung nodule"] == 1


def test_no_report_is_lost(tmp_path, parser):
    rows = [
        {"id": "a", "text": "Nodule."},
        {"id": "a", "text": "Mass."},
        {"id": "../b", "text": float("nan")},
        {"id": None, "text": 5},
        {"id": "c", "text": "Not given."},
    ]
    reports = list(parse_table(rows, "id", ["text"], vocabulary=parser))
    assert [name for name, _ in reports] == ["a", "a#2", "../b", "row 4", "c"]
    reasons = [report.reason for _, report in reports]
    assert reasons[0] == ""
    assert "more than once" in reasons[1]
    assert reasons[2] == "empty text"
    assert reasons[3] == "no report id; not a text but int"
    assert reasons[4] == "empty text"
    counts = write_outputs(iter(reports), tmp_path / "out")
    assert counts["reports"] == 5
    assert counts["problems"] == 4
    assert pd.read_csv(tmp_path / "out" / "reports.csv")["report_id"].tolist() == ["a", "a#2", "../b", "row 4", "c"]


def test_ct_rate_columns_are_known(parser):
    row = {
        "VolumeName": "valid_1_a_1.nii.gz",
        "ClinicalInformation_EN": "Pneumonia?",
        "Technique_EN": "Non-contrast CT.",
        "Findings_EN": "Consolidation in the left lower lobe.",
        "Impressions_EN": "Not given.",
    }
    ((name, report),) = parse_table([row], vocabulary=parser)
    assert name == "valid_1_a_1.nii.gz"
    assert [(f.abnormality, f.status, f.section) for f in report.findings] == [
        ("pneumonia", "historical", "indication"),
        ("consolidation", "present", "findings"),
    ]
    assert report.text[report.findings[1].start : report.findings[1].end] == "Consolidation"


def test_semicolons_byte_order_mark_and_line_ends(tmp_path, parser):
    path = tmp_path / "r.csv"
    path.write_bytes('\ufeffid;text\r\nx;"Emphysema.\r\nNo mass."\r\n'.encode())
    ((name, report),) = parse_table(path, "id", ["text"], vocabulary=parser)
    assert (name, [f.status for f in report.findings]) == ("x", ["present", "absent"])


def test_missing_columns_and_files_say_what_is_there(tmp_path, parser):
    with pytest.raises(DataError, match="no column 'report'; did you mean 'report_text'"):
        list(parse_table(write(tmp_path, REPORTS), "scan_id", ["report"], vocabulary=parser))
    with pytest.raises(ConfigError, match="out of id, words"):
        list(parse_table([{"id": 1, "words": "x"}], vocabulary=parser))
    with pytest.raises(DataError, match="cannot be read as a table"):
        list(parse_table(tmp_path / "none.csv", "a", ["b"], vocabulary=parser))
    with pytest.raises(DataError, match="first line must hold the column names"):
        list(parse_table(write(tmp_path, "", "empty.csv"), "a", ["b"], vocabulary=parser))


def test_a_profile_needs_its_vocabulary(tmp_path):
    with pytest.raises(ConfigError, match="needs a vocabulary that extends chest_ct, got chest_xray"):
        write_outputs([], tmp_path, vocabulary="chest_xray", labels="ct_rate")
    with pytest.raises(ConfigError, match="unknown label profile 'ct_rat'; did you mean 'ct_rate'"):
        write_outputs([], tmp_path, labels="ct_rat")


def test_a_failure_leaves_no_half_file(tmp_path):
    def broken():
        yield "a", ReportParser().parse("Nodule.")
        msg = "the disk is gone"
        raise OSError(msg)

    with pytest.raises(OSError, match="disk"):
        write_outputs(broken(), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_rad_chestct_files_are_read(tmp_path):
    path = write(tmp_path, "NoteAcc_DEID,nodule*right_upper,other_path*lung\ntrn00001,1,0\n")
    table = read_label_table(path)
    assert table.columns.tolist() == ["nodule*right_upper", "other_disease*lung"]
    assert table.loc["trn00001"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,nodul*lung\na,1\n", "is no abnormality"),
        ("id,nodule*lung\na,1\na,0\n", "appears more than once"),
        ("id,nodule*lung\na,2\n", "other than 0 and 1"),
    ],
)
def test_bad_label_files(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_label_table(write(tmp_path, text))


def test_parse_many_does_not_wait_for_the_end(parser):
    def endless():
        while True:
            yield "No effusion."

    assert next(parser.parse_many(endless())).findings[0].status == "absent"
