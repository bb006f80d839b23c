"""Many scans, every twentieth rotten in one of eleven ways: all others are done, and each rotten one has its reason."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from organcam.data.phantom import PhantomSettings, plan_dataset, write_scan
from organcam.runner import read_failures

AFFINE = np.diag([-6.0, -6.0, 12.0, 1.0])
MEASURED = (
    "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode; "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)
"""Runs a command and prints the kilobytes of the largest process: a child counts what its parent held when it began, so
that this process itself would be measured."""
KINDS: dict[str, tuple[Callable[[Path, Path], None], str]] = {}
"""How a scan rots, made from a good one, and what its row must say."""


def rotten(words: str) -> Callable[[Callable[[Path, Path], None]], Callable[[Path, Path], None]]:
    def keep(function: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
        KINDS[function.__name__] = (function, words)
        return function

    return keep


def save(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, AFFINE), path)


def with_header(good: Path, path: Path, start: int, values: bytes) -> None:
    content = bytearray(gzip.decompress(good.read_bytes()))
    content[start : start + len(values)] = values
    path.write_bytes(gzip.compress(bytes(content), 1))


@rotten("unreadable or truncated")
def truncated(good: Path, path: Path) -> None:
    path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])


@rotten("unreadable or truncated|no NIfTI header")
def wrong_magic(good: Path, path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + good.read_bytes()[4:])


@rotten("NaN or infinite")
def not_a_number(good: Path, path: Path) -> None:
    array = np.asanyarray(nib.load(good).dataobj).astype(np.float32)
    array[3, 3, 3] = np.nan
    save(path, array)


@rotten("declares 64 x 64 x 0 voxels, which is no volume")
def zero_slices(good: Path, path: Path) -> None:
    with_header(good, path, 40, np.array([3, 64, 64, 0], "<i2").tobytes())


@rotten("not numbers in HU|declares")
def colours(good: Path, path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(path, np.zeros((8, 8, 8), kind))


@rotten("at least 2 along each axis")
def one_slice(good: Path, path: Path) -> None:
    save(path, np.asanyarray(nib.load(good).dataobj)[:, :, :1])


@rotten("a CT volume has 3 axes, this file has 4")
def four_axes(good: Path, path: Path) -> None:
    save(path, np.stack([np.asanyarray(nib.load(good).dataobj)] * 2, axis=3))


@rotten("nothing but air|is constant")
def all_air(good: Path, path: Path) -> None:
    save(path, np.random.default_rng(0).integers(-1020, -980, (64, 64, 24)).astype(np.int16))


@rotten("without a negative one|not a chest CT|not Hounsfield units")
def magnetic_resonance(good: Path, path: Path) -> None:
    save(path, np.random.default_rng(0).integers(0, 900, (64, 64, 24)).astype(np.int16))


@rotten("declares 30000 x 30000 x 30000 voxels, more than")
def enormous(good: Path, path: Path) -> None:
    with_header(good, path, 40, np.array([3, 30000, 30000, 30000], "<i2").tobytes())


@rotten("ermission denied" if os.name != "nt" and os.geteuid() else "no such file")
def no_permission(good: Path, path: Path) -> None:
    """For root, who may read everything, a link to a disk that is gone."""
    if os.name != "nt" and os.geteuid():
        shutil.copyfile(good, path)
        path.chmod(0)
    else:
        path.symlink_to(path.parent / "gone" / path.name)


def write_scans(folder: Path, count: int) -> dict[str, str]:
    """Scans of which every twentieth is rotten; returns their ids and kinds."""
    folder.mkdir()
    spec = plan_dataset(PhantomSettings(shape=(24, 64, 64), scans={"train": 1}, interventions=0))[0]
    write_scan(spec, PhantomSettings(shape=(24, 64, 64), scans={"train": 1}, interventions=0), folder.parent / "good")
    (good,) = (folder.parent / "good" / "images").glob("*.nii.gz")
    kinds = {}
    for number in range(count):
        path = folder / f"s{number:04d}.nii.gz"
        if number % 20 == 7:
            name = list(KINDS)[number // 20 % len(KINDS)]
            kinds[f"s{number:04d}"] = name
            KINDS[name][0](good, path)
        else:
            shutil.copyfile(good, path)
    return kinds


@pytest.mark.parametrize("count", [220, pytest.param(1000, marks=pytest.mark.slow)])
def test_all_but_the_rotten_are_done_and_each_of_those_has_its_reason(tmp_path, count, capsys):
    kinds = write_scans(tmp_path / "in", count)
    images, out = tmp_path / "in", tmp_path / "out"
    command = [sys.executable, "-m", "organcam", "run", "folder", "--out", str(out), "--until", "segment", "-q"]
    command += ["--workers", "2", "--set", f"data.images={images}", "--set", "memory_gb=2"]
    told = subprocess.run(
        [sys.executable, "-c", MEASURED, *command], capture_output=True, encoding="utf-8", check=False
    )
    assert told.returncode == 3, told.stderr
    assert "Traceback" not in told.stderr
    reasons = {failure.id: failure.reason for failure in read_failures(out)}
    for name, kind in kinds.items():
        assert re.search(KINDS[kind][1], reasons.get(name, "no row")), (kind, reasons.get(name))
    assert reasons.keys() == kinds.keys()
    assert len(list((out / "organs").glob("*_organs.nii.gz"))) == count - len(kinds)
    assert json.loads((out / "run.json").read_text())["status"] == "done_with_failures"
    peak = int(told.stdout.split()[-1]) / 1024
    assert peak < 1200  # of the driver or a worker, whichever took most, in MB
    with capsys.disabled():
        print(f"\n{count} scans, {len(kinds)} rotten in {len(set(kinds.values()))} ways: largest process {peak:.0f} MB")
