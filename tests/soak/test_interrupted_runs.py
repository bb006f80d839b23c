"""Runs that are killed or told to stop at random moments: the same command goes on to the same files.

The short form is part of the suite; ``make soak`` repeats each attack some hundred times. Both print their counts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import cycle, product
from pathlib import Path

import pytest

RUNNER_TESTS = Path(__file__).resolve().parents[1] / "runner"
COUNT = 40
STOPPED = {signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGINT: {130, -signal.SIGINT}, signal.SIGKILL: {-9}}
"""Exit codes after each signal; negative where it came before Python could catch it."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process groups and signals of unix")


def start(root: Path, executor: str) -> subprocess.Popen[bytes]:
    """The script that the runner's own tests kill, on inputs that lie there whole; no unit waits."""
    (root / "in").mkdir(parents=True, exist_ok=True)
    for number in range(COUNT):
        (root / "in" / f"{number:03d}.txt").write_text(str(number))
    command = [sys.executable, str(RUNNER_TESTS / "runner_script.py"), str(root), executor, str(COUNT), str(COUNT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def results(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "out" / "squares").glob("[0-9][0-9][0-9].txt"))}


def attack(root: Path, executor: str, number: signal.Signals, after: float, expected: dict[str, bytes]) -> str:
    """One run stopped after so many seconds and gone on with; returns how the stopped one ended."""
    process = start(root, executor)
    try:
        process.communicate(timeout=after)
        ending = "was over before"
    except subprocess.TimeoutExpired:
        before = time.monotonic()
        os.killpg(process.pid, signal.SIGKILL) if number == signal.SIGKILL else process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode in {0, *STOPPED[number]}, (number, process.returncode, errors.decode())
        assert b"Traceback" not in errors or process.returncode < 0, errors.decode()
        assert time.monotonic() - before < 60
        ending = "was over as it came" if process.returncode == 0 else number.name
    state = root / "out" / "run.json"
    if state.is_file():
        assert json.loads(state.read_text())["status"] in {"running", "interrupted", "done"}
    again = start(root, executor)
    printed, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors.decode()
    done, skipped, failed = map(int, printed.decode().splitlines()[-1].split()[1:])
    assert (done + skipped, failed) == (COUNT, 0)
    assert results(root) == expected
    assert not list(root.rglob("*.tmp"))
    assert not (root / "out" / ".lock").exists()
    return ending


@pytest.mark.parametrize("attacks", [6, pytest.param(300, marks=pytest.mark.slow)])
def test_stopped_at_random_moments_it_resumes_to_the_same_files(tmp_path, attacks, capsys):
    expected = {f"{number:03d}.txt": f"{number**2}\n".encode() for number in range(COUNT)}
    chance, endings = random.Random(20261121), Counter()
    began = time.monotonic()
    assert start(tmp_path / "left alone", "processes").wait(timeout=120) == 0
    lifetime = time.monotonic() - began
    kinds = cycle(product(("serial", "processes"), STOPPED))
    for index, (executor, number) in zip(range(attacks), kinds, strict=False):
        after = chance.uniform(0.0, lifetime)
        endings[attack(tmp_path / str(index), executor, number, after, expected)] += 1
    with capsys.disabled():
        print(f"\n{attacks} stops: " + ", ".join(f"{name} {count}" for name, count in sorted(endings.items())))
