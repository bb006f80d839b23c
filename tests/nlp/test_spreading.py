"""Reports over several processes: in order, whole and with flat memory, whatever dies."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from spreading_work import parse_or_die

from organcam.nlp import ReportParser, parse_table, write_outputs
from organcam.nlp.reports.spreading import BATCH, WINDOW
from organcam.runner import make_executor
from organcam.runner.liveness import is_alive

unix = pytest.mark.skipif(os.name == "nt", reason="signals of unix")


@pytest.fixture(scope="module")
def parser():
    return ReportParser()


@pytest.fixture(scope="module")
def processes():
    with make_executor("processes", 2) as executor:
        yield executor


def sized(count):
    return [f"{size} mm nodule in the right lung. No effusion." for size in range(1, count + 1)]


def backwards(function, batches):
    """An engine that is always ready with the last first."""
    for batch in reversed(list(batches)):
        yield batch, function(batch)


def test_processes_change_nothing_but_time(parser, processes):
    texts = [*sized(3 * BATCH), None, 7, [("impression", "Cardiomegaly.")]]
    alone = list(parser.parse_many(texts))
    assert list(parser.parse_many(texts, processes.run)) == alone
    assert list(parser.parse_many(texts, backwards)) == alone


def test_no_more_is_read_ahead_than_a_window(parser):
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield "No effusion."

    assert len(list(islice(parser.parse_many(endless(), backwards), 3 * BATCH))) == 3 * BATCH
    assert len(taken) <= WINDOW * BATCH


@unix
def test_a_report_that_kills_its_process_costs_itself_alone(parser, processes):
    texts = [*sized(2 * BATCH), "POISON", *sized(BATCH)]
    parsed = list(parser.parse_many(texts, lambda _, batches: processes.run(parse_or_die, batches)))
    assert parsed[2 * BATCH].findings == ()
    assert "its worker process died (SIGKILL" in parsed[2 * BATCH].reason
    del texts[2 * BATCH], parsed[2 * BATCH]
    assert parsed == list(parser.parse_many(texts))


@unix
def test_a_death_that_does_not_repeat_costs_nothing(tmp_path, parser, processes):
    texts = [*sized(BATCH), f"ONCE {tmp_path / 'mark'}", *sized(5)]
    parsed = list(parser.parse_many(texts, lambda _, batches: processes.run(parse_or_die, batches)))
    assert (tmp_path / "mark").exists()
    assert parsed == list(parser.parse_many(texts))


def test_tables_are_the_same_to_the_byte(tmp_path, parser, processes):
    rows = [{"id": f"R{number}", "text": text} for number, text in enumerate(sized(120))]
    for name, spread in (("alone", None), ("spread", processes.run)):
        write_outputs(parse_table(rows, "id", ["text"], vocabulary=parser, spread=spread), tmp_path / name)
    for path in (tmp_path / "alone").iterdir():
        assert path.read_bytes() == (tmp_path / "spread" / path.name).read_bytes()


def test_a_process_makes_one_parser_for_all_batches(parser):
    import pickle

    first, second = (pickle.loads(pickle.dumps(parser)) for _ in range(2))
    assert first is second
    assert first is not parser
    assert pickle.loads(pickle.dumps(ReportParser("chest_xray"))).vocabulary.name == "chest_xray"


def wait_until(look):
    """What ``look`` returns once there is any; fails after a generous time."""
    for _ in range(6000):
        seen = look()
        if seen:
            return seen
        time.sleep(0.01)
    return pytest.fail("waited in vain")


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.fixture
def running(tmp_path):
    """The command over a large table in two processes, and the numbers of its workers."""
    if not sys.platform.startswith("linux"):
        pytest.skip("looks for processes under /proc")
    with (tmp_path / "reports.csv").open("w", newline="") as table:
        csv.writer(table).writerows([("scan_id", "report_text"), *enumerate(sized(20_000))])
    command = [sys.executable, "-m", "organcam", "parse", "--reports", "reports.csv", "--out", "run", "-j", "2", "-q"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, start_new_session=True) as process:
        yield process, wait_until(lambda: found if len(found := workers_of(process)) == 2 else [])
        process.kill()


def workers_of(process):
    """Its workers, less Python's own resource tracker."""
    command = {pid: Path(f"/proc/{pid}/cmdline") for pid in children(process.pid)}
    return [pid for pid, path in command.items() if path.exists() and b"spawn_main" in path.read_bytes()]


def test_a_run_whose_worker_is_killed_ends_with_whole_tables(tmp_path, running):
    process, (victim, _) = running
    os.kill(victim, signal.SIGKILL)
    assert process.wait(timeout=600) == 0, process.stderr.read()
    with (tmp_path / "run" / "labels" / "reports.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["report_id"] for row in rows] == [str(number) for number in range(20_000)]
    assert not any(row["reason"] for row in rows)


def test_workers_end_with_a_driver_that_is_killed_alone(running):
    process, workers = running
    assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in workers))
