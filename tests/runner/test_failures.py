from __future__ import annotations

import csv

from organcam.runner import Failure, Shard, read_failures, write_failures

BAD = Failure("segment", "scan2", 'no lung found in "scan2", 3 axes', "data")
DEAD = Failure("segment", "scan1", "its worker process died (SIGKILL)", "crash")
SLOW = Failure("store", "scan1", "took longer than 5 s", "timeout")


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [row["scan_id"] for row in csv.DictReader(file)]


def test_columns_and_order(tmp_path):
    path = write_failures(tmp_path, "segment", [BAD, DEAD])
    assert path == tmp_path / "failures.csv"
    assert path.read_text() == (
        "stage,scan_id,kind,reason\n"
        "segment,scan1,crash,its worker process died (SIGKILL)\n"
        'segment,scan2,data,"no lung found in ""scan2"", 3 axes"\n'
    )
    assert read_failures(tmp_path) == [DEAD, BAD]


def test_rows_of_a_stage_that_went_well_disappear_and_others_stay(tmp_path):
    write_failures(tmp_path, "segment", [BAD, DEAD])
    write_failures(tmp_path, "store", [SLOW])
    write_failures(tmp_path, "segment", [BAD])
    assert read_failures(tmp_path) == [BAD, SLOW]
    write_failures(tmp_path, "segment", [])
    write_failures(tmp_path, "store", [])
    assert (tmp_path / "failures.csv").read_text() == "stage,scan_id,kind,reason\n"


def test_shards_write_their_own_files_and_a_whole_run_collects_them(tmp_path):
    first = write_failures(tmp_path, "segment", [BAD], Shard(1, 2))
    second = write_failures(tmp_path, "segment", [DEAD], Shard(2, 2))
    write_failures(tmp_path, "store", [SLOW], Shard(2, 2))
    assert (first.name, rows(first)) == ("failures-1of2.csv", ["scan2"])
    assert (second.name, rows(second)) == ("failures-2of2.csv", ["scan1", "scan1"])
    assert read_failures(tmp_path) == [DEAD, BAD, SLOW]
    write_failures(tmp_path, "segment", [DEAD])
    assert [path.name for path in tmp_path.iterdir()] == ["failures.csv"]
    assert read_failures(tmp_path) == [DEAD, SLOW]


def test_no_file_means_no_failures(tmp_path):
    assert read_failures(tmp_path) == []


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "failures-notes.csv").write_text("mine")
    write_failures(tmp_path, "segment", [BAD])
    assert (tmp_path / "failures-notes.csv").read_text() == "mine"
    assert read_failures(tmp_path) == [BAD]


def test_several_reasons_of_one_scan_are_all_kept(tmp_path):
    """A scan may be unreadable and without a report; before, the last row took the place of the others."""
    broken = Failure("ingest", "scan1", "unreadable or truncated", "data")
    unpaired = Failure("ingest", "scan1", "no report with id scan1", "unpaired")
    twice = Failure("ingest", "scan1", "occurs more than once (b.nii)", "data")
    write_failures(tmp_path, "ingest", [unpaired, broken, twice, broken])
    assert read_failures(tmp_path) == [twice, broken, unpaired]


def test_damaged_rows_do_not_end_a_run(tmp_path):
    write_failures(tmp_path, "ingest", [Failure("ingest", "scan1", "unreadable", "data")])
    with (tmp_path / "failures.csv").open("ab") as file:
        file.write(b'segment\nsegment,\xff\x00,nonsense,"open quotation\n')
    assert [failure.id for failure in read_failures(tmp_path)].count("scan1") == 1
    write_failures(tmp_path, "segment", [])
    assert len(read_failures(tmp_path)) == 1
