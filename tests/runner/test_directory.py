from __future__ import annotations

import json
import os
import socket

import pytest

from organcam.errors import OrganCamError
from organcam.runner import (
    Failure,
    Interrupted,
    RunDirectory,
    Shard,
    StageResult,
    read_failures,
    require_free_space,
)
from organcam.runner.liveness import host_tag, process_start
from organcam.runner.lock import SILENCE


def state(root, name="run.json"):
    return json.loads((root / name).read_text())


def leave_by(run, error):
    with run:
        raise error


def test_run_that_ends_well(tmp_path):
    root = tmp_path / "deep" / "out"
    with RunDirectory(root, command=["organcam", "run"]) as run:
        assert state(root)["status"] == "running"
        assert run.folder("attention", "masked") == root / "attention" / "masked"
        run.record(StageResult("segment", {"a": {}, "b": {}}, ("b",), (), 1.25))
    assert sorted(os.listdir(root)) == ["attention", "failures.csv", "run.json"]
    ended = state(root)
    assert (ended["status"], ended["command"], ended["shard"]) == ("done", ["organcam", "run"], None)
    assert ended["stages"] == {"segment": {"done": 1, "skipped": 1, "failed": 0, "seconds": 1.25, "notes": []}}
    assert {"organcam", "started", "ended", "seconds", "platform"} <= ended.keys()


def test_failures_make_it_done_with_failures(tmp_path):
    failure = Failure("segment", "a", "no lung found", "data")
    with RunDirectory(tmp_path) as run:
        run.record(StageResult("segment", {}, (), (failure,)))
    assert (state(tmp_path)["status"], run.failed) == ("done_with_failures", 1)
    assert read_failures(tmp_path) == [failure]


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (Interrupted(15), "interrupted", None),
        (OrganCamError("the disk is full"), "failed", "the disk is full"),
        (ValueError("The lungs are clear."), "failed", "ValueError"),
    ],
)
def test_other_endings(tmp_path, error, status, words):
    with pytest.raises(type(error)):
        leave_by(RunDirectory(tmp_path), error)
    assert (state(tmp_path)["status"], state(tmp_path).get("error")) == (status, words)
    assert os.listdir(tmp_path) == ["run.json"]  # no lock


def test_folder_is_made_no_earlier_than_the_run_begins(tmp_path):
    RunDirectory(tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(OrganCamError, match=r"cannot make the folder .*out"), RunDirectory(tmp_path / "out"):
        pass


def test_second_run_is_refused(tmp_path):
    with RunDirectory(tmp_path):
        with pytest.raises(OrganCamError, match=f"process {os.getpid()} on {socket.gethostname()} since"):
            RunDirectory(tmp_path).__enter__()
        assert (tmp_path / ".lock").exists()
    with RunDirectory(tmp_path) as run:
        assert run.status == "running"


def test_shards_go_together_but_not_with_themselves_nor_with_a_whole_run(tmp_path):
    with RunDirectory(tmp_path, shard=Shard(1, 2)), RunDirectory(tmp_path, shard=Shard(2, 2)):
        assert sorted(os.listdir(tmp_path)) == [".lock-1of2", ".lock-2of2", "run-1of2.json", "run-2of2.json"]
        for shard in (Shard(2, 2), None):
            with pytest.raises(OrganCamError, match="another run is at work"):
                RunDirectory(tmp_path, shard=shard).__enter__()
    assert state(tmp_path, "run-2of2.json")["shard"] == "2/2"
    with RunDirectory(tmp_path), pytest.raises(OrganCamError, match="another run is at work"):
        RunDirectory(tmp_path, shard=Shard(1, 2)).__enter__()


def lock(root, **changes):
    holder = {"token": "t", "pid": os.getpid(), "host": "here", "host_tag": host_tag(), "since": "noon"}
    holder["process_start"] = process_start(os.getpid())
    (root / ".lock").write_text(json.dumps({**holder, **changes}))
    return root / ".lock"


def test_lock_of_a_dead_process_is_taken_over(tmp_path, dead_process):
    lock(tmp_path, pid=dead_process)
    with RunDirectory(tmp_path) as run:
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
        assert run.status == "running"


@pytest.mark.skipif(not process_start(os.getpid()), reason="only Linux tells when a process started")
def test_lock_of_an_earlier_process_with_the_same_number_is_taken_over(tmp_path):
    lock(tmp_path, process_start="another boot/1")
    with RunDirectory(tmp_path) as run:
        assert run.status == "running"


def test_lock_of_another_host_holds_while_it_shows_signs_of_life(tmp_path):
    path = lock(tmp_path, host="elsewhere", host_tag="00000000")
    with pytest.raises(OrganCamError, match=r"on elsewhere since noon.*delete .*\.lock"):
        RunDirectory(tmp_path).__enter__()
    silent = path.stat().st_mtime - SILENCE - 60
    os.utime(path, (silent, silent))
    with RunDirectory(tmp_path) as run:
        assert run.status == "running"


def test_release_leaves_a_lock_that_another_took_over(tmp_path):
    with RunDirectory(tmp_path):
        path = lock(tmp_path, token="theirs")
    assert path.exists()


def test_leftovers_of_a_killed_run_are_removed_at_the_start(tmp_path, dead_process):
    leftover = tmp_path / f".run.json.{host_tag()}-{dead_process}-0123abcd.tmp"
    leftover.mkdir()
    with RunDirectory(tmp_path):
        assert not leftover.exists()


def test_free_space(tmp_path):
    require_free_space(tmp_path / "not" / "yet", 1)
    with pytest.raises(OrganCamError, match=r"the disk of .*out has .* free, about 5e\+03 TB are needed"):
        require_free_space(tmp_path / "out", 5 * 10**15)
