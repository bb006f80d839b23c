"""Work functions live in ``runner_work.py``, which worker processes import by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from organcam.runner import Executor, make_executor  # noqa: E402


@pytest.fixture(scope="session")
def processes() -> Iterator[Executor]:
    """Two warm worker processes for all tests; each test leaves them usable, whatever it does to them."""
    with make_executor("processes", 2) as executor:
        yield executor


@pytest.fixture(params=["serial", "processes"])
def executor(request: pytest.FixtureRequest) -> Executor:
    return make_executor("serial") if request.param == "serial" else request.getfixturevalue("processes")


@pytest.fixture(scope="session")
def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def run_script() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``runner_script.py`` in a process group of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / "runner_script.py"), *map(str, arguments)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
