from __future__ import annotations

import json
import os
import signal
import time

import pytest
from runner_work import gated_square, number_units, square_stage
from test_stage import listing, outputs

from organcam.runner import make_executor, run_stage
from organcam.runner.liveness import is_alive

COUNT, FIRST_LATE = 24, 10

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups and signals of unix")


def reach(process, done):
    """Read the script's progress until that many units are over."""
    for line in process.stdout:
        if line.strip() == str(done):
            return
    pytest.fail(f"the script ended before unit {done}: {process.stderr.read()}")


def half_written(folder):
    return [name for name in listing(folder) if name.startswith(".") and name.endswith(".tmp")]


def wait_until(look, length):
    """What ``look`` returns once it has that length; fails after a generous time."""
    for _ in range(2000):
        seen = look()
        if len(seen) == length:
            return seen
        time.sleep(0.01)
    return pytest.fail(f"never saw {length} of {seen}")


def uninterrupted(root):
    (root / "gate").parent.mkdir(parents=True)
    (root / "gate").touch()
    spec = square_stage(root, gated_square)
    run_stage(spec, number_units(root, COUNT), make_executor("serial"))
    return outputs(spec.folder)


@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_killed_run_goes_on_where_it_was_to_the_same_bytes(tmp_path, run_script, executor):
    root = tmp_path / "killed"
    process = run_script(root, executor, COUNT, FIRST_LATE)
    folder = root / "out" / "squares"
    reach(process, FIRST_LATE)
    wait_until(lambda: half_written(folder), 1 if executor == "serial" else 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads((root / "out" / "run.json").read_text())["status"] == "running"
    assert half_written(folder)
    assert len(list(folder.glob("*.json"))) == FIRST_LATE

    (root / "gate").touch()
    counts, errors = run_script(root, executor, COUNT, FIRST_LATE).communicate()
    assert counts.splitlines()[-1] == f"counts {COUNT - FIRST_LATE} {FIRST_LATE} 0", errors
    assert outputs(folder) == uninterrupted(tmp_path / "whole")
    assert not half_written(folder)
    assert json.loads((root / "out" / "run.json").read_text())["status"] == "done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_ends_the_run_in_a_resumable_state(tmp_path, run_script, number, code):
    process = run_script(tmp_path, "processes", COUNT, FIRST_LATE)
    reach(process, FIRST_LATE)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code, errors
    folder = tmp_path / "out" / "squares"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "interrupted"
    assert listing(folder) == sorted([*outputs(folder), *(f"{n:03d}.json" for n in range(FIRST_LATE))])
    assert not (tmp_path / "out" / ".lock").exists()

    (tmp_path / "gate").touch()
    counts, errors = run_script(tmp_path, "processes", COUNT, FIRST_LATE).communicate()
    assert counts.splitlines()[-1] == f"counts {COUNT - FIRST_LATE} {FIRST_LATE} 0", errors


def test_workers_end_with_a_parent_that_is_killed_alone(tmp_path, run_script):
    process = run_script(tmp_path, "processes", COUNT, 0)  # every unit waits
    reach(process, 0)
    folder = tmp_path / "out" / "squares"
    workers = wait_until(lambda: {int(name.split("-")[-2]) for name in half_written(folder)}, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: [pid for pid in workers if not is_alive(pid)], 2)
    assert listing(folder) != []
    run_stage(square_stage(tmp_path), number_units(tmp_path, 1), make_executor("serial"))
    assert listing(folder) == ["000.json", "000.txt"]


def test_second_run_in_the_same_folder_is_refused_while_the_first_is_at_work(tmp_path, run_script):
    first = run_script(tmp_path, "serial", COUNT, 3)
    reach(first, 3)
    second = run_script(tmp_path, "serial", COUNT, 3)
    _, errors = second.communicate()
    assert second.returncode == 1
    assert f"another run is at work in {tmp_path / 'out'}: process {first.pid}" in errors
    sharded = run_script(tmp_path, "serial", COUNT, 3, "1/2")
    assert "another run is at work" in sharded.communicate()[1]
    (tmp_path / "gate").touch()
    assert first.communicate()[0].splitlines()[-1] == f"counts {COUNT} 0 0"


def test_shards_run_side_by_side_and_together_do_everything(tmp_path, run_script):
    shards = [run_script(tmp_path, "serial", COUNT, 0, f"{index}/2") for index in (1, 2)]
    for shard in shards:
        reach(shard, 0)  # both hold their locks and wait
    refused = run_script(tmp_path, "serial", COUNT, 0, "2/2")
    assert "another run is at work" in refused.communicate()[1]
    (tmp_path / "gate").touch()
    counts = [int(shard.communicate()[0].splitlines()[-1].split()[1]) for shard in shards]
    assert min(counts) > 0
    assert sum(counts) == COUNT
    assert outputs(tmp_path / "out" / "squares") == uninterrupted(tmp_path / "whole")
    assert {"run-1of2.json", "run-2of2.json", "failures-1of2.csv"} <= set(listing(tmp_path / "out"))
    whole = run_script(tmp_path, "serial", COUNT, 0)
    assert whole.communicate()[0].splitlines()[-1] == f"counts 0 {COUNT} 0"
    assert not list((tmp_path / "out").glob("failures-*"))
