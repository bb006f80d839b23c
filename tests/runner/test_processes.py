from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

import pytest
from runner_work import number_units, resident_mb_after_freeing, square_stage
from test_stage import attempts, listing, misbehaving, misbehaving_stage

from organcam.errors import ConfigError
from organcam.runner import SerialExecutor, executor_names, make_executor, memory, run_stage


@pytest.mark.parametrize(
    ("action", "words"),
    [("kill", "SIGKILL"), ("exit_0", "exit code 0"), ("exit_7", "exit code 7"), ("memory", "out of memory")],
)
def test_crash_costs_its_own_unit_a_retry_then_a_failure(tmp_path, processes, action, words):
    units = misbehaving(tmp_path, "nothing", action, "nothing", "nothing")
    result = run_stage(misbehaving_stage(tmp_path), units, processes)
    assert list(result.done) == ["0-nothing", "2-nothing", "3-nothing"]
    (failure,) = result.failed
    assert (failure.id, failure.kind) == (f"1-{action}", "crash")
    assert words in failure.reason
    assert sorted(attempts(tmp_path)) == sorted(["0-nothing", "2-nothing", "3-nothing", *[f"1-{action}"] * 2])
    assert attempts(tmp_path)[-1] == f"1-{action}"  # the retry came last, alone
    assert not [name for name in listing(tmp_path / "out" / "work") if name.startswith((".", "1-"))]


def test_crash_that_does_not_repeat_costs_nothing(tmp_path, processes):
    result = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "kill_once", "nothing"), processes)
    assert result.counts == {"done": 2, "skipped": 0, "failed": 0}
    assert attempts(tmp_path).count("0-kill_once") == 2


def test_no_retry_when_none_is_asked_for(tmp_path, processes):
    result = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "kill"), processes, max_retries=0)
    assert result.counts["failed"] == 1
    assert attempts(tmp_path) == ["0-kill"]


def test_unit_over_its_time_is_ended_and_the_rest_goes_on(tmp_path, processes):
    warm = misbehaving(tmp_path, "nothing", "nothing")  # so that imports do not count
    run_stage(misbehaving_stage(tmp_path), warm, processes)
    units = misbehaving(tmp_path, "hang", "nothing", "nothing")
    result = run_stage(misbehaving_stage(tmp_path), units, processes, timeout=1)
    assert [(failure.id, failure.kind, failure.reason) for failure in result.failed] == [
        ("0-hang", "timeout", "took longer than 1 s")
    ]
    assert list(result.done) == ["1-nothing", "2-nothing"]
    assert not [name for name in listing(tmp_path / "out" / "work") if name.startswith((".", "0-hang"))]


def test_workers_stay_warm_between_stages_and_have_one_thread(tmp_path, processes):
    spec = misbehaving_stage(tmp_path)
    first = run_stage(spec, misbehaving(tmp_path, *["nothing"] * 8), processes)
    (tmp_path / "b").mkdir()
    second = run_stage(misbehaving_stage(tmp_path / "b"), misbehaving(tmp_path / "b", *["nothing"] * 8), processes)
    pids = {sidecar["details"]["pid"] for result in (first, second) for sidecar in result.done.values()}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert {sidecar["details"]["threads"] for sidecar in first.done.values()} == {"1"}


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_workers_keep_the_memory_of_freed_arrays(processes):
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("this C library has no mallopt")
    ((_, kept_mb),) = processes.run(resident_mb_after_freeing, [256])
    assert kept_mb > 200


def test_worker_that_dies_while_idle_is_replaced(tmp_path):
    with make_executor("processes", 1) as executor:
        first = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "nothing"), executor)
        os.kill(first.done["0-nothing"]["details"]["pid"], signal.SIGKILL)
        units = misbehaving(tmp_path, "nothing", "nothing")
        assert run_stage(misbehaving_stage(tmp_path), units, executor).counts == {"done": 1, "skipped": 1, "failed": 0}


def test_serial_and_processes_write_the_same_bytes(tmp_path, processes):
    for name, executor in (("a", make_executor("serial")), ("b", processes)):
        run_stage(square_stage(tmp_path / name), number_units(tmp_path / name, 5), executor)
    folders = [tmp_path / name / "out" / "squares" for name in "ab"]
    assert listing(folders[0]) == listing(folders[1])
    for path in folders[0].glob("*.txt"):
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()


def test_script_without_main_guard_is_told_so(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from pathlib import Path\n"
        "from organcam.runner import Unit, StageSpec, make_executor, run_stage\n"
        "def work(context, payload, parameters): return {}\n"
        "with make_executor('processes', 1) as executor:\n"
        f"    run_stage(StageSpec('s', 1, Path({str(tmp_path)!r}) / 'o', work), "
        "[Unit(str(n), {}, {}) for n in range(1)], executor)\n"
    )
    ended = subprocess.run([sys.executable, script], check=False, capture_output=True, encoding="utf-8", timeout=60)
    assert ended.returncode == 1
    assert '`if __name__ == "__main__":`' in ended.stderr.splitlines()[-1]


def test_unknown_executor_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no executor 'process'; did you mean 'processes'\? Legal: .*serial"):
        make_executor("process")


def test_executor_of_an_installed_package_joins_by_entry_point(tmp_path, monkeypatch):
    package = tmp_path / "cluster-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[organcam.executors]\ncluster = cluster_executor:make\n")
    (tmp_path / "cluster_executor.py").write_text(
        "from organcam.runner import SerialExecutor\n"
        "def make(workers, scheduler):\n"
        "    executor = SerialExecutor()\n"
        "    executor.workers, executor.scheduler = workers, scheduler\n"
        "    return executor\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    executor = make_executor("cluster", 5, scheduler="tcp://host:1")
    assert isinstance(executor, SerialExecutor)
    assert (executor.workers, executor.scheduler) == (5, "tcp://host:1")
    assert executor_names() == ("cluster", "dask", "processes", "serial")


def test_no_workers_are_refused():
    with pytest.raises(ConfigError, match="workers must be 1 or more, got 0"):
        make_executor("processes", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
@pytest.mark.parametrize("action", ["allocate", "allocate_in_itk"])
def test_a_unit_over_the_memory_limit_is_one_failure_and_the_rest_goes_on(tmp_path, action):
    with make_executor("processes", 2, memory_gb=2) as executor:
        units = misbehaving(tmp_path, "nothing", action, "nothing")
        result = run_stage(misbehaving_stage(tmp_path), units, executor)
    (failure,) = result.failed
    assert (failure.id, failure.kind) == (f"1-{action}", "crash")
    assert failure.reason == "out of memory (a worker may take 2 GB: memory_gb)"
    assert list(result.done) == ["0-nothing", "2-nothing"]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_memory_that_is_allowed_is_given(tmp_path):
    with make_executor("processes", 1, memory_gb=5) as executor:
        result = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "allocate"), executor)
    assert result.counts == {"done": 1, "skipped": 0, "failed": 0}


def test_default_limit_is_generous_and_within_the_machine(monkeypatch):
    monkeypatch.setattr(memory, "_machine_memory", lambda: 64 << 30)
    assert memory.default_limit(1) == 64 << 30
    assert memory.default_limit(4) == 24 << 30
    assert memory.default_limit(64) == 4 << 30
    monkeypatch.setattr(memory, "_machine_memory", lambda: None)
    assert memory.default_limit(4) is None
