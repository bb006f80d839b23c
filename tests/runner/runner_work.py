"""Work functions for the tests of the runner; worker processes import this module."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path

import numpy as np

from organcam.errors import DataError
from organcam.runner import StageSpec, Unit, WorkContext, fingerprint_file

PATIENCE = 20.0


def square(context: WorkContext, payload, parameters):
    """The number in the input file, squared and scaled, as text."""
    value = parameters.get("scale", 1) * int(Path(payload["path"]).read_text()) ** 2
    with context.output(f"{context.id}.txt") as path:
        path.write_text(f"{value}\n")
    return {"value": value}


def held_square(context: WorkContext, payload, parameters):
    """The same from a number that all units of a scan share; every reading of it is noted in the journal."""
    path = Path(payload["path"])

    def read() -> int:
        with (path.parent / "journal").open("a") as journal:
            journal.write(f"{context.id}\n")
        return int(path.read_text())

    if parameters.get("fails_on") == context.id:
        raise DataError("a fault of this scan in this stage")
    value = parameters["scale"] * context.once(path, read) ** 2
    with context.output(f"{context.id}.txt") as output:
        output.write_text(f"{value}\n")
    return {"value": value, "pid": os.getpid()}


def gated_square(context: WorkContext, payload, parameters):
    """The same; a late unit first writes half of its output and then waits for a file to appear."""
    with context.output(f"{context.id}.half.txt") as path:
        path.write_text("half")
        if payload["late"]:
            wait_for(Path(payload["gate"]))
        path.write_text("whole")
    return square(context, payload, parameters)


def resident_mb_after_freeing(mb: int) -> float:
    """Memory of this process after an array of so many MB came and went."""
    bytearray(mb * 2**20)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.005)


def misbehave(context: WorkContext, payload, parameters):
    """Does what the payload says, after having announced itself and written half an output."""
    with Path(payload["journal"]).open("a") as journal:
        journal.write(f"{context.id}\n")
    with context.output(f"{context.id}.first.txt") as path:
        path.write_text("first")
    ACTIONS[payload["do"]](context, payload)
    with context.output(f"{context.id}.txt") as path:
        path.write_text("fine")
    return {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS", "")}


def _raise(error):
    def act(context, payload):
        raise error

    return act


def _wrapped_full_disk(context, payload):
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        msg = "blosc2: cannot append chunk"
        raise RuntimeError(msg) from error


def _crash_once(context, payload):
    mark = Path(payload["journal"]).with_name(f"{context.id}.mark")
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _quote(context, payload):
    msg = f"cannot parse: {payload['report'][10:60]}"
    raise ValueError(msg)


def _allocate(context, payload):
    return {"sum": int(np.ones(3_000_000_000, np.uint8).sum())}


def _allocate_in_itk(context, payload):
    import SimpleITK as sitk

    return {"size": sitk.Image(2000, 2000, 800, sitk.sitkInt16).GetSize()[0]}


ACTIONS = {
    "allocate": _allocate,
    "allocate_in_itk": _allocate_in_itk,
    "nothing": lambda context, payload: None,
    "data": _raise(DataError("volume has 2 axes,\n expected 3")),
    "missing": lambda context, payload: Path("nowhere/scan.nii.gz").read_bytes(),
    "fault": _raise(ZeroDivisionError("a fault of ours")),
    "exit": _raise(SystemExit(4)),
    "memory": _raise(MemoryError()),
    "full": _raise(OSError(errno.ENOSPC, "No space left on device")),
    "full_wrapped": _wrapped_full_disk,
    "quote": _quote,
    "kill": lambda context, payload: os.kill(os.getpid(), signal.SIGKILL),
    "kill_once": _crash_once,
    "exit_0": lambda context, payload: os._exit(0),
    "exit_7": lambda context, payload: os._exit(7),
    "hang": lambda context, payload: wait_for(Path(payload["journal"]).with_name("never")),
}


def square_stage(root: Path, work=square, **parameters) -> StageSpec:
    return StageSpec("square", 1, root / "out" / "squares", work, parameters)


def number_units(root: Path, count: int, first_late: int | None = None) -> list[Unit]:
    """Units for the files 000.txt ... in ``root/in``, which are made if missing."""
    (root / "in").mkdir(parents=True, exist_ok=True)
    units = []
    for number in range(count):
        path = root / "in" / f"{number:03d}.txt"
        if not path.exists():
            path.write_text(str(number))
        late = first_late is not None and number >= first_late
        payload = {"path": str(path), "gate": str(root / "gate"), "late": late}
        units.append(Unit(f"{number:03d}", {"number": fingerprint_file(path)}, payload))
    return units
