"""What comes in that is no clean report: every row comes out, with its reason."""

from __future__ import annotations

import csv
import subprocess
import sys

import pytest

from organcam.errors import ConfigError, DataError
from organcam.nlp import ReportParser, find_columns, load_vocabulary, parse_table, vocabulary_files, write_outputs


def organcam(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "organcam", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        cwd=cwd,
        check=False,
    )


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reports.csv"
    rows = [
        ("A1", "5 mm nodule in the right upper lobe.", "Nodule."),
        ("A2", "", ""),
        ("A1", "Cardiomegaly.", ""),
        ("../../x", "Emphysema in both upper lobes.", ""),
        ("", "Left effusion.", ""),
        ("A6", "Akci\u011fer parankimi normaldir, plevral ef\u00fczyon izlenmedi.", ""),
        ("A7", "<p>Nodule</p> in&nbsp;the <b>right lung</b>", ""),
        ("A8", "FINDINGS:\r\nNodule in the lingula.\r\nIMPRESSION:\r\n1. Nodule.\r\n", ""),
        ("A9", "\x01\x02 mass \x7f in the left lung", ""),
    ]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("id", "text", "conclusion"), *rows])
    return path


def test_no_row_is_lost_by_the_command(table, tmp_path):
    options = ("--reports", table, "--id-column", "id", "--text-columns", "text,conclusion", "--labels", "ct_rate")
    done = organcam("parse", *options, "--out", "run", "--quiet", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    labels = tmp_path / "run" / "labels"
    reasons = {row["report_id"]: row["reason"] for row in rows_of(labels / "reports.csv")}
    assert list(reasons) == ["A1", "A2", "A1#2", "../../x", "row 5", "A6", "A7", "A8", "A9"]
    assert reasons["A2"] == "empty text"
    assert reasons["A1#2"] == "the id 'A1' appears more than once"
    assert reasons["row 5"] == "no report id"
    assert reasons["A6"] == "hardly a word is known; only English is read"
    assert not any(reasons[name] for name in ("A1", "../../x", "A7", "A8", "A9"))
    assert {row["scan_id"] for row in rows_of(tmp_path / "run" / "failures.csv")} == {"A2", "A1#2", "row 5", "A6"}
    for name in ("labels.csv", "labels_by_location.csv", "ct_rate.csv"):
        assert len(rows_of(labels / name)) == 9
    assert not list(tmp_path.parent.glob("x*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text-columns", "txt"], "did you mean 'text'"),
        (["--id-column", "idd"], "did you mean 'id'"),
        (["--reports", "nowhere.csv"], "no such file"),
        (["--vocabulary", "chest_cct"], "did you mean 'chest_ct'"),
        (["--vocabulary", "nowhere.yaml"], "cannot be read"),
        (["--vocabulary", "broken.yaml"], "not valid YAML"),
        (["--vocabulary", "keys.yaml"], "did you mean 'concepts'"),
        (["--labels", "ctrate"], "did you mean 'ct_rate'"),
        (["--vocabulary", "chest_xray", "--labels", "ct_rate"], "needs a vocabulary that extends chest_ct"),
        (["--uncertain", "maybe"], "'positive' or 'negative'"),
        (["--html", "page.html"], "give its --text"),
    ],
)
def test_a_wrong_option_is_one_message_before_anything_is_done(table, tmp_path, options, words):
    (tmp_path / "broken.yaml").write_text("name: x\n  bad: [")
    (tmp_path / "keys.yaml").write_text("name: x\nextends: chest_ct\nconcept: {}\n")
    given = {"--reports": table, "--id-column": "id", "--text-columns": "text"}
    given |= dict(zip(options[::2], options[1::2], strict=True))
    done = organcam("parse", *(x for pair in given.items() for x in pair), "--out", "run", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "labels").exists()


def test_columns_are_found_from_the_first_line(table, tmp_path):
    assert find_columns(table, "id", ["text"]) == ("id", ("text",))
    known = tmp_path / "known.csv"
    known.write_text("scan_id;report_text\n1;x\n")
    assert find_columns(known) == ("scan_id", ("report_text",))
    with pytest.raises(ConfigError, match="not a known one"):
        find_columns(table)
    with pytest.raises(DataError, match="did you mean 'conclusion'"):
        find_columns(table, "id", ["conclusions"])


def test_a_repeated_id_never_takes_the_name_of_another():
    rows = [{"id": name, "text": "Nodule."} for name in ("a", "a#2", "a", "a")]
    names = [name for name, _ in parse_table(rows, "id", ["text"])]
    assert names == ["a", "a#2", "a#3", "a#4"]


def test_short_and_english_texts_are_not_called_foreign():
    parser = ReportParser()
    for text in ("Normal.", "XXXX XXXX", "No abnormality is seen in the chest.", "Well expanded and clear lungs."):
        assert parser.parse(text).reason == ""
    assert parser.parse("Keine Rundherde, kein Pleuraerguss, normale Herzgr\u00f6\u00dfe.").reason.startswith("hardly")


def test_files_of_a_vocabulary_and_of_what_it_extends(tmp_path):
    (tmp_path / "ours.yaml").write_text("name: ours\nextends: base.yaml\n")
    (tmp_path / "base.yaml").write_text("name: base\nextends: chest_ct\n")
    names = [path.name for path in vocabulary_files(tmp_path / "ours.yaml")]
    assert names == ["ours.yaml", "base.yaml", "chest_ct.yaml", "anatomy.yaml"]


def test_an_id_with_commas_and_quotes_stays_one_cell(tmp_path):
    report = ReportParser().parse("Nodule in the lingula.")
    write_outputs([('a,"b"', report)], tmp_path)
    (row,) = rows_of(tmp_path / "labels_by_location.csv")
    assert row.pop("report_id") == 'a,"b"'
    assert {cell for cell, value in row.items() if value == "1"} == {
        "nodule*left_mid",
        "nodule*left_lung",
        "nodule*lung",
    }


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("", 2, "--text is empty"),
        (" \n", 2, "--text is empty"),
        ("Keine Rundherde, kein Pleuraerguss, Herz normal gro\u00df und unauff\u00e4llig.", 3, "only English is read"),
    ],
)
def test_one_text_that_cannot_be_read_is_told_as_in_a_table(tmp_path, text, code, words):
    done = organcam("parse", "--text", text, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_one_text_without_findings_says_so(tmp_path):
    done = organcam("parse", "--text", "Comparison with the examination of last year.", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "no findings")


def test_a_vocabulary_with_tabs_is_told_its_mistakes(tmp_path):
    """libyaml takes a tab where the pure Python reader does not; the lines come from the reader that read the file."""
    path = tmp_path / "tabs.yaml"
    path.write_text("name:\ttabs\nlanguage: en\nlabels: [tear]\t\nunknown: 1\n")
    with pytest.raises(ConfigError, match="line 4: unknown"):
        load_vocabulary(path)
