"""Processors that a process may use, by what the system says of it."""

import os

import pytest

from organcam.runner.processors import available_processors, limit_threads


@pytest.fixture(autouse=True)
def eight(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("content", "expected"),
    [("200000 100000", 2), ("150000 100000", 2), ("max 100000", 8), ("1600000 100000", 8), ("?", 8)],
)
def test_the_share_of_a_container_counts(tmp_path, content, expected):
    (tmp_path / "cpu.max").write_text(content)
    assert available_processors(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("300000", 3), ("-1", 8)])
def test_older_control_groups_too(tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert available_processors(tmp_path) == expected


def test_without_control_groups_affinity_counts(tmp_path):
    assert available_processors(tmp_path) == 8


def test_libraries_start_no_more_threads_than_processors_unless_told(monkeypatch):
    monkeypatch.setattr("organcam.runner.processors.available_processors", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("MKL_NUM_THREADS", "5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert os.environ["MKL_NUM_THREADS"] == "5"
