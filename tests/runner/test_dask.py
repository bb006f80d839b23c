"""The same units on a real Dask scheduler with real workers, which are killed, and which hang."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from runner_work import number_units, square_stage, wait_for
from test_stage import misbehaving, misbehaving_stage

from organcam.errors import ConfigError, OrganCamError
from organcam.runner import Executor, dask_cluster, make_executor, read_failures, run_stage
from organcam.stages.workflow import run_workflow
from organcam.workflow_file import parse_workflow

pytest.importorskip("distributed")


def start(*words: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-m", f"distributed.cli.dask_{words[0]}", *words[1:]]
    place = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(program, env=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_cluster(folder: Path, workers: int) -> tuple[str, list[subprocess.Popen[bytes]]]:
    file = folder / "scheduler.json"
    running = [start("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))]
    wait_for(file)
    address = json.loads(file.read_text())["address"]
    options = ("--nthreads", "1", "--no-dashboard", "--local-directory", str(folder))
    running += [start("worker", address, *options) for _ in range(workers)]
    return address, running


def stop(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    place, running = start_cluster(tmp_path_factory.mktemp("cluster"), 2)
    yield place
    stop(running)


@pytest.fixture(scope="module")
def cluster(address) -> Iterator[Executor]:
    with make_executor("dask", 2, scheduler=address) as executor:
        yield executor


def test_files_are_those_of_the_serial_executor(tmp_path, cluster):
    folders = []
    for name, executor in (("serial", make_executor("serial")), ("dask", cluster)):
        root = tmp_path / name
        root.mkdir()
        result = run_stage(square_stage(root, scale=3), number_units(root, 12), executor)
        assert result.counts == {"done": 12, "skipped": 0, "failed": 0}
        folders.append({path.name: path.read_bytes() for path in (root / "out" / "squares").glob("*.txt")})
    assert folders[0] == folders[1]
    assert run_stage(square_stage(root, scale=3), number_units(root, 12), cluster).counts["skipped"] == 12


@pytest.mark.parametrize(("action", "words"), [("kill", "SIGKILL"), ("exit_0", "exit code 0"), ("data", "2 axes")])
def test_a_unit_that_kills_its_process_is_one_failure_and_the_dask_worker_lives(tmp_path, cluster, action, words):
    result = run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "nothing", action, "nothing"), cluster)
    assert list(result.done) == ["0-nothing", "2-nothing"]
    assert words in result.failed[0].reason
    assert {made["details"]["threads"] for made in result.done.values()} == {"1"}


def test_a_unit_that_hangs_is_ended_and_the_rest_goes_on(tmp_path, cluster):
    run_stage(misbehaving_stage(tmp_path), misbehaving(tmp_path, "nothing", "nothing"), cluster)
    units = misbehaving(tmp_path, "hang", "nothing", "nothing")
    result = run_stage(misbehaving_stage(tmp_path), units, cluster, timeout=1)
    assert [(failure.id, failure.kind) for failure in result.failed] == [("0-hang", "timeout")]


def test_fewer_workers_than_asked_for_are_told_and_enough(tmp_path, address, caplog):
    with make_executor("dask", 5, scheduler=address, join_seconds=1) as executor:
        assert run_stage(square_stage(tmp_path), number_units(tmp_path, 3), executor).counts["done"] == 3
    assert "2 of 5 workers asked for have joined" in caplog.text


def test_a_killed_worker_costs_no_unit_and_a_killed_scheduler_ends_the_run_with_a_word(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "LOST_SECONDS", 1.0)
    place, running = start_cluster(tmp_path, 2)
    scheduler, first, _ = running
    try:
        with make_executor("dask", 2, scheduler=place) as executor:
            for number, hurt in enumerate((first, scheduler)):
                root = tmp_path / str(number)
                root.mkdir()
                seen = executor.run(_slowly, [(root, index) for index in range(8)])
                done = [next(seen)]
                os.kill(hurt.pid, signal.SIGKILL)
                hurt.wait()
                for index in range(8):
                    (root / f"gate{index}").touch()
                if hurt is first:
                    done += list(seen)
                    assert sorted(result for _, result in done) == list(range(8))
                else:
                    with pytest.raises(OrganCamError, match="is gone; start the same command again"):
                        list(seen)
    finally:
        stop(running)


def test_a_cluster_of_this_machine_needs_no_address(tmp_path):
    with make_executor("dask", 2, scheduler="local") as executor:
        assert run_stage(square_stage(tmp_path), number_units(tmp_path, 4), executor).counts["done"] == 4


def test_what_is_no_scheduler_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 1.0)
    with pytest.raises(ConfigError, match="'nowhere' is no address; legal are local"):
        make_executor("dask", 1, scheduler="nowhere")
    with (
        make_executor("dask", 1, scheduler="tcp://127.0.0.1:1") as executor,
        pytest.raises(OrganCamError, match="tcp://127.0.0.1:1 cannot be reached"),
    ):
        run_stage(square_stage(tmp_path), number_units(tmp_path, 1), executor)


def test_a_scheduler_that_no_worker_joins_is_told(tmp_path):
    place, running = start_cluster(tmp_path, 0)
    try:
        with (
            make_executor("dask", 1, scheduler=place, join_seconds=0.5) as executor,
            pytest.raises(OrganCamError, match=r"no worker joined the Dask scheduler .* within 0.5 s"),
        ):
            run_stage(square_stage(tmp_path), number_units(tmp_path, 1), executor)
    finally:
        stop(running)


def _slowly(item: tuple[Path, int]) -> int:
    """The first at once, the others when their gate opens."""
    folder, index = item
    if index:
        wait_for(folder / f"gate{index}")
    return index


def test_a_workflow_goes_through_dask_to_the_same_files(tmp_path, address):
    for name in "abc":
        array = np.random.default_rng(ord(name)).integers(-1000, 200, (12, 12, 12)).astype(np.int16)
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path / f"{name}.nii.gz")
    (tmp_path / "rotten.nii.gz").write_bytes(b"no scan")
    workflow = parse_workflow({"data": {"images": [str(path) for path in sorted(tmp_path.glob("*.gz"))]}})
    stored = []
    for executor, options in (("serial", {}), ("dask", {"scheduler": address})):
        out = tmp_path / executor
        outcome = run_workflow(workflow, out, stages=["ingest", "store"], executor=executor, **options)
        assert outcome.exit_code == 3
        assert [failure.id for failure in read_failures(out)] == ["rotten"]
        stored.append({path.name: path.read_bytes() for path in (out / "volumes").glob("*.b2nd")})
    assert stored[0] == stored[1]
    assert len(stored[0]) == 3
    with pytest.raises(ConfigError, match="--scheduler is for --executor dask"):
        run_workflow(workflow, tmp_path / "none", stages=["ingest"], executor="processes", scheduler=address)
