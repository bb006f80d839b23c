"""DICOM series with files cut, removed or flipped: what loads has all of its slices.

Removal from the end is left out: a series that states no count keeps no trace of it. The short form is part of the
suite; ``make soak`` repeats each accident some hundred times. Both print their counts.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from runpy import run_path

import pytest

from organcam.data.readers import read_volume
from organcam.errors import DataError

write_series = run_path(str(Path(__file__).resolve().parents[1] / "data" / "test_dicom.py"))["write_series"]


def cut(files, chance):
    for file in chance.sample(files, chance.randint(1, len(files) - 2)):
        content = file.read_bytes()
        file.write_bytes(content[: chance.randrange(len(content))])


def remove(files, chance):
    """Some files, and never the last alone, so that something tells."""
    for file in chance.sample(files[:-1], chance.randint(1, len(files) - 3)):
        file.unlink()


def flip(files, chance):
    file = chance.choice(files)
    content = bytearray(file.read_bytes())
    content[chance.randrange(min(len(content), 1200))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


def exchange(files, chance):
    """One file takes the place of another."""
    one, other = chance.sample(files, 2)
    shutil.copyfile(one, other)


@pytest.mark.parametrize("times", [8, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("accident", [cut, remove, flip, exchange])
def test_a_series_never_loses_slices_without_a_word(tmp_path, accident, times, capsys):
    chance, counts = random.Random(accident.__name__), Counter()
    write_series(tmp_path / "whole", 10)
    whole = read_volume(tmp_path / "whole").array
    for number in range(times):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        accident(sorted(folder.iterdir()), chance)
        try:
            found = read_volume(folder).array
        except DataError as error:
            assert str(folder) in str(error)
            counts["refused"] += 1
        else:
            assert found.shape == whole.shape
            counts["the same" if (found == whole).all() else "other values"] += 1
        shutil.rmtree(folder)
    with capsys.disabled():
        print(f"\n{accident.__name__}: {times} series: {dict(counts)}")
    assert counts.total() == times
    if accident is not flip:  # DICOM has no checksum: a flipped bit of a header may be another rescale or another place
        assert counts["refused"] == times
